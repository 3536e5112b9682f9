"""Loading weights into modules, and saying what does not fit."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from logging import Logger
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..logging import print_log
from .errors import CheckpointError
from .reading import MapLocation, read_checkpoint

__all__ = ["load_checkpoint", "load_state_dict", "load_weights"]


def load_state_dict(
    module: nn.Module,
    state_dict: Mapping[str, Any],
    strict: bool = False,
    logger: Logger | str | None = None,
    *,
    source: str = "the state dict",
) -> None:
    """Load weights into a module.

    Args:
        module: Receives the weights.
        state_dict: Its weights by name.
        strict: Names and shapes must agree exactly. Otherwise what fits is loaded, and one warning lists the
            missing and the unexpected names and the shapes that differ.
        logger: Where the warning goes, as for ``print_log``.
        source: What the weights come from, for messages.

    Raises:
        CheckpointError: ``strict`` and something differs; or not one name fits.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state_dict]
    unexpected = [key for key in state_dict if key not in own]
    wrong_shape = {
        key: f"{key}: {_shape(state_dict[key])} given, {_shape(value)} expected"
        for key, value in own.items()
        # A parameter of a lazy module takes the shape that it is given.
        if key in state_dict
        and isinstance(value, torch.Tensor)
        and not is_lazy(value)
        and _shape(state_dict[key]) != _shape(value)
    }
    findings = [
        f"{title} ({len(names)}): {', '.join(names)}"
        for title, names in (
            ("missing", missing),
            ("not in the model", unexpected),
            ("other shapes", wrong_shape.values()),
        )
        if names
    ]
    report = f"The weights in {source} do not fit {type(module).__name__}.\n  " + "\n  ".join(findings)
    if findings and strict:
        raise CheckpointError(f"{report}\nLoad what fits with strict=False, or rename keys with revise_keys.")
    if own and len(missing) == len(own):
        raise CheckpointError(
            f"{report}\nNot one name fits. If only a prefix differs, rename keys with"
            " revise_keys=[(pattern, replacement)]."
        )
    if findings:
        print_log(report, logger=logger, level=logging.WARNING)
    fitting = {key: value for key, value in state_dict.items() if key not in wrong_shape}
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is not None:
        fitting = _WithMetadata(fitting, metadata)
    module.load_state_dict(fitting, strict=False)


def _shape(value: Any) -> tuple[int, ...] | str:
    if is_lazy(value):
        return "a tensor without a shape yet"
    return tuple(value.shape) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"


class _WithMetadata(dict[str, Any]):
    """A state dict with the version numbers that modules leave in one."""

    def __init__(self, items: Mapping[str, Any], metadata: Any) -> None:
        super().__init__(items)
        self._metadata = metadata

    def copy(self) -> _WithMetadata:
        return _WithMetadata(self, self._metadata)


def load_checkpoint(
    model: nn.Module,
    filename: str | os.PathLike[str],
    map_location: MapLocation = "cpu",
    strict: bool = False,
    logger: Logger | str | None = None,
    revise_keys: Iterable[tuple[str, str]] = ((r"^module\.", ""),),
    *,
    trust: bool = False,
) -> dict[str, Any]:
    """Read a checkpoint file and load its weights into a model.

    Args:
        model: Receives the weights.
        filename: The file; its weights stand under ``'state_dict'`` or are the whole file.
        map_location: As for ``torch.load``.
        strict: See :func:`load_state_dict`.
        logger: Where warnings go, as for ``print_log``.
        revise_keys: Pairs of a regular expression and its replacement, applied in order to every name.
        trust: See :func:`read_checkpoint`.

    Returns:
        The whole checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, unsafe, or does not fit.
    """
    checkpoint = read_checkpoint(filename, map_location, trust=trust)
    load_weights(model, checkpoint, strict, logger, revise_keys, source=repr(str(filename)))
    return checkpoint


def load_weights(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    strict: bool = False,
    logger: Logger | str | None = None,
    revise_keys: Iterable[tuple[str, str]] = ((r"^module\.", ""),),
    *,
    source: str = "the checkpoint",
) -> None:
    """Load the weights of a checkpoint that has been read; the arguments are those of :func:`load_checkpoint`."""
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, Mapping) or not all(isinstance(key, str) for key in weights):
        raise CheckpointError(f"What {source} holds as weights is no dict of tensors by name, but {_shown(weights)}.")
    revise_keys = list(revise_keys)
    renamed = {_rename(key, revise_keys): value for key, value in weights.items()}
    metadata = getattr(weights, "_metadata", None)
    named: Mapping[str, Any] = renamed if metadata is None else _WithMetadata(renamed, metadata)
    load_state_dict(model, named, strict, logger, source=source)


def _shown(weights: Any) -> str:
    keys = f" with the keys {', '.join(map(repr, list(weights)[:5]))}" if isinstance(weights, Mapping) else ""
    return f"a {type(weights).__name__}{keys}"


def _rename(key: str, revise_keys: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in revise_keys:
        key = re.sub(pattern, replacement, key)
    return key
