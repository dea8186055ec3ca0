"""What decides whether leads may be sent, and whether a person must hear of something: the circuit breakers of connections, the
daily ceilings of offers, alarms and counts, each in a table. May import `ledger`, `offers`, `destinations`, `platform` and
`core`.
"""
