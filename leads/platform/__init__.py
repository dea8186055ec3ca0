"""The app's foundation: settings and secrets, queues and tables, log events and traces, threads and deadlines, and guarded access
to the network. Nothing here knows offers or destinations. May import `core`.
"""
