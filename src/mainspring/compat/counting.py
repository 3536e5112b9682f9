"""What is registered, and where."""

from __future__ import annotations

import datetime
import inspect
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from .. import registry as registries
from ..logging import print_log
from ..registry import Registry
from .registries import STRATEGIES

__all__ = ["count_registered_modules", "traverse_registry_tree"]

Facts = dict[str, Any]


def traverse_registry_tree(registry: Registry, verbose: bool = True) -> list[Facts]:
    """Return what is registered in each registry of a tree.

    Args:
        registry: Any registry of the tree.
        verbose: Whether the numbers are logged.

    Returns:
        For each registry, from the root down: its ``scope``, how many it holds as
        ``num_modules``, and for each directory, such as ``'mainspring/hooks'``, the names.
    """
    found: list[Facts] = []
    waiting = [registry.root]
    while waiting:
        one = waiting.pop(0)
        waiting += one.children.values()
        one.import_from_location()
        places: dict[str, list[str]] = defaultdict(list)
        for name, entry in one.module_dict.items():
            places[_directory(entry)].append(name)
        found.append({"num_modules": len(one), "scope": one.scope, **places})
        if verbose:
            print_log(f"Found {len(one)} modules in the {one.name!r} registry of scope {one.scope!r}.", "current")
    return found


def count_registered_modules(save_path: str | None = None, verbose: bool = True) -> Facts:
    """Return what is registered in the trees of all root registries, and when they were looked through.

    Args:
        save_path: A directory in which ``modules_statistic_results.json`` is written; None for no file.
        verbose: Whether the numbers are logged.

    Returns:
        The time as ``scan_date``; and as ``registries`` for each, by its name, what :func:`traverse_registry_tree`
        returns.
    """
    roots = {name: value for name, value in vars(registries).items() if isinstance(value, Registry)}
    roots["STRATEGIES"] = STRATEGIES
    facts = {
        "scan_date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        "registries": {name: traverse_registry_tree(root, verbose) for name, root in sorted(roots.items())},
    }
    if save_path is not None:
        path = Path(save_path) / "modules_statistic_results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts, indent=2), encoding="utf-8")
        print_log(f"What is registered is written to {path}.", "current")
    return facts


def _directory(entry: Any) -> str:
    """Return the directory of a class or function, from its top-level package on."""
    module = inspect.getmodule(entry)
    name = "" if module is None else module.__name__
    return name.rpartition(".")[0].replace(".", "/")
