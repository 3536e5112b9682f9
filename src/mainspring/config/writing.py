"""A configuration as text: Python, YAML and JSON that read back as what was written."""

from __future__ import annotations

import json
import keyword
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..utils import require
from .lazy import dotted_name, raw_items
from .templates import TEMPLATE

__all__ = ["as_json", "as_python", "as_yaml"]

_WIDTH = 100
_SHADOWED = frozenset(("dict", "set", "frozenset", "float", "complex", "range", "globals"))
"""Names that the text itself uses, so that no key may take them before its end."""
_DOUBLE_BRACE = re.compile(r"\{(?=\{)")


def as_python(values: Mapping[str, Any], *, strict: bool = True, sort: bool = False) -> str:
    """Return a configuration as assignments.

    Args:
        values: The keys and values. Classes and functions stand there by their dotted names.
        strict: Raise an error for a value that cannot be read back; otherwise its ``repr`` stands there as a string.
        sort: Write the keys in alphabetical order.

    Raises:
        TypeError: A value cannot be read back.

    >>> print(as_python({"model": {"type": "ResNet", "depth": 50}, "betas": (0.9, 0.999)}), end="")
    model = dict(type='ResNet', depth=50)
    betas = (0.9, 0.999)
    """
    written = _Python(strict, sort)
    lines, others = [], {}
    for key, value in written.items(values):
        if _is_name(key) and key not in _SHADOWED:
            lines.append(f"{key} = {written.text(value, key, 0, len(key) + 3)}\n")
        else:
            others[key] = value
    if others:
        lines.append(f"globals().update({written.text(others, '', 0, 17, names=False)})\n")
    return "".join(lines)


class _Python:
    def __init__(self, strict: bool, sort: bool) -> None:
        self._strict = strict
        self._sort = sort

    def items(self, values: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
        pairs = list(raw_items(values))
        return sorted(pairs, key=lambda pair: str(pair[0])) if self._sort else pairs

    def text(self, value: Any, path: str, indent: int, taken: int, names: bool = True) -> str:
        """Return a value in one line, if there is room, or else with one item in a line.

        Args:
            value: The value.
            path: Its key, for messages.
            indent: By how many columns its first line is indented.
            taken: How many columns of that line stand before or behind it.
            names: Whether a dict may be written as ``dict(key=value)``.
        """
        parts = self._parts(value, path, indent, names)
        if isinstance(parts, str):
            return parts
        opening, items, closing = parts
        line = f"{opening}{', '.join(items)}{closing}"
        if (indent + taken + len(line) <= _WIDTH and "\n" not in line) or not items:
            return line
        inner = " " * (indent + 4)
        rows = [f"{inner}{item},\n" for item in items]
        if not isinstance(value, Mapping) and all(_is_short(item) for item in value):
            rows = [f"{inner}{row}\n" for row in _filled([f"{item}," for item in items], _WIDTH - indent - 4)]
        return f"{opening.rstrip()}\n{''.join(rows)}{' ' * indent}{closing.removeprefix(',')}"

    def _parts(self, value: Any, path: str, indent: int, names: bool) -> str | tuple[str, list[str], str]:
        """Return the text of a value that has no parts, or the brackets of one that has some, and these."""
        if isinstance(value, Mapping):
            return self._dict_parts(value, path, indent, names)
        if isinstance(value, (list, tuple)):
            items = [self.text(one, f"{path}.{index}", indent + 4, 1) for index, one in enumerate(value)]
            return ("[", items, "]") if isinstance(value, list) else ("(", items, ",)" if len(items) == 1 else ")")
        if isinstance(value, (set, frozenset)):
            items = sorted(self.text(one, f"{path}.*", indent + 4, 1) for one in value)
            if isinstance(value, frozenset):
                return ("frozenset({", items, "})")
            return ("{", items, "}") if items else "set()"
        return self._scalar(value, path)

    def _dict_parts(self, value: Mapping[Any, Any], path: str, indent: int, names: bool) -> tuple[str, list[str], str]:
        pairs = self.items(value)
        named = names and all(_is_name(key) for key, _ in pairs)
        items = []
        for key, item in pairs:
            head = f"{key}=" if named else f"{self.text(key, f'{path}.{key}', 0, 0)}: "
            items.append(head + self.text(item, f"{path}.{key}", indent + 4, len(head) + 1))
        return ("dict(", items, ")") if named else ("{", items, "}")

    def _scalar(self, value: Any, path: str) -> str:
        if value is None or isinstance(value, bool) or value is Ellipsis:
            return repr(value)
        if isinstance(value, str):
            return _escaped(str.__repr__(value), value)
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, complex):
            return f"complex({_float(value.real)}, {_float(value.imag)})"
        if isinstance(value, (bytes, range)):
            return repr(value)
        if isinstance(value, os.PathLike):
            return repr(os.fspath(value))
        name = dotted_name(value)
        if name is not None and "<" not in name:
            return repr(name)
        if self._strict:
            raise TypeError(_refusal(path, value))
        return repr(repr(value))


def _is_name(key: Any) -> bool:
    # Python reads other letters than these in a normal form, which is another key.
    return isinstance(key, str) and key.isascii() and key.isidentifier() and not keyword.iskeyword(key)


def _float(value: float) -> str:
    return float.__repr__(value) if math.isfinite(value) else f"float('{float.__repr__(value)}')"


def _escaped(text: str, value: str) -> str:
    """Return a literal in which nothing looks like a template that a reader would replace."""
    return _DOUBLE_BRACE.sub(r"\\x7b", text) if TEMPLATE.search(value) else text


def _is_short(value: Any) -> bool:
    return value is None or isinstance(value, (int, float, complex, str))


def _filled(words: Iterable[str], width: int) -> list[str]:
    """Return lines of words, each as long as there is room."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _refusal(path: str, value: Any) -> str:
    return (
        f"{path} is {value!r} ({type(value).__name__}), which cannot be written so that it reads back. Give what it is"
        " made of: a config dict with the class as type, numbers, or a text."
    )


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return a configuration as YAML; tuples have Python's tag, which this package reads safely.

    Raises:
        TypeError: A value cannot be read back.
    """
    yaml = require("yaml", extra="yaml", purpose="Writing a configuration in YAML")

    class Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined]
        """The safe dumper, which tells tuples from lists."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        # Unquoted, some line ends of Unicode would be lost.
        quoted = not value.isprintable() or "{{" in value
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if quoted else None)

    tuples = "tag:yaml.org,2002:python/tuple"
    Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_sequence(tuples, value))
    Dumper.add_representer(str, text)
    written = yaml.dump(
        _plain(values, "", _KEPT_BY_YAML), Dumper=Dumper, sort_keys=False, width=10**9, allow_unicode=True
    )
    # Two braces stand only in texts that are in double quotes. There, what looks like a template is written as none.
    return _DOUBLE_BRACE.sub(r"\\x7b", str(written)) if TEMPLATE.search(written) else str(written)


def as_json(values: Mapping[str, Any]) -> str:
    """Return a configuration as JSON, which has lists in place of tuples.

    Raises:
        TypeError: A value cannot be read back, or a key is no string.
    """
    text = json.dumps(_plain(values, "", _KEPT_BY_JSON), indent=2, ensure_ascii=False)
    return _DOUBLE_BRACE.sub(r"\\u007b", text) + "\n" if TEMPLATE.search(text) else f"{text}\n"


_KEPT_BY_JSON = (str, bool, int, float, type(None))
_KEPT_BY_YAML = (*_KEPT_BY_JSON, bytes)


def _plain(value: Any, path: str, kept: tuple[type, ...]) -> Any:
    """Return a value of plain dicts, lists, tuples and the types that are kept."""
    if isinstance(value, Mapping):
        inner = f"{path}." if path else ""
        return {_key(key, path, kept): _plain(item, f"{inner}{key}", kept) for key, item in raw_items(value)}
    if isinstance(value, (list, tuple)):
        kind = list if isinstance(value, list) or kept is _KEPT_BY_JSON else tuple
        return kind(_plain(item, f"{path}.{index}", kept) for index, item in enumerate(value))
    for exact in kept:
        if type(value) is exact:
            return value
    for base in (str, int, float):
        if isinstance(value, base):
            return base.__str__(value) if base is str else base(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    name = dotted_name(value)
    if name is None or "<" in name:
        raise TypeError(_refusal(path, value))
    return name


def _key(key: Any, path: str, kept: tuple[type, ...]) -> Any:
    if kept is _KEPT_BY_JSON and not isinstance(key, str):
        raise TypeError(
            f"The key {key!r} of {path} is no string, and JSON has no other keys. Write the configuration as Python or"
            " YAML."
        )
    return _plain(key, path, kept)
