"""The exit statuses of the command line."""

from typing import Final

DONE: Final = 0
NOT_FOUND: Final = 1
BAD_INPUT: Final = 2
OUT_OF_REACH: Final = 3
CHANGED_BY_OTHERS: Final = 4
NEEDS_A_PERSON: Final = 5
INTERRUPTED: Final = 130
