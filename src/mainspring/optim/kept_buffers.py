"""The buffers of a model as they were, to be put back without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

__all__ = ["KeptBuffers"]

_Form = tuple[torch.Size, torch.dtype, torch.device]


@dataclass(slots=True)
class _Bundle:
    """The buffers of one dtype and device: two copies of all of them, each in one piece of memory."""

    members: list[int] = field(default_factory=list)
    shapes: list[torch.Size] = field(default_factory=list)
    before: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    after: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    before_views: list[torch.Tensor] = field(default_factory=list)
    after_views: list[torch.Tensor] = field(default_factory=list)

    def make_room(self, dtype: torch.dtype, device: torch.device) -> None:
        sizes = [shape.numel() for shape in self.shapes]
        self.before = torch.empty(sum(sizes), dtype=dtype, device=device)
        self.after = torch.empty_like(self.before)
        for flat, views in ((self.before, self.before_views), (self.after, self.after_views)):
            views += [part.view(shape) for part, shape in zip(torch.split(flat, sizes), self.shapes, strict=True)]


class KeptBuffers:
    """A copy of the buffers of a model, in memory that is taken once.

    A buffer that is replaced by another tensor counts as changed, like one that is written to.

    Args:
        model: The buffers are those of its modules as they are now; a module that is added later is not seen.

    >>> norm = nn.BatchNorm1d(1)
    >>> kept = KeptBuffers(norm)
    >>> kept.keep()
    >>> _ = norm(torch.tensor([[1.0], [5.0]]))
    >>> norm.running_mean
    tensor([0.3000])
    >>> kept.restore_where(torch.tensor(1.0))
    >>> norm.running_mean, norm.num_batches_tracked
    (tensor([0.]), tensor(0))
    """

    def __init__(self, model: nn.Module) -> None:
        self._places = [
            (module._buffers, key, f"{path}.{key}" if path else key)
            for path, module in model.named_modules()
            for key in module._buffers
        ]
        self._tensors: list[torch.Tensor | None] = [None] * len(self._places)
        self._forms: list[_Form | None] = [None] * len(self._places)
        self._bundles: list[_Bundle] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the buffers as they are now."""
        self._tensors = self._now()
        forms = [_form_of(tensor) for tensor in self._tensors]
        if forms != self._forms:
            self._forms = forms
            self._bundles = _bundles(forms)
        for bundle in self._bundles:
            torch._foreach_copy_(bundle.before_views, _present(self._tensors, bundle))

    @torch.no_grad()
    def restore(self) -> None:
        """Put the buffers back as they were kept."""
        for (buffers, key, _), tensor in zip(self._places, self._tensors, strict=True):
            buffers[key] = tensor
        for bundle in self._bundles:
            for index, kept in zip(bundle.members, bundle.before_views, strict=True):
                buffers, key, _ = self._places[index]
                tensor = buffers[key]
                if tensor is not None and tensor.shape == kept.shape:
                    tensor.copy_(kept)
                else:  # it was resized in place
                    buffers[key] = kept.clone()

    @torch.no_grad()
    def restore_where(self, flag: torch.Tensor) -> None:
        """Put the buffers back if ``flag``, a number on a device, is not zero.

        The host reads it only where a buffer has come, gone, or taken another form since it was kept.
        """
        now = self._now()
        if [_form_of(tensor) for tensor in now] != self._forms:
            if bool(flag):
                self.restore()
            return
        for bundle in self._bundles:
            tensors = _present(now, bundle)
            torch._foreach_copy_(bundle.after_views, tensors)
            chosen = flag.to(bundle.before.device, non_blocking=True) != 0
            torch.where(chosen, bundle.before, bundle.after, out=bundle.after)
            torch._foreach_copy_(tensors, bundle.after_views)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the kept copies by the names of the buffers."""
        return {
            self._places[index][2]: kept.clone()
            for bundle in self._bundles
            for index, kept in zip(bundle.members, bundle.before_views, strict=True)
        }

    def load_state_dict(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Take the copies of :meth:`state_dict` for those that were kept; a buffer that it lacks is kept as it is."""
        self.keep()
        for bundle in self._bundles:
            for index, kept in zip(bundle.members, bundle.before_views, strict=True):
                saved = state_dict.get(self._places[index][2])
                if saved is not None and saved.shape == kept.shape:
                    kept.copy_(saved)

    def _now(self) -> list[torch.Tensor | None]:
        return [buffers.get(key) for buffers, key, _ in self._places]


def _form_of(tensor: torch.Tensor | None) -> _Form | None:
    """Return what makes a copy fit, or None where nothing is to be copied.

    That is so of a tensor whose elements share memory: nobody can write to it.
    """
    if tensor is None or tensor.numel() == 0 or tensor.layout is not torch.strided:
        return None
    if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)):
        return None
    return tensor.shape, tensor.dtype, tensor.device


def _bundles(forms: list[_Form | None]) -> list[_Bundle]:
    bundles: dict[tuple[torch.dtype, torch.device], _Bundle] = {}
    for index, form in enumerate(forms):
        if form is not None:
            bundle = bundles.setdefault(form[1:], _Bundle())
            bundle.members.append(index)
            bundle.shapes.append(form[0])
    for kind, bundle in bundles.items():
        bundle.make_room(*kind)
    return list(bundles.values())


def _present(tensors: list[torch.Tensor | None], bundle: _Bundle) -> list[torch.Tensor]:
    return [tensor for tensor in (tensors[index] for index in bundle.members) if tensor is not None]
