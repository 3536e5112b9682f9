"""The layers of a model in their order, and at which depth each parameter stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from .param_groups import hint, parts_of

__all__ = ["depths_of"]

Depth = tuple[int, int]
_STACKS = (nn.Sequential, nn.ModuleList)


def depths_of(model: nn.Module, layers: Sequence[str] = ()) -> dict[str, Depth]:
    """Return for the name of each parameter the depth of its layer, from 0, and how many layers there are.

    They are found in the first of these ways that is open:

    1. ``layers`` names them, from the first to the last, by the beginnings of their parameters' names. A parameter
       belongs to the one with the longest beginning, and to the last layer where it has none of them.
    2. The model, or a module within it such as its backbone, has a method ``get_layer_depth(param_name, prefix='')``,
       as many of OpenMMLab have: it returns the depth and the number of layers. The model's own is called with the name
       alone.
    3. The layers are the blocks of the model's stacks. A stack is an ``nn.Sequential`` or ``nn.ModuleList``; its
       blocks are those of its members that are of one class and have members themselves (without any such, those that
       have parameters). The class that stands most often in one stack is the class of the blocks, in whatever stacks
       they are. They are the layers from 1 on. What comes before them, as embeddings do, is layer 0; what comes between
       two of them belongs to the first of the two; and what comes behind them, as the head does, is the last layer.

    Args:
        model: The model.
        layers: See above.

    Raises:
        ValueError: A layer is in the name of no parameter, the model tells an impossible depth, or it has no stacks.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.LayerNorm(2))
    >>> {name: depth for name, (depth, _) in depths_of(model).items() if name.endswith("weight")}
    {'0.weight': 1, '2.weight': 2, '4.weight': 3}
    """
    names = list(dict.fromkeys(part.name for part in parts_of(model)))
    if layers:
        return _by_beginnings(layers, names)
    told = _told_by(model)
    return _by_blocks(model) if told is None else {name: _checked(told(name), name) for name in names}


def _by_beginnings(layers: Sequence[str], names: Sequence[str]) -> dict[str, Depth]:
    for key in layers:
        if not any(name.startswith(key) for name in names):
            raise ValueError(
                f"optim_wrapper.paramwise_cfg.layers: the name of no parameter begins with {key!r}.{hint(key, names)}"
            )
    found = {}
    for name in names:
        fitting = [place for place, key in enumerate(layers) if name.startswith(key)]
        found[name] = max(fitting, key=lambda place: len(layers[place]), default=len(layers) - 1), len(layers)
    return found


def _told_by(model: nn.Module) -> Callable[[str], Any] | None:
    for path, module in model.named_modules():
        method: Any = getattr(module, "get_layer_depth", None)  # of a user's model, which need not have it
        if callable(method):
            return partial(_told_within, method, f"{path}.") if path else method
    return None


def _told_within(method: Callable[[str, str], Any], prefix: str, name: str) -> Any:
    return method(name, prefix)


def _checked(told: Any, name: str) -> Depth:
    try:
        depth, count = told
        fits = 0 <= int(depth) < int(count)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            "get_layer_depth must return a depth from 0, and the number of layers, which is larger; but for"
            f" {name!r} it returned {told!r}."
        )
    return int(depth), int(count)


def _by_blocks(model: nn.Module) -> dict[str, Depth]:
    kind = _class_of_blocks(model)
    if kind is None:
        raise ValueError(
            f"No layers are found in {type(model).__name__}: it has no nn.Sequential or nn.ModuleList with two blocks"
            " of one class. Name them, from the first to the last, as in"
            " optim_wrapper.paramwise_cfg=dict(layers=['stem', 'body.0', 'body.1', 'head']), or give the model a method"
            " get_layer_depth(param_name) that returns the depth and the number of layers."
        )
    depths: dict[str, int] = {}
    outside: list[str] = []
    blocks = 0

    def walk(module: nn.Module, prefix: str) -> None:
        nonlocal blocks
        for name, _ in module.named_parameters(recurse=False):
            depths[prefix + name] = blocks
            outside.append(prefix + name)
        for name, child in module.named_children():
            if isinstance(module, _STACKS) and type(child) is kind:
                blocks += 1
                depths.update(dict.fromkeys((part.name for part in parts_of(child, prefix + name)), blocks))
            else:
                walk(child, f"{prefix}{name}.")

    walk(model, "")
    for name in outside:
        if depths[name] == blocks:  # behind the last
            depths[name] += 1
    count = 1 + max(depths.values())
    return {name: (depth, count) for name, depth in depths.items()}


def _class_of_blocks(model: nn.Module) -> type[nn.Module] | None:
    """Return the class that stands most often in one stack, of blocks first, else of single layers, else of stacks."""
    most: dict[int, tuple[int, type[nn.Module]]] = {}
    for stack in model.modules():
        if isinstance(stack, _STACKS):
            members = [child for child in stack.children() if next(child.parameters(), None) is not None]
            for kind, count in Counter(map(type, members)).items():
                composite = any(type(child) is kind and next(child.children(), None) is not None for child in members)
                rank = 2 if issubclass(kind, _STACKS) else 0 if composite else 1
                if count > most.get(rank, (1, kind))[0]:
                    most[rank] = count, kind
    return most[min(most)][1] if most else None
