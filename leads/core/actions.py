"""Action codes of leads, and the words that lists use for them. Pure: no I/O.

The words are Partner Center's (Microsoft Learn, "Referral insights download – Data definitions", column *Call to action*). That
column has no word for `Create`; Microsoft describes `Create` together with *Get it now* (Microsoft Learn, "Customer leads from
your commercial marketplace offer"). No code is documented for *Free trial* (Microsoft Learn, "Learn about leads").
"""

from typing import Final

_WORDS: Final = {"contact me": ("PLT",), "get it now": ("INS", "Create"), "test drive": ("StartTestDrive",)}
_CODES: Final = ("INS", "PLT", "DNC", "Create", "StartTestDrive")
_SPELLINGS: Final = ("", *_CODES, *_WORDS, "free trial")


def codes_of(action: str) -> tuple[str, ...]:
    """The codes that an action can mean, the likelier first. Empty if the action is missing or its words have no code."""
    folded = _folded(action)
    if folded in _WORDS:
        return _WORDS[folded]
    return () if " " in folded or not folded else (action,)


def in_code(action: str, source: str) -> str:
    """The code for a list's words for an action. Words with several possible codes stay unless the source decides."""
    codes = codes_of(action)
    if len(codes) > 1 and source:
        return codes[-1] if source == "AzurePortal" else codes[0]
    return codes[0] if len(codes) == 1 else action


def may_be_same(one: str, other: str) -> bool:
    """Whether two actions can be the same. An unknown action can be any action."""
    first, second = (set(map(_folded, codes_of(action))) for action in (one, other))
    return not first or not second or not first.isdisjoint(second)


def spellings_of(action: str) -> list[str]:
    """The action and its other known spellings; all spellings if the action is missing."""
    return [action, *(spelling for spelling in _SPELLINGS if may_be_same(action, spelling))]


def _folded(action: str) -> str:
    return " ".join(action.casefold().split())
