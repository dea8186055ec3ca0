"""The one error that ends the start."""


class StartError(Exception):
    """The host cannot start; the text says in one line why and what to do."""
