"""Circuit breakers of connections, daily ceilings of offers, alarms and counts of leads, each in a table. May import `ledger`,
`offers`, `destinations`, `platform` and `core`.
"""
