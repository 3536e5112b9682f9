"""What a config says: its arguments, and the class or function that its ``type`` means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..utils import RegisteredName
from .errors import RegistryError
from .hints import explain_miss, explain_missing_type
from .trail import path_of

if TYPE_CHECKING:
    from .registry import Registry

__all__ = ["describe", "find", "merge_args", "pop_type"]

_OF_DATA = (
    " The name comes from a configuration in YAML or JSON, for which nothing is imported: such a file names only what"
    " is registered already. Import the module before, or read it with Config.fromfile(..., trust=True) if you trust"
    " who wrote it."
)


def merge_args(cfg: Mapping[str, Any], default_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a new dict of what ``cfg`` says, and of ``default_args`` where it is silent."""
    for argument, value in (("cfg", cfg), ("default_args", {} if default_args is None else default_args)):
        if not isinstance(value, Mapping):
            raise TypeError(f"{argument} must be a dict, got {value!r} ({type(value).__name__}).")
    args = {key: cfg[key] for key in cfg}  # by item: a config may compute what it gives
    for key, value in (default_args or {}).items():
        args.setdefault(key, value)
    return args


def pop_type(args: dict[str, Any], registry: Registry, cfg: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """Take ``type`` out of ``args``, and return what it means; ``cfg`` is the config, whose place errors name."""
    if "type" not in args:
        raise RegistryError(f"{_place(cfg)}{explain_missing_type(registry, args)}")
    return find(args.pop("type"), registry, cfg)


def find(target: Any, registry: Registry, cfg: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """Return the class or function that ``type=target`` means; ``cfg`` is the config, whose place errors name."""
    if isinstance(target, str):
        found = registry.get(target)
        if found is None:
            refused = _OF_DATA if isinstance(target, RegisteredName) else ""
            raise RegistryError(f"{_place(cfg)}{explain_miss(registry, target)}{refused}")
        return found
    if callable(target):
        return target  # type: ignore[no-any-return]
    raise TypeError(
        f"{_place(cfg)}type must be a name, a class or a function, got {target!r} ({type(target).__name__}), "
        f"while building from {describe(registry)}."
    )


def _place(cfg: Mapping[str, Any] | None) -> str:
    place = path_of(cfg) if cfg is not None else ""
    return f"{place}: " if place else ""


def describe(registry: Registry) -> str:
    """Name a registry in a message."""
    return f"the {registry.name!r} registry of scope {registry.scope!r}"
