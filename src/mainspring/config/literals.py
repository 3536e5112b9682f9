"""Values from text: numbers, words and brackets, and never code."""

from __future__ import annotations

import ast
import re
from typing import Any

__all__ = ["literal"]

_WORDS = {"true": True, "false": False}
_PAIRS = {"[": "]", "(": ")", "{": "}"}
_SPLITTING = re.compile(r"""'[^']*'|"[^"]*"|[\[\](){},]|[^\[\](){},'"]+|['"]""")


def literal(text: str) -> Any:
    """Return what a text from a command line or an environment variable means; by itself it is a string.

    Numbers, ``true`` and ``false`` in any case, and ``None`` are what they say. ``[a,b]`` and ``a,b`` are lists,
    ``(a,b)`` a tuple, ``{'a': 1}`` a dict. In quotes everything is a string.

    Raises:
        ValueError: The brackets do not match.

    >>> literal("1e-4"), literal("[1,(2,x)]"), literal("'1'"), literal("dict(a=1)")
    (0.0001, [1, (2, 'x')], '1', 'dict(a=1)')
    """
    try:
        return _literal(text.strip())
    except RecursionError as error:
        raise ValueError(f"the brackets in {text[:40]!r}... are nested too deeply") from error


def _literal(text: str) -> Any:
    if text[:1] == "{":
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError):
            return text
    if "," not in text and text[:1] not in ("[", "("):
        return _scalar(text)
    pieces = _pieces(text)
    if len(pieces) > 1:
        return [_literal(piece) for piece in pieces if piece]
    if text[:1] in ("[", "(") and text.endswith(_PAIRS[text[0]]):
        items = [_literal(piece) for piece in _pieces(text[1:-1]) if piece]
        return items if text[0] == "[" else tuple(items)
    return _scalar(text)


def _scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    if text == "None":
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return _WORDS.get(text.lower(), text)


def _pieces(text: str) -> list[str]:
    """Split at the commas that stand in no brackets and no quotes."""
    pieces, waiting = [""], []
    for part in _SPLITTING.findall(text):
        if part in _PAIRS:
            waiting.append(_PAIRS[part])
        elif part in _PAIRS.values() and (not waiting or waiting.pop() != part):
            raise ValueError(f"the brackets in {text!r} do not match")
        if part == "," and not waiting:
            pieces.append("")
        else:
            pieces[-1] += part
    if waiting:
        raise ValueError(f"the brackets in {text!r} do not match")
    return [piece.strip() for piece in pieces]
