"""Configurations in YAML and JSON: data, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..utils import RegisteredName, require
from .errors import ConfigParsingError
from .templates import Templates

__all__ = ["OR_TRUST", "fill", "read_data", "restrict"]

_NAMING = frozenset(
    ("type", "runner_type", "constructor", "collate_fn", "worker_init_fn", "_scope_", "default_scope", "sampler")
)
"""The keys whose values are looked up in registries."""
OR_TRUST = "Say it in Python, or read the file with Config.fromfile(..., trust=True) if you trust who wrote it."
_MOST_VALUES = 1_000_000
_BARE = "\0"
"""Begins a marker that stands in no string."""


def read_data(templates: Templates, kind: str, name: str) -> dict[str, Any]:
    """Return what a file says, with markers in place of templates.

    Args:
        templates: Its content.
        kind: ``'yaml'`` or ``'json'``.
        name: What it is called in messages.

    Raises:
        ConfigParsingError: It is no YAML or JSON, names Python objects, has a key twice, or is no mapping.
    """
    try:
        found = _read_yaml(templates) if kind == "yaml" else _read_json(templates)
    except ConfigParsingError as error:
        raise ConfigParsingError(f"{name} cannot be read: {error}") from error
    except RecursionError as error:
        raise ConfigParsingError(f"{name} cannot be read: it is nested too deeply.") from error
    found = {} if found is None else found
    if not isinstance(found, dict):
        raise ConfigParsingError(f"{name} is no configuration: it holds {_kind(found)} instead of keys and values.")
    for key in found:
        if not isinstance(key, str):
            raise ConfigParsingError(f"{name}: the key {key!r} is no name. Write the keys of the top level as words.")
    return found


def fill(values: Mapping[Any, Any], templates: Templates, name: str) -> dict[Any, Any]:
    """Return a copy of what was read with values in place of the markers.

    Raises:
        ConfigParsingError: It holds itself, or becomes too large, as references in YAML can make it.
    """
    bare = templates.bare
    count = 0

    def filled(value: Any) -> Any:
        nonlocal count
        count += 1
        if count > _MOST_VALUES:
            raise ConfigParsingError(f"{name} has more than {_MOST_VALUES:,} values, which no configuration needs.")
        if isinstance(value, str):
            if value.startswith(_BARE) and templates.is_marker(value[1:]):
                return bare[value[1:]] if value[1:] in bare else templates.value(value[1:])  # which says why not
            return templates.filled(value)
        if isinstance(value, dict):
            return {filled(key): filled(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)([filled(item) for item in value])
        return value

    try:
        result: dict[Any, Any] = filled(dict(values))
    except RecursionError as error:
        raise ConfigParsingError(f"{name} cannot be read: it is nested too deeply, or holds itself.") from error
    return result


def restrict(value: Any, name: str, key: Any = None) -> Any:
    """Return data for which nothing is imported: names of classes become :class:`~mainspring.utils.RegisteredName`.

    Raises:
        ConfigParsingError: It asks that files which run code be trusted.
    """
    if isinstance(value, str):
        return RegisteredName(value) if key in _NAMING else value
    if isinstance(value, dict):
        return {inner: restrict(item, name, inner) for inner, item in dict.items(value)}
    if type(value) is list or type(value) is tuple:
        return type(value)(restrict(item, name, key) for item in value)
    if key == "trust" and value:
        raise ConfigParsingError(
            f"{name} says trust: {value!r}, by which files may run code. A configuration in YAML or JSON cannot decide"
            f" that. {OR_TRUST}"
        )
    return value


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", int: "a number", float: "a number"}.get(type(value), f"{value!r}")


def _read_json(templates: Templates) -> Any:
    # A marker outside of strings is none of JSON's values: it becomes a string that says so.
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', templates.code)
    pieces[::2] = [templates.wrapped(piece, '"\\u0000{}"') for piece in pieces[::2]]
    try:
        return json.loads("".join(pieces), object_pairs_hook=_without_twice)
    except json.JSONDecodeError as error:
        raise ConfigParsingError(f"line {error.lineno}, column {error.colno}: {error.msg}.") from error


def _without_twice(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigParsingError(f"the key {twice!r} stands twice in one object. Take one of them out.")
    return found


def _read_yaml(templates: Templates) -> Any:
    yaml = require("yaml", extra="yaml", purpose="Reading a configuration in YAML")

    class Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
        """The safe loader, and tuples, and markers outside of quotes."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key_node, _ in node.value:
                key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
                if key is not None and key in seen and key_node.value != "<<":
                    raise ConfigParsingError(
                        f"line {key_node.start_mark.line + 1}: the key {key_node.value!r} stands there twice. Take one"
                        " of them out."
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    Loader.add_constructor(
        "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
    )
    if templates:
        Loader.add_implicit_resolver("!template", templates.whole, [templates.first])
        Loader.add_constructor("!template", lambda loader, node: _BARE + str(loader.construct_scalar(node)))
    try:
        return yaml.load(templates.code, Loader=Loader)
    except yaml.constructor.ConstructorError as error:
        mark = error.problem_mark
        raise ConfigParsingError(
            f"line {mark.line + 1}: {error.problem}. A configuration in YAML holds numbers, texts, lists and mappings,"
            " and no objects of Python: name a class as type: Name."
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ConfigParsingError(f"{where}{getattr(error, 'problem', None) or error}.") from error
