"""Offers: their model, their table, and the users of a connection. May import `destinations`, `platform` and `core`. The ledger
and the offers do not know each other.
"""
