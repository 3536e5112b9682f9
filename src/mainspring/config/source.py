"""One file of a configuration: what it says itself, and in which line."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..utils import display_path, require

__all__ = ["Origin", "Source", "changes"]


class Origin(NamedTuple):
    """Where a value of a configuration comes from.

    >>> str(Origin("configs/base.py", 12))
    'configs/base.py, line 12'
    """

    filename: str | None
    """The file; None for what was changed after reading."""
    line: int | None
    """The line, where it is known."""

    def __str__(self) -> str:
        if self.filename is None:
            return "an override"
        name = display_path(self.filename)
        return name if self.line is None else f"{name}, line {self.line}"


@dataclass(frozen=True)
class Source:
    """What one file, or one override, says."""

    filename: str | None
    kind: str
    """``'py'``, ``'lazy'``, ``'yaml'``, ``'json'``, or ``'override'``."""
    code: str
    """Its content, with markers in place of templates."""
    values: Mapping[Any, Any]
    """What it says itself, without its bases."""

    def sets(self, parts: Sequence[str]) -> bool:
        """Whether it gives the value of a key, or of something in it."""
        value: Any = self.values
        for part in parts:
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, (list, tuple)) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return False
        return True

    def line_of(self, parts: Sequence[str]) -> int | None:
        """Return the line in which it gives the value of a key; None where that cannot be told."""
        if self.kind in ("py", "lazy"):
            return _line_in_python(ast.parse(self.code), parts)
        return _line_in_yaml(self.code, parts) if self.kind == "yaml" else None


def changes(base: Mapping[Any, Any], now: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return what of ``now`` is not so in ``base``."""
    found = {}
    for key, value in dict.items(now) if isinstance(now, dict) else now.items():
        before = base.get(key) if not isinstance(base, dict) else dict.get(base, key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = changes(before, value)
            if inner:
                found[key] = inner
        elif key not in base or before != value:
            found[key] = value
    return found


def _line_in_python(tree: ast.Module, parts: Sequence[str]) -> int | None:
    best, line = 0, None
    for whole, node in _settings(tree.body):
        path = whole[1:] if whole[0] == "_base_" else whole  # it may change its base by that name
        if list(parts[: len(path)]) != path:
            continue
        depth, found = _deepest(node, parts[len(path) :])
        if len(path) + depth >= best:  # the last one counts
            best, line = len(path) + depth, found
    return line


def _settings(statements: list[ast.stmt]) -> Iterator[tuple[list[str], ast.expr]]:
    """Yield the keys that statements give values to, with these: assignments, and calls of update and merge."""
    for statement in statements:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                path = _path(target)
                if path:
                    yield path, statement.value
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            function = statement.value.func
            if isinstance(function, ast.Attribute) and function.attr in ("update", "merge"):
                path = _path(function.value)
                for argument in statement.value.args if path else ():
                    yield path, argument
                for keyword in statement.value.keywords if path else ():
                    if keyword.arg is not None:
                        yield [*path, keyword.arg], keyword.value
        elif isinstance(statement, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
            yield from _settings(statement.body)


def _path(node: ast.expr) -> list[str]:
    """Return the key that ``model.backbone['depth']`` is; an empty one for other expressions."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        above, last = _path(node.value), node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        above, last = _path(node.value), str(node.slice.value)
    else:
        return []
    return [*above, last] if above else []


def _deepest(node: ast.expr, parts: Sequence[str]) -> tuple[int, int]:
    """Return how far a key leads into an expression, and the line there."""
    if not parts:
        return 0, node.lineno
    inner: ast.expr | None = None
    if isinstance(node, ast.Call):
        inner = next((keyword.value for keyword in node.keywords if keyword.arg == parts[0]), None)
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        inner = next(
            (value for key, value in pairs if isinstance(key, ast.Constant) and str(key.value) == parts[0]), None
        )
    elif isinstance(node, (ast.List, ast.Tuple)) and parts[0].isdecimal() and int(parts[0]) < len(node.elts):
        inner = node.elts[int(parts[0])]
    if inner is None:
        return 0, node.lineno
    depth, line = _deepest(inner, parts[1:])
    return depth + 1, line


def _line_in_yaml(text: str, parts: Sequence[str]) -> int | None:
    yaml = require("yaml", extra="yaml", purpose="Reading a configuration in YAML")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = None
    for part in parts:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if getattr(pair[0], "value", None) == part), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            return line
    return line
