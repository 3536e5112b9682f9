"""Activations that are computed again in the backward pass, in place of being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._C import _current_graph_task_id
from torch.utils.checkpoint import checkpoint

from ..utils import check_type, did_you_mean
from .compiling import repeated_blocks

__all__ = ["parts_named", "turn_on_activation_checkpointing"]


def turn_on_activation_checkpointing(model: nn.Module, modules: bool | str | Sequence[str] = True) -> int:
    """Let parts of a model keep only their inputs for the backward pass, and compute the rest again there.

    This takes a fraction of the memory, and about a third more time (Chen et al., "Training deep nets with sublinear
    memory cost", 2016). Losses and gradients have the same bits: dropout draws the same numbers again, and buffers,
    such as the statistics of batch normalisation, change once. ``state_dict`` stays as it is, and a copy of the model
    computes with its own weights. ``torch.compile`` keeps to it too, with its own kernels (but for its backend
    ``'eager'``, which cannot compute batch normalisation again).

    Args:
        model: The model.
        modules: Names of submodules, such as ``'backbone.layer1'``; of an ``nn.ModuleList`` each member. True takes the
            blocks that the model repeats: the outermost modules that stand in an ``nn.Sequential`` or
            ``nn.ModuleList`` with others of their class, and are made of modules.

    Returns:
        How many parts.

    Raises:
        TypeError: ``modules`` is neither a bool, nor a name, nor a list of names.
        ValueError: There is no submodule of that name, or there are no repeated blocks.

    >>> model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    >>> turn_on_activation_checkpointing(model, ["0"])
    1
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> model[0][0].weight.grad.shape
    torch.Size([2, 2])
    """
    if modules is False:
        return 0
    parts = list(repeated_blocks(model)) if modules is True else parts_named(model, modules, "activation_checkpointing")
    if not parts:
        raise ValueError(
            f"activation_checkpointing=True finds no blocks in {type(model).__name__}: it has no nn.Sequential or"
            " nn.ModuleList with several modules of one class that are made of modules. Name the parts:"
            " activation_checkpointing=['backbone.layer1', ...]."
        )
    for part in parts:
        for one in part if isinstance(part, nn.ModuleList) else (part,):
            if not isinstance(vars(one).get("forward"), _Checkpointed):
                one.forward = _Checkpointed(one, vars(one).get("forward"))
    return len(parts)


def parts_named(model: nn.Module, names: str | Sequence[str], option: str) -> list[nn.Module]:
    """Return submodules by their names.

    Args:
        model: The model.
        names: One name, or several.
        option: Where the user wrote them; begins the messages.

    Raises:
        TypeError: It is neither.
        ValueError: There is no submodule of that name.
    """
    check_type(names, str | list | tuple, option)
    there = dict(model.named_modules())
    found = []
    for name in [names] if isinstance(names, str) else names:
        if not name or name not in there:
            near = did_you_mean(str(name), filter(None, there))
            raise ValueError(
                f"{option}: {type(model).__name__} has no submodule {name!r}.{near}"
                f" Its own are: {', '.join(dict(model.named_children())) or 'none'}."
            )
        found.append(there[name])
    return found


class _Checkpointed:
    """The forward pass of a module, whose activations are computed again.

    It is an object and no function, so that a copy of the module gets one that belongs to the copy.
    """

    def __init__(self, module: nn.Module, forward: Callable[..., Any] | None) -> None:
        self.module = module
        self.forward = forward  # one that was set on the instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        return checkpoint(self._run, *args, use_reentrant=False, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        # What torch.compile makes of it changes buffers once by itself; and where it gives up, it comes here again.
        if torch.compiler.is_compiling() or _current_graph_task_id() == -1:
            return self._forward(*args, **kwargs)
        with _buffers_kept(self.module):  # within a backward pass: it is computed again
            return self._forward(*args, **kwargs)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.forward is not None:
            return self.forward(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Let the buffers of what is in training end as they began: they have changed in the forward pass already."""
    buffers = [buffer for part in module.modules() if part.training for buffer in part.buffers(recurse=False)]
    copies = [buffer.detach().clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, copy in zip(buffers, copies, strict=True):
            buffer.data.copy_(copy)  # not a change that autograd should see: their values are what it has saved
