"""The tensors of a copy of a model, beside the model's."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["Pairs", "copied", "copy_tensors", "counterparts", "grouped"]

Pairs = dict[Tensor, Tensor]
"""Tensors of the copy, and for each the model's; tied ones stand there once."""


def counterparts(average: nn.Module, model: nn.Module, update_buffers: bool) -> tuple[Pairs, Pairs]:
    """Return the tensors that are averaged, and those that are only copied.

    Averaged are parameters of floating point, real or complex; with ``update_buffers`` such buffers too, if they are
    saved: what is not saved could not be averaged exactly across a stop. All else is copied.

    Args:
        average: The copy, which holds the average.
        model: The model.
        update_buffers: See above.

    Raises:
        ValueError: The model lacks what the copy has.
    """
    averaged: Pairs = {}
    followed: Pairs = {}
    try:
        _collect(average, model, update_buffers, averaged, followed)
    except (KeyError, AttributeError) as error:
        there = _names(model)
        missing = ", ".join(name for name in _names(average) if name not in there)
        raise ValueError(
            f"{type(model).__name__} has no {missing or error}, which its average has. Pass the very model of which the"
            " average was made, without a wrapper around it; if its parts were exchanged, make a new average."
        ) from error
    return averaged, followed


# This is done at each step, and one walk through both takes half as long as named_parameters() of one of them.
def _collect(average: nn.Module, model: nn.Module, update_buffers: bool, averaged: Pairs, followed: Pairs) -> None:
    for name, own in average._parameters.items():
        if own is not None:
            theirs = model._parameters[name]
            if theirs is None:
                raise KeyError(name)
            (averaged if _is_inexact(own) else followed)[own] = theirs
    for name, kept in average._buffers.items():
        if kept is not None:
            source = model._buffers[name]
            if source is None:
                raise KeyError(name)
            takes_part = update_buffers and _is_inexact(kept) and name not in average._non_persistent_buffers_set
            (averaged if takes_part else followed)[kept] = source
    for name, child in average._modules.items():
        if child is not None:
            _collect(child, model._modules[name], update_buffers, averaged, followed)  # type: ignore[arg-type]


def _is_inexact(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _names(module: nn.Module) -> list[str]:
    return [name for name, _ in (*module.named_parameters(), *module.named_buffers())]


def grouped(pairs: Pairs) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Yield the pairs in lists such as one kernel takes: of one device and type each."""
    groups: dict[tuple[object, ...], tuple[list[Tensor], list[Tensor]]] = {}
    for own, theirs in pairs.items():
        key = (own.device, own.dtype, theirs.device, theirs.dtype)
        group = groups.get(key)
        if group is None:
            group = groups[key] = ([], [])
        group[0].append(own)
        group[1].append(theirs)
    yield from groups.values()


@torch.no_grad()
def copy_tensors(pairs: Pairs) -> None:
    """Copy each pair's second into its first."""
    for own, theirs in grouped(pairs):
        torch._foreach_copy_(own, theirs)


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of a model, that needs no gradients.

    Raises:
        TypeError: It cannot be copied; the message says what of it cannot.
    """
    try:
        twin = copy.deepcopy(model)
    except Exception as error:  # whatever the attributes of a user's model raise
        reason = f"{type(error).__name__}: {str(error).rstrip('.')}"
        raise TypeError(
            f"An average begins as a copy of the model, but {type(model).__name__} cannot be copied{_obstacle(model)}:"
            f" {reason}. Keep such an object out of the model, or give its class a method __deepcopy__."
        ) from error
    return twin.requires_grad_(False)


def _obstacle(model: nn.Module) -> str:
    for path, module in model.named_modules():
        parts: dict[str, object] = {**vars(module), **module._parameters, **module._buffers}
        if hasattr(type(module), "__deepcopy__"):  # it is copied, or refuses to be, as a whole
            parts = {"": module}
        for name, part in parts.items():
            if name in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                copy.deepcopy(part)
            except Exception:  # this is what is looked for
                where = ".".join(filter(None, (path, name)))
                return f", because of its {where} ({type(part).__name__})" if where else ""
    return ""
