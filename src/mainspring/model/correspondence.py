"""The tensors of an average beside those of its model: found once, then only looked at for changes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from .counterparts import counterparts, grouped

__all__ = ["Correspondence"]

_MOST_ELEMENTS = 2**14
"""Larger tensors are not joined: for them, a copy costs more than a call."""
_LEAST_MEMBERS = 8


class Correspondence:
    """Which tensor of an average belongs to which of its model, in lists for torch's multi-tensor functions.

    To find them takes longer than to average small models. So they are kept, as long as every module of both is the one
    that was there, and the memory of every tensor.

    Args:
        average: The copy, which holds the average.
        model: The model.
        update_buffers: See :func:`~mainspring.model.counterparts.counterparts`.

    Raises:
        ValueError: The model lacks what the copy has.
    """

    def __init__(self, average: nn.Module, model: nn.Module, update_buffers: bool) -> None:
        self._of = (average, model, update_buffers)
        self.averaged, self.followed = counterparts(average, model, update_buffers)
        self.lists = list(grouped(self.averaged))
        """Of one device and type each: tensors of the average, and of the model."""
        self.followed_lists = list(grouped(self.followed))
        """The same for what is only copied."""
        self._children: list[tuple[dict[str, Any], str, Any]] = []
        self._dicts: list[Mapping[str, Any]] = []
        self._names: list[str] = []
        for module in (*average.modules(), *model.modules()):
            self._children += [(module._modules, name, child) for name, child in module._modules.items()]
            for members in (module._parameters, module._buffers):
                there = [name for name, member in members.items() if member is not None]
                self._dicts += [members] * len(there)
                self._names += there
        self._memory = self._where()
        self._joined: list[tuple[Tensor, list[Tensor]]] | None = None

    def holds(self, average: nn.Module, model: nn.Module, update_buffers: bool) -> bool:
        """Whether it is that of these two, and nothing of them was exchanged or moved."""
        if self._of[0] is not average or self._of[1] is not model or self._of[2] is not update_buffers:
            return False
        try:
            same = all(children[name] is child for children, name, child in self._children)
            return same and self._memory is not None and self._where() == self._memory
        except KeyError:
            return False

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Become None in a copy of the average, which finds its own: otherwise the model would be copied with it."""
        return type(None), ()

    def _where(self) -> list[int] | None:
        """Return where each tensor begins in memory, or None where a kind of tensor has no such place."""
        try:
            return [members[name].data_ptr() for members, name in zip(self._dicts, self._names, strict=True)]
        except (AttributeError, RuntimeError, NotImplementedError):
            return None

    def joined(self) -> list[tuple[Tensor, list[Tensor]]]:
        """Return small vectors of the average in one piece of memory; the first call takes them out of :attr:`lists`.

        Biases, and the weights of normalisation, are many and small: to average them takes as long as calls take. On
        the CPU, one call can do it for all of a type.

        Returns:
            A vector of the average's elements, and the vectors of the model that belong there, for each such piece.
        """
        if self._joined is None:
            self._joined = self._join()
        return self._joined

    def _join(self) -> list[tuple[Tensor, list[Tensor]]]:
        joined = []
        for place, (own, theirs) in enumerate(self.lists):
            small = [_is_small(one) and other.device == one.device for one, other in zip(own, theirs, strict=True)]
            if sum(small) < _LEAST_MEMBERS or own[0].dtype != theirs[0].dtype:
                continue
            members = list(compress(own, small))
            whole = torch.cat([member.detach() for member in members])
            for member, part in zip(members, torch.split(whole, [len(member) for member in members]), strict=True):
                member.data = part
            joined.append((whole, [one.detach() for one in compress(theirs, small)]))
            others = list(map(operator.not_, small))
            self.lists[place] = list(compress(own, others)), list(compress(theirs, others))
        self.lists = [lists for lists in self.lists if lists[0]]
        self._memory = self._where()
        return joined


def _is_small(tensor: Tensor) -> bool:
    return (
        isinstance(tensor, nn.Parameter)  # a buffer may share its memory with another
        and tensor.device.type == "cpu"
        and tensor.dim() == 1
        and 0 < tensor.numel() <= _MOST_ELEMENTS
    )
