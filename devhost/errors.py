"""The errors that end the host."""


class StartError(Exception):
    """The host cannot start. The text says in one line why, and what to do."""


class HostEnd(Exception):
    """The host ends itself, as the real host does. The text says in one line why."""
