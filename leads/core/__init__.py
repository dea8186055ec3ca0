"""The lead and all rules that need no I/O: wire shapes, ids, countries, dates, stages, states, the retry schedule, routing and
silences. Imports no other folder of `leads`, and neither azure, requests nor msal.
"""
