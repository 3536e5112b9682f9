"""What is wrong with the config of one part, as far as that is known without building it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Literal

from ..registry import Registry, building_within, check_cfg, is_misspelt, is_of_known_scope
from ..registry.trail import path_of
from ..utils import RegisteredName, check_annotated
from .findings import Findings

__all__ = ["is_checked", "look_over_part"]

_CHECKED = ("mainspring", "torch.optim")
"""Packages whose annotations say exactly what an argument may be."""
_LENIENT = ("mainspring.optim.scheduler",)
"""Of these the classes that take more than their annotations say: a float that is whole for an integer."""


def look_over_part(
    found: Findings,
    cfg: Mapping[str, Any],
    path: str,
    registry: Registry,
    added: Collection[str] = (),
    *,
    default: str | None = None,
    late: bool = True,
    skip: Collection[str] = (),
    try_it: bool = False,
) -> Callable[..., Any] | None:
    """Look over a config, and return the class or function that it names, where there is one.

    Args:
        found: Gains what is found.
        cfg: The config.
        path: Where it stands.
        registry: Where the name is looked up.
        added: Arguments that the code which builds it adds.
        default: What it names where it does not say.
        late: Whether it is built only when a run needs it, so that a name which is not there need not matter.
        skip: Arguments whose types are looked at elsewhere.
        try_it: Build it, if it is one of ours that costs nothing, and see.
    """
    options = dict(cfg) if default is None else {"type": default, **cfg}
    with building_within({}, path):
        place = path_of(options)
        try:
            target = check_cfg(options, registry, added)
        except (KeyError, ImportError) as error:
            found.fail(place, error, _severity(options.get("type"), registry, late))
            return None
        except Exception as error:
            found.fail(place, error)
            return None
        if is_checked(target):
            given = {
                key: value
                for key, value in options.items()
                if key not in ("type", "_scope_", *skip) and not (isinstance(value, Mapping) and "type" in value)
            }
            before = len(found)
            with found.attempt(path):
                check_annotated(target, given, path)
            if try_it and len(found) == before:
                with found.attempt(path), suppress(ImportError):  # of a library that an option needs
                    registry.build(options)
    return target


def is_checked(target: Any) -> bool:
    """Whether the annotations of a class or function say exactly what it takes."""
    module = getattr(target, "__module__", None) or ""

    def lies_in(package: str) -> bool:
        return f"{module}.".startswith(f"{package}.")

    return any(map(lies_in, _CHECKED)) and not any(map(lies_in, _LENIENT))


def _severity(name: Any, registry: Registry, late: bool) -> Literal["error", "warning"]:
    """Return how bad it is that a name is not there: what is not installed may be meant for another run."""
    if not isinstance(name, str):
        return "error"
    if isinstance(name, RegisteredName) and "." in name and find_spec(name.partition(".")[0]) is not None:
        return "error"  # it is there, and will not be imported for a file that is data
    if not is_of_known_scope(name):
        return "warning"
    return "warning" if late and not is_misspelt(name, registry) else "error"
