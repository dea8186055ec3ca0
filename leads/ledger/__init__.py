"""The ledger: the rows of each lead and each customer, the transactions that change them, the queries over them, and the
tombstones of people who were erased; and what stores a lead that comes in (`incoming`). It knows no destination and no offer.
May import `platform` and `core`.
"""
