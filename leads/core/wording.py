"""Words for people: numbers with their nouns, sentences with a code."""


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 lead`, `2 leads`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def with_code(words: str, code: str) -> str:
    """A vendor's words and its code, which takes the place of their full stop. The words alone without a code."""
    return f"{words.removesuffix('.')} ({code})" if code else words
