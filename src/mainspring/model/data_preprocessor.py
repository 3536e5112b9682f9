"""From the data loader to the device of the model."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..device import copied, may_run_ahead
from ..registry import MODELS, build
from ..utils import rebuilt_mapping, rebuilt_sequence, takes_non_blocking
from .batch_augments import build_augments

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BaseDataPreprocessor", "build_data_preprocessor"]

# What has no place on a device, and is handed on as it is.
_LEFT_ALONE = (str, bytes, Number, np.generic, type(None))


@MODELS.register_module()
class BaseDataPreprocessor(nn.Module):
    """Moves a batch to the device of the model, and augments it there in training.

    It stands between loader and model: a subclass that overrides :meth:`forward` can also turn the batch of
    one loader into what another model's ``forward`` takes, with :meth:`cast_data` to move it.

    The device is that of the model which holds the preprocessor: it follows any ``.to()``, ``.cuda()`` or
    ``.cpu()``. Nothing of it is in the ``state_dict``, unless an augmentation has a state of its own.

    Args:
        non_blocking: Let the host go on while the data travel to an accelerator, beside what that computes; it takes
            effect for batches in pinned memory (``pin_memory=True`` of the loader). Copies to the CPU always wait,
            since the host would read them before they are whole.
        augments: What happens to a batch in training once it is on the device, in this order: a module that
            takes a batch and returns one, such as :class:`MixUp`, or its config; or a list of these.

    >>> import torch
    >>> preprocessor = BaseDataPreprocessor().to("meta")
    >>> images, names = preprocessor((torch.zeros(2, 3, 8, 8), ["a", "b"]))
    >>> images.device, names
    (device(type='meta'), ['a', 'b'])

    A batch for a model with other arguments:

    >>> class Renamed(BaseDataPreprocessor):
    ...     def forward(self, data, training=False):
    ...         images, labels = self.cast_data(data)
    ...         return dict(pixels=images, target=labels)
    >>> list(Renamed()((torch.zeros(2, 3, 8, 8), torch.zeros(2))))
    ['pixels', 'target']
    """

    def __init__(
        self,
        non_blocking: bool | None = True,
        *,
        augments: Sequence[nn.Module | Mapping[str, Any]] | nn.Module | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.non_blocking = bool(non_blocking)
        self.augments = build_augments(augments, f"augments of {type(self).__name__}")
        # Every way to move a module moves its buffers, so an empty one always lies where the model does.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the batches are moved to."""
        # From the dict, which is asked for each tensor of a batch: `self._anchor` takes three times as long.
        return self._buffers["_anchor"].device  # type: ignore[union-attr]

    def forward(self, data: Any, training: bool = False) -> Any:
        """Move a batch to the device; in training, augment it.

        Args:
            data: What the data loader returned.
            training: Whether the augmentations take part.
        """
        data = self.cast_data(data)
        if training:
            # Read from the dicts of the modules: attributes of modules take several times as long, in every step.
            for augment in self._modules["augments"]._modules.values():  # type: ignore[union-attr]
                data = augment(data)  # type: ignore[misc]
        return data

    def cast_data(self, data: Any) -> Any:
        """Return the data on the device, in containers of the same types.

        Dicts, lists, tuples and named tuples are walked; tensors, data elements, packed sequences and
        anything else with a method ``.to(device)`` are moved; all else (strings, numbers, None, NumPy arrays,
        objects of the user's) is handed on as it is. What lies on the device already is handed on itself, not a
        copy. The given containers are not changed.
        """
        kind = type(data)
        if kind in (tuple, list) and self._is_there(data):
            return data[:]
        if isinstance(data, torch.Tensor):
            device = self.device
            if data.device == device:
                return data
            return copied(data, device, self.non_blocking)
        if kind not in (tuple, list, dict):
            if isinstance(data, _LEFT_ALONE):
                return data
            # Before the containers: a packed sequence is a named tuple, and knows that its sizes stay behind.
            if callable(getattr(kind, "to", None)):
                device = self.device
                if takes_non_blocking(kind):  # type: ignore[arg-type]
                    return data.to(device, non_blocking=self._may_run_ahead(device))
                return data.to(device)
        if isinstance(data, Mapping):
            # cast_data and not a function of our own, so that an override sees every element.
            return rebuilt_mapping(data, {key: self.cast_data(value) for key, value in data.items()})
        if isinstance(data, (list, tuple)):
            return rebuilt_sequence(data, [self.cast_data(value) for value in data])
        return data

    def _is_there(self, data: Sequence[Any]) -> bool:
        """Whether there is nothing to do: all are plain tensors on the device, and no override wants to see them."""
        if type(self).cast_data is not BaseDataPreprocessor.cast_data:
            return False
        device = self.device
        for value in data:  # noqa: SIM110  a generator takes twice as long
            if type(value) is not torch.Tensor or value.device != device:
                return False
        return True

    def _may_run_ahead(self, device: torch.device) -> bool:
        return self.non_blocking and may_run_ahead(device)


def build_data_preprocessor(given: nn.Module | Mapping[str, Any] | None) -> nn.Module:
    """Build a data preprocessor; by default, and where a config has no ``type``, a :class:`BaseDataPreprocessor`.

    Raises:
        TypeError: It is neither an ``nn.Module`` nor the config of one.
    """
    if given is None:
        return BaseDataPreprocessor()
    built = build({"type": "BaseDataPreprocessor", **given}, MODELS) if isinstance(given, Mapping) else given
    if not isinstance(built, nn.Module):
        raise TypeError(
            f"data_preprocessor must be an nn.Module or a config dict of one, but it is {built!r}"
            f" ({type(built).__name__})."
        )
    return built
