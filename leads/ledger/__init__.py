"""The ledger: the rows of each lead and each customer, the transactions that change them, the queries over them, and the
tombstones of people who were erased. It knows no destination and no offer. May import `platform` and `core`.
"""
