"""What is exported: a model that takes the tensors of a batch, with the preprocessor's work before it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from ..model import BaseDataPreprocessor, BaseModel, ImgDataPreprocessor
from ..utils import describe

__all__ = ["BatchLayout", "Exported", "repeated"]


class BatchLayout:
    """Where the tensors of a batch are, under what names a graph takes them, and what else is in the batch.

    Args:
        batch: The batch: a dict, or a tuple or list.
        signature: That of the model's ``forward``, whose parameters name what is in a tuple.

    Raises:
        TypeError: The batch is something else.
        ValueError: There is no tensor in it.
    """

    def __init__(self, batch: Any, signature: inspect.Signature) -> None:
        self.by_name = isinstance(batch, Mapping)
        if not self.by_name and not isinstance(batch, (tuple, list)):
            raise TypeError(
                f"export_model: inputs must be a batch as a data loader returns it, a dict or a tuple, but it is"
                f" {describe(batch)}. Write (images,) for a tuple of one."
            )
        parts: dict[str, Any] = (
            dict(batch) if self.by_name else dict(zip(_names(signature, len(batch)), batch, strict=True))
        )
        self.names = list(parts)
        self.fixed = {name: value for name, value in parts.items() if not _is_of_tensors(value)}
        self.tensor_names = [name for name in self.names if name not in self.fixed]
        if not self.tensor_names:
            raise ValueError(f"export_model: there is no tensor in the inputs, {describe(batch)}.")

    def tensors(self, batch: Any) -> dict[str, Any]:
        """Return by name what of a batch is given to the graph."""
        parts = dict(batch) if self.by_name else dict(zip(self.names, batch, strict=False))
        return {name: parts[name] for name in self.tensor_names}

    def filled(self, tensors: Mapping[str, Any]) -> Any:
        """Return the batch with these tensors."""
        parts = {name: tensors[name] if name in tensors else self.fixed[name] for name in self.names}
        return parts if self.by_name else list(parts.values())

    def arguments(self, tensors: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return these tensors as the graph takes them: by name if the batch is a dict, else in order."""
        return ((), dict(tensors)) if self.by_name else (tuple(tensors.values()), {})

    def call(self, graph: nn.Module, tensors: Mapping[str, Any]) -> Any:
        """Return the outputs of a graph for these tensors."""
        args, kwargs = self.arguments(tensors)
        return graph(*args, **kwargs)

    def dynamic_shapes(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return for torch.export which sizes are that of the batch."""
        size = _batch_size(tensors)
        batch = torch.export.Dim("batch")
        return pytree.tree_map(  # type: ignore[no-any-return]
            lambda tensor: {0: batch} if _counts(tensor, size) else {}, dict(tensors)
        )


def repeated(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors with twice as many samples."""
    size = _batch_size(tensors)
    return pytree.tree_map(  # type: ignore[no-any-return]
        lambda tensor: torch.cat([tensor, tensor]) if _counts(tensor, size) else tensor, dict(tensors)
    )


class Exported(nn.Module):
    """A model in its mode ``tensor``, as torch.export follows it.

    Args:
        model: The model.
        layout: Of the batches that it gets.
        inside: Whether it begins with what the model's data preprocessor does.
    """

    def __init__(self, model: BaseModel, layout: BatchLayout, inside: bool) -> None:
        super().__init__()
        self.model = model
        preprocessor = model.data_preprocessor
        # The graph of our own preprocessors is written down here: they work in memory that is kept, image by image.
        self.prepare: nn.Module | None = None
        if inside and isinstance(preprocessor, ImgDataPreprocessor) and type(preprocessor) is ImgDataPreprocessor:
            self.prepare = _Images(preprocessor)
        elif inside and type(preprocessor) is not BaseDataPreprocessor:
            self.prepare = preprocessor

        def forward(*args: Any, **kwargs: Any) -> Any:
            batch = layout.filled({**dict(zip(layout.tensor_names, args, strict=False)), **kwargs})
            if self.prepare is not None:
                batch = self.prepare(batch)
            return model._run_forward(batch, mode="tensor")

        # torch.export takes the names of the inputs from here; **kwargs alone would have none.
        kind_of = inspect.Parameter.POSITIONAL_OR_KEYWORD
        forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, kind_of) for name in layout.tensor_names]
        )
        self.forward = forward

    def check(self, batch: Any) -> None:
        """Raise a ``TypeError`` if the images are no single tensor, which a graph needs."""
        if isinstance(self.prepare, _Images):
            self.prepare.images_of(batch)


class _Images(nn.Module):
    """What an :class:`~mainspring.model.ImgDataPreprocessor` computes, as few operations on whole tensors."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, preprocessor: ImgDataPreprocessor) -> None:
        super().__init__()
        numbers = preprocessor._normalization
        self._reverse = numbers._reverse
        self._normalises = bool(numbers.mean)
        self._divisor, self._pad_value = preprocessor.pad_size_divisor, preprocessor.pad_value
        self._dtype = preprocessor.dtype
        device = preprocessor.device
        scale = [1 / deviation for deviation in numbers.std]
        shift = [-mean / deviation for mean, deviation in zip(numbers.mean, numbers.std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale, device=device).view(-1, 1, 1))
        self.register_buffer("shift", torch.tensor(shift, device=device).view(-1, 1, 1))

    def forward(self, batch: Any) -> Any:
        """Return the batch with its images as the model takes them."""
        images = self._prepared(self.images_of(batch))
        if isinstance(batch, Mapping):
            done = {**batch, "inputs": images}
            return done if len(done) > 1 else {**done, "data_samples": None}
        return [images, *batch[1:]]

    def images_of(self, batch: Any) -> torch.Tensor:
        """Return the images of a batch, which must be one tensor."""
        images = batch["inputs"] if isinstance(batch, Mapping) else batch[0]
        if not isinstance(images, torch.Tensor):
            raise TypeError(
                f"export_model: the images must be one tensor of shape (N, C, H, W), but they are {describe(images)}."
                " Stack them: torch.stack(images)."
            )
        return images

    def _prepared(self, images: torch.Tensor) -> torch.Tensor:
        if self._reverse:
            images = images.flip(1)
        if self._normalises:
            images = images.float() * self.scale + self.shift
        images = images.to(self._dtype)
        below, right = (-size % self._divisor for size in images.shape[-2:])
        return F.pad(images, (0, right, 0, below), value=self._pad_value) if below or right else images


def _names(signature: inspect.Signature, count: int) -> list[str]:
    """Return names for so many things that are given in order."""
    in_order = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [name for name, parameter in signature.parameters.items() if parameter.kind in in_order]
    return [*named[:count], *(f"input_{number}" for number in range(len(named), count))]


def _is_of_tensors(value: Any) -> bool:
    leaves = pytree.tree_leaves(value)
    return bool(leaves) and all(isinstance(leaf, torch.Tensor) for leaf in leaves)


def _batch_size(tensors: Mapping[str, Any]) -> int:
    sizes = [leaf.shape[0] for leaf in pytree.tree_leaves(tensors) if leaf.dim()]
    return sizes[0] if sizes else -1


def _counts(tensor: torch.Tensor, size: int) -> bool:
    """Whether the first dimension of a tensor is that of the batch."""
    return tensor.dim() > 0 and tensor.shape[0] == size
