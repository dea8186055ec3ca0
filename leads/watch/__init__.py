"""The minute timer: a tick and its steps. It re-drives leads, probes paused connections, drains the poison queue, raises alarms
and announces delivered leads. May import everything except `operations` and `cli`.
"""
