"""The ledger: rows of leads and customers, transactions, queries, tombstones of erased people, the audit, and the storing of
incoming leads (`incoming`). It does not know destinations and offers. May import `platform` and `core`.
"""
