"""What ends the host: at its start, and later."""


class StartError(Exception):
    """The host cannot start; the text says in one line why and what to do."""


class HostEnd(Exception):
    """The host ends itself, as the real one does; the text says in one line why."""
