"""What goes with an error of a model: a batch beside the arguments it was meant for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..utils import describe

__all__ = ["what_forward_got"]


def what_forward_got(forward: Callable[..., Any], name: str, data: Any, mode: str) -> str:
    """Set a batch beside the arguments of ``forward``, as a note for an error that their difference may have caused.

    Args:
        forward: The model's.
        name: What the user calls it.
        data: The batch, a mapping, list or tuple, as it was unpacked.
        mode: Handed on with it.
    """
    try:
        signature = inspect.signature(forward)
    except ValueError:  # written in C
        signature = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_KEYWORD)])
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    values = list(data.values() if isinstance(data, Mapping) else data)
    parts = [describe(value) for value in values]
    if isinstance(data, Mapping):
        parts = [f"{key}={part}" for key, part in zip(data, parts, strict=True)]
    shown = ", ".join(parts[:12] + ["..."] * (len(parts) > 12))
    note = f"({name} takes {inspect.Signature(bare)}; it got mode={mode!r} and the batch {shown or 'without content'}."
    if "mode" not in signature.parameters and all(p.kind is not p.VAR_KEYWORD for p in bare):
        note += " Give it an argument `mode`."
    elif not _takes(signature, data, mode):
        note += " Give it the arguments that the batch has, or make another batch in a data preprocessor."
    elif any(isinstance(value, (list, tuple)) and value and isinstance(value[0], torch.Tensor) for value in values):
        note += (
            " The samples' tensors are not stacked: write collate_fn='default_collate' in the data loader's config, or"
            " stack them in a data preprocessor."
        )
    return note + ")"


def _takes(signature: inspect.Signature, data: Any, mode: str) -> bool:
    named = isinstance(data, Mapping)
    if named and ("mode" in data or not all(isinstance(key, str) for key in data)):
        return False
    try:
        signature.bind(*([] if named else data), **(data if named else {}), mode=mode)
    except TypeError:
        return False
    return True
