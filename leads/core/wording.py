"""Words for people, made from numbers."""


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 lead`, `2 leads`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
