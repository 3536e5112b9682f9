"""From images of one byte a channel to a normalised batch, on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..registry import MODELS
from ..utils import did_you_mean, whole_of
from .batch_layout import Slot
from .data_preprocessor import BaseDataPreprocessor
from .kept_memory import KeptMemory
from .normalization import Normalization
from .stack import padded_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

__all__ = ["ImgDataPreprocessor"]

_IMAGES = Slot(0, "inputs")


@MODELS.register_module()
class ImgDataPreprocessor(BaseDataPreprocessor):
    """Moves images to the device, then converts, normalises, pads and stacks them there.

    Moved first, images of one byte a channel travel in a quarter of the bytes that they have as float32; those of one
    size that a worker has put together, in one piece. Then ``(image - mean) / std`` is written into the batch, with the
    channels in their final order: in one pass, and on a CPU into the memory of an earlier batch once nothing refers to
    that any more. The padding, below and on the right, is not normalised: ``pad_value`` counts in the units of the
    result.

    The images lie under the key ``inputs`` of a dict, or are the first element of a tuple or list. They come
    as one tensor (N, C, H, W), or as a list of tensors (C, H, W) whose sizes may differ; usually uint8, but
    any real dtype will do. They are not changed; where nothing is to be done they are handed on themselves.

    A dict that holds nothing but images gains ``data_samples=None``, as with MMEngine, whose models take it.

    ``mean`` and ``std`` are also buffers of shape (C, 1, 1), outside the ``state_dict``, for reading: to turn
    pictures back, say. The arithmetic here takes the numbers that were given, so that ``model.half()`` does
    not round them; to change them, make a new preprocessor.

    Args:
        mean: One number for all channels or one for each, in the order that the channels have in the result
            and in the units of the images (0 to 255 for bytes). None, together with ``std``: no normalisation.
        std: The same; positive.
        pad_size_divisor: Height and width are rounded up to a multiple of this.
        pad_value: What the padding holds.
        bgr_to_rgb: Reverse the order of the three channels.
        rgb_to_bgr: The same; at most one of the two.
        non_blocking: Let the host go on while pinned data travel to an accelerator.
        channels_last: Give the batch the memory format that convolutions prefer on most accelerators.
        dtype: Floating dtype of the batch, or its name. The arithmetic is that of float32 whichever it is.
        augments: As for :class:`BaseDataPreprocessor`; they see the normalised batch.

    Raises:
        TypeError: ``mean`` or ``std`` is no list of numbers.
        ValueError: Options are impossible, or do not go together.

    >>> import torch
    >>> preprocessor = ImgDataPreprocessor(mean=[127.5], std=[127.5], pad_size_divisor=32)
    >>> sizes = [(40, 60), (64, 30)]
    >>> images = [torch.full((3, *size), 255, dtype=torch.uint8) for size in sizes]
    >>> batch = preprocessor({"inputs": images, "labels": torch.tensor([0, 1])})
    >>> batch["inputs"].shape, batch["inputs"].dtype
    (torch.Size([2, 3, 64, 64]), torch.float32)
    >>> batch["inputs"][0, 0, 39, 58:62]
    tensor([1.0000, 1.0000, 0.0000, 0.0000])
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        pad_size_divisor: int = 1,
        pad_value: float = 0,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool | None = True,
        *,
        channels_last: bool = False,
        dtype: torch.dtype | str = torch.float32,
        augments: Sequence[nn.Module | Mapping[str, Any]] | nn.Module | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(non_blocking, augments=augments)
        if bgr_to_rgb and rgb_to_bgr:
            raise ValueError("bgr_to_rgb and rgb_to_bgr are both True, but there is one order to come from.")
        if pad_size_divisor < 1:
            raise ValueError(f"pad_size_divisor must be at least 1 (no rounding), but it is {pad_size_divisor!r}.")
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = pad_value
        self.dtype = _floating_dtype(dtype)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._memory = KeptMemory()
        self._normalization = Normalization(mean, std, reverse=bgr_to_rgb or rgb_to_bgr)
        if mean is not None:
            numbers = self._normalization
            self.register_buffer("mean", torch.tensor(numbers.mean).view(-1, 1, 1), persistent=False)
            self.register_buffer("std", torch.tensor(numbers.std).view(-1, 1, 1), persistent=False)

    def forward(self, data: Any, training: bool = False) -> Any:
        """Return the batch with its images moved, normalised and stacked; in training, augmented.

        Args:
            data: A dict with the images under ``inputs``, or a tuple or list that begins with them.
            training: Whether the augmentations take part.

        Raises:
            KeyError: A dict has no ``inputs``.
            TypeError: The images are neither a tensor nor a list of tensors.
            ValueError: Their shape is not (N, C, H, W), or (C, H, W) each; or their channels do not fit
                ``mean`` and ``std``, are not the three that can be reversed, or differ from image to image.
        """
        whole = whole_of(_IMAGES.read(data, type(self).__name__))
        if whole is not None:  # so that they are moved as one
            data = _IMAGES.written(data, whole)
        data = self.cast_data(data)
        images = self._batch(_IMAGES.read(data, type(self).__name__))
        data = _IMAGES.written(data, images)
        if isinstance(data, Mapping) and len(data) == 1:
            data = {**data, "data_samples": None}
        if training:
            for augment in self.augments:
                data = augment(data)
        return data

    def _batch(self, images: Any) -> torch.Tensor:
        _check_shapes(images, type(self).__name__)
        tensor = isinstance(images, torch.Tensor)
        sample = images if tensor else images[0]
        self._normalization.check(sample, type(self).__name__)
        shapes = [sample.shape[-3:]] if tensor else [image.shape for image in images]
        shape = padded_shape(shapes, self.pad_size_divisor)
        needs_padding = any(list(given) != shape for given in shapes)
        if self._normalization.does_nothing and sample.dtype == self.dtype and not needs_padding:
            together = images if tensor else torch.stack(list(images))
            return together.to(self.dtype, memory_format=self.memory_format)
        batch = self._memory.empty((len(images), *shape), self.dtype, sample.device, self.memory_format)
        if needs_padding:
            batch.fill_(self.pad_value)
        first, *others = shapes
        if all(other == first for other in others):
            self._normalization.write(images, batch[..., : first[1], : first[2]] if needs_padding else batch)
            return batch
        for place, image in zip(batch, images, strict=True):
            _, height, width = image.shape
            self._normalization.write(image, place[..., :height, :width])
        return batch


def _check_shapes(images: Any, user: str) -> None:
    expected = f"{user} takes images as a tensor (N, C, H, W) or a list of tensors (C, H, W), but"
    if isinstance(images, torch.Tensor):
        if images.dim() != 4:
            raise ValueError(
                f"{expected} got a tensor of shape {tuple(images.shape)}. In a batch that is a tuple or list"
                " the images are the first element."
            )
        return
    if not isinstance(images, (list, tuple)):
        raise TypeError(f"{expected} got {type(images).__name__}.")
    if not images:
        raise ValueError(f"{expected} got an empty {type(images).__name__}.")
    for index, image in enumerate(images):
        if not isinstance(image, torch.Tensor):
            raise TypeError(f"{expected} element {index} of the list is of type {type(image).__name__}.")
        if image.dim() != 3:
            raise ValueError(
                f"{expected} element {index} of the list has the shape {tuple(image.shape)}. An image with"
                " one channel is (1, H, W)."
            )
        if image.shape[0] != images[0].shape[0]:
            raise ValueError(
                f"{expected} the channels differ: element 0 of the list has the shape"
                f" {tuple(images[0].shape)}, element {index} {tuple(image.shape)}."
            )


def _floating_dtype(dtype: Any) -> torch.dtype:
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        names = ("float32", "float16", "bfloat16", "float64")
        raise ValueError(
            f"dtype must be a floating torch.dtype or its name ({', '.join(names)}), but it is"
            f" {dtype!r}.{did_you_mean(str(dtype), names)}"
        )
    return found
