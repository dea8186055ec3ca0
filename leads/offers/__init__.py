"""Offers: what a person may say in one, the table that keeps them, and who uses a connection. May import `destinations`,
`platform` and `core`; the ledger and the offers do not know each other.
"""
