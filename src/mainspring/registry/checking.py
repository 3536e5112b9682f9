"""What is wrong with a config, as far as that is known without building it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..utils import nearest
from .construct import check_arguments
from .default_scope import DefaultScope, canonical_scope
from .hints import known_scopes, names_in
from .reading import describe, merge_args, pop_type

if TYPE_CHECKING:
    from .registry import Registry

__all__ = ["check_cfg", "is_misspelt", "is_of_known_scope"]


def check_cfg(cfg: Mapping[str, Any], registry: Registry, added: Collection[str] = ()) -> Callable[..., Any]:
    """Return the class or function that a config names, or raise what building it would raise before the call.

    Args:
        cfg: The config; it is not changed.
        registry: Where it is looked up.
        added: Names of the arguments that the code which builds it adds.

    Raises:
        RegistryError: There is no ``type``, or no such name. It is a KeyError.
        TypeError: The class or function does not take these arguments, or others are missing.

    >>> from mainspring.registry import Registry
    >>> HATS = Registry("hat", scope="hatter")
    >>> @HATS.register_module()
    ... class Bowler:
    ...     def __init__(self, size): ...
    >>> check_cfg(dict(type="Bowler", size=3), HATS).__name__
    'Bowler'
    """
    args = merge_args(cfg, dict.fromkeys(added))
    with registry.switch_scope_and_registry(args.pop("_scope_", None)) as scoped:
        target = pop_type(args, scoped, cfg)
        check_arguments(target, args, describe(scoped), set(added) - set(cfg), cfg)
    return target


def is_of_known_scope(name: str) -> bool:
    """Whether a name belongs to a scope that has registries: that of its prefix, or the default scope."""
    scope, dot, _ = name.partition(".")
    if not dot:
        current = DefaultScope.get_current_instance()
        return current is None or canonical_scope(current.scope_name) in known_scopes()
    return canonical_scope(scope) in known_scopes()


def is_misspelt(name: str, registry: Registry) -> bool:
    """Whether a name that a registry does not have must be a misspelt one of those that it has."""
    return is_of_known_scope(name) and bool(nearest(name.rpartition(".")[2], names_in(registry), cutoff=0.8))
