"""The ledger: rows of leads and customers, transactions, queries, tombstones of erased people, the audit, and the storing of
incoming leads (`incoming`). It does not know destinations and offers. May import `platform` and `core`.

The table `LeadLedger`: the partition is the first hex digit of the customer's hash. `~`: the digits are complemented, so the
newest row comes first. The rows by their keys:

    lead;~lead_id                              the lead; state, `seq`, reason and last 40 attempts of each destination
    cust;hash;scope                            the claim, the customer's record id, the recent leads by fingerprint
    offer;offer;~lead_id                       what lists show, without personal data (`-`: no offer)
    todo;state;connection;lead_id;destination  there while the lead is undelivered
    body;lead_id                               a body that is large or unreadable
    gone;hash                                  a tombstone: the customer was erased
"""
