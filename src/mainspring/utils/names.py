"""Names that were probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["RegisteredName", "did_you_mean", "nearest"]


class RegisteredName(str):
    """A name from a file that is data and no code: a registry looks it up, but imports nothing for it."""

    __slots__ = ()


def nearest(name: str, candidates: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return up to ``count`` of the candidates that look most like ``name``, the nearest first.

    Case does not matter: ``nearest("sgd", ["SGD"])`` is ``["SGD"]``. How alike they must be is ``cutoff``, from 0
    (not at all) to 1 (the same).
    """
    by_folded: dict[str, str] = {}
    for candidate in candidates:
        by_folded.setdefault(candidate.casefold(), candidate)
    folded = difflib.get_close_matches(name.casefold(), by_folded, n=count, cutoff=cutoff)
    return [by_folded[match] for match in folded]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for an error message, or an empty string where nothing is near."""
    found = nearest(name, candidates)
    return f" Did you mean {found[0]!r}?" if found else ""
