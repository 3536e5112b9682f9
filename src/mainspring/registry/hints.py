"""What to write instead of a name that is not there."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ..utils import did_you_mean, nearest
from .default_scope import DefaultScope, canonical_scope
from .sources import loaded_definitions, unloaded_modules

if TYPE_CHECKING:
    from .registry import Registry

__all__ = ["explain_miss", "explain_missing_type", "known_roots", "known_scopes", "names_in"]


_PROJECTS = {
    "mmaction": ("mmaction2", "MMAction2"),
    "mmagic": ("mmagic", "MMagic"),
    "mmcls": ("mmcls", "MMClassification"),
    "mmcv": ("mmcv", "MMCV"),
    "mmdet": ("mmdet", "MMDetection"),
    "mmdet3d": ("mmdet3d", "MMDetection3D"),
    "mmocr": ("mmocr", "MMOCR"),
    "mmpose": ("mmpose", "MMPose"),
    "mmpretrain": ("mmpretrain", "MMPretrain"),
    "mmrazor": ("mmrazor", "MMRazor"),
    "mmrotate": ("mmrotate", "MMRotate"),
    "mmseg": ("mmsegmentation", "MMSegmentation"),
    "mmselfsup": ("mmselfsup", "MMSelfSup"),
    "mmtrack": ("mmtrack", "MMTracking"),
    "mmyolo": ("mmyolo", "MMYOLO"),
}
"""Projects that existing configurations come from: by scope, the package to install, and the name."""

_INSTEAD = {
    "ApexOptimWrapper": "Write AmpOptimWrapper, which uses torch's own mixed precision.",
    "ColossalAIOptimWrapper": "Write AmpOptimWrapper, which uses torch's own mixed precision.",
    "DeepSpeedOptimWrapper": "Write AmpOptimWrapper, which uses torch's own mixed precision.",
    "FlexibleRunner": "Write Runner.",
    "TorchAdafactor": "Write Adafactor.",
}
"""What existing configurations name, and this package has under another name, or not at all."""

known_roots: WeakSet[Registry] = WeakSet()
"""The roots of all trees there are, because a name may be in another tree than the one asked."""


def known_scopes() -> set[str]:
    """Return the scopes of all registries that there are, of whatever kind."""
    return {canonical_scope(one.scope) for root in known_roots for one in _downwards(root)}


def explain_miss(registry: Registry, key: str) -> str:
    """Say where ``key`` was looked for in vain, and what probably helps."""
    cure = _cure(registry, key)
    return f"{key!r} is not in the {registry.name!r} registry. {_where(registry, key)} {cure}"


def explain_missing_type(registry: Registry, args: Mapping[str, Any]) -> str:
    """Say that a config has no ``type``, and what it may be."""
    keys = [str(key) for key in args]
    given = f"it has only {_list(keys, 'and')}" if keys else "it is empty"
    message = (
        f"A config needs the key 'type' to be built from the {registry.name!r} registry of scope "
        f"{registry.scope!r}, but {given}."
    )
    misspelt = nearest("type", keys)
    if misspelt:
        return f"{message} Did you mean 'type' by {misspelt[0]!r}?"
    names = names_in(registry)
    for key, value in args.items():
        meant = nearest(value, names) if isinstance(value, str) else []
        if meant:
            return f"{message} Did you mean type={names[meant[0]]!r} by {key}={value!r}?"
    some = sorted(names.values())[:8]
    return f"{message} Write type='...', with a name such as {_list(some, 'or')}." if some else message


def _where(registry: Registry, key: str) -> str:
    scope, dot, _ = key.partition(".")
    if not dot:
        current = DefaultScope.get_current_instance()
        default = "" if current is None else f" (the default scope is {current.scope_name!r})"
        missing = "" if current is None else _missing_project(current.scope_name)
        return f"Searched scope {_scopes(_upwards(registry))}{default}.{missing}"
    tree = {canonical_scope(one.scope): one for one in _downwards(registry.root)}
    scoped = tree.get(canonical_scope(scope))
    if scoped is None and _missing_project(scope):
        return _missing_project(scope).lstrip()
    if scoped is None:
        known = [one.scope for one in tree.values()]
        return (
            f"{scope!r} is no scope of this registry (it has {_list(known, 'and')}), and there is nothing to "
            f"import at {key!r}.{did_you_mean(scope, known)}"
        )
    return f"Searched scope {_scopes([scoped] if scoped is registry else _upwards(scoped))}."


def _missing_project(scope: str) -> str:
    """Return what helps where a scope is that of a known project which is not installed, else an empty string."""
    package, project = _PROJECTS.get(scope, ("", ""))
    if not package or scope in known_scopes() or find_spec(scope) is not None:
        return ""
    return (
        f" {scope!r} is the scope of {project}, which is not installed here: write `pip install {package}`, or leave"
        " out what comes from it."
    )


def _scopes(registries: Iterable[Registry]) -> str:
    return ", then ".join(repr(one.scope) for one in registries)


def _cure(registry: Registry, key: str) -> str:
    name = key.rpartition(".")[2]
    if name in _INSTEAD:
        return f"It is one of MMEngine's that there is not here. {_INSTEAD[name]}"
    tree = list(_downwards(registry.root))
    scoped = [f"{one.scope}.{name}" for one in tree if name in one.module_dict]
    if scoped:
        return f"It is in another scope: write type={_list(scoped, 'or')}."

    package = key.rpartition(".")[0]
    if package in sys.modules and package not in {one.scope for one in tree}:
        attributes = nearest(name, vars(sys.modules[package]), 3)
        if attributes:
            return f"Did you mean {_list([f'{package}.{one}' for one in attributes], 'or')}?"

    others = [root.name for root in known_roots if any(name in one.module_dict for one in _downwards(root))]
    if others:
        return f"There is a {name!r} in the {_list(sorted(others), 'and')} registry."

    modules = unloaded_modules(name)
    if modules:
        return (
            f"The module {_list(modules, 'or')} registers it, but is not imported yet: write "
            f"`import {modules[0]}` before, or custom_imports=dict(imports=[{modules[0]!r}]) in the config."
        )

    paths = loaded_definitions(name)
    if paths:
        return (
            f"There is {paths[0]!r}, which is not registered: write type={paths[0]!r}, or put the registry's "
            "@....register_module() above it."
        )

    names = names_in(registry)
    near = [names[one] for one in nearest(name, names, 3)]
    meant = f"Did you mean {_list(near, 'or')}? " if near else ""
    return (
        f"{meant}If it is your own, the module that registers it has to be imported first: write "
        "`import your_package.your_module`, or custom_imports=dict(imports=['your_package.your_module']) in "
        "the config."
    )


def names_in(registry: Registry) -> dict[str, str]:
    """Map every name in the tree to what one writes for it in ``registry``."""
    written: dict[str, str] = {}
    for one in _upwards(registry):
        one.import_from_location()
        for name in one.module_dict:
            written.setdefault(name, name)
    for one in _downwards(registry.root):
        for name in one.module_dict:
            written.setdefault(name, f"{one.scope}.{name}")
    return written


def _upwards(registry: Registry) -> Iterator[Registry]:
    yield registry
    if registry.parent is not None:
        yield from _upwards(registry.parent)


def _downwards(registry: Registry) -> Iterator[Registry]:
    yield registry
    for child in registry.children.values():
        yield from _downwards(child)


def _list(words: list[str], conjunction: str) -> str:
    quoted = [repr(word) for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {conjunction} {quoted[-1]}"
