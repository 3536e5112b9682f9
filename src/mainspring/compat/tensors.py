"""Small functions around tensors, some of which torch has itself by now."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.hub import load_state_dict_from_url

__all__ = ["TORCH_VERSION", "is_jit_tracing", "load_url", "tensor2imgs", "torch_meshgrid"]

TORCH_VERSION = torch.__version__


def is_jit_tracing() -> bool:
    """Whether ``torch.jit.trace`` is tracing."""
    torchs: Any = torch.jit  # which has no types
    return bool(torchs.is_tracing())


def torch_meshgrid(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return ``torch.meshgrid`` with matrix indices.

    >>> [grid.tolist() for grid in torch_meshgrid(torch.arange(2), torch.arange(3))]
    [[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]
    """
    grids: tuple[torch.Tensor, ...] = torch.meshgrid(*tensors, indexing="ij")
    return grids


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> dict[str, Any]:
    """Download weights, unless that was done before; see :func:`torch.hub.load_state_dict_from_url`.

    But for ``weights_only`` the arguments are torch's. By default only tensors and plain values are read; with False
    the code that the file names is run.
    """
    weights: dict[str, Any] = load_state_dict_from_url(
        url, model_dir, map_location, progress, check_hash, file_name, weights_only
    )
    return weights


def tensor2imgs(
    tensor: torch.Tensor,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    to_bgr: bool = True,
) -> list[np.ndarray[Any, Any]]:
    """Turn a batch of normalised images back into images.

    Args:
        tensor: Of shape (N, C, H, W), with 3 channels or 1.
        mean: What was taken from each channel; 0 by default.
        std: What each channel was then divided by; 1 by default.
        to_bgr: Whether the three channels change their order; of one channel it must be False.

    Returns:
        N contiguous arrays of shape (H, W, C), of the type float32, with values as they were before.

    Raises:
        TypeError: It is no tensor.
        ValueError: A shape or a length is another.

    >>> images = tensor2imgs(torch.zeros(2, 3, 4, 5), mean=(1, 2, 3), std=(1, 1, 1))
    >>> len(images), images[0].shape, images[0][0, 0].tolist()
    (2, (4, 5, 3), [3.0, 2.0, 1.0])
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"tensor2imgs takes a tensor, but it was given a {type(tensor).__name__}.")
    if tensor.dim() != 4 or tensor.size(1) not in (1, 3):
        raise ValueError(f"The images must be of shape (N, 3, H, W) or (N, 1, H, W), but it is {tuple(tensor.shape)}.")
    channels = tensor.size(1)
    means = (0.0,) * channels if mean is None else mean
    deviations = (1.0,) * channels if std is None else std
    if not len(means) == len(deviations) == channels:
        raise ValueError(
            f"mean and std must have a number for each of the {channels} channels, but they have {len(means)} and"
            f" {len(deviations)}."
        )
    if channels == 1 and to_bgr:
        raise ValueError("An image of one channel has no order of channels to change: write to_bgr=False.")
    shape = (1, channels, 1, 1)
    images = tensor.detach().float().cpu()
    images = images * torch.tensor(deviations).view(shape) + torch.tensor(means).view(shape)
    if to_bgr:
        images = images.flip(1)
    return [image.permute(1, 2, 0).contiguous().numpy() for image in images]
