"""What the app stands on: its settings and secrets, queues and tables, log events and traces, threads and deadlines, and the
one guarded way out to the network. Nothing here knows what an offer or a destination is. May import `core`.
"""
