"""The minute timer: a tick and its steps. It probes paused connections, keeps what the host gave up on, says what a person has
to hear of, and announces what was delivered. May import everything but `operations` and the shell's `cli`.
"""
