"""The lead and everything that can be told from it: its wire shapes, ids, countries, dates, stages, states and what each means,
when a delivery is tried again, which names mean an offer, whether a silence is unusual. Pure: no I/O, and no import of
another folder of `leads`, of azure, requests or msal.
"""
