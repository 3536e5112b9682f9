"""Files of the safetensors library, which hold weights and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import torch

from ..utils import require
from .errors import CheckpointError

__all__ = ["check_weights", "is_weights_file", "read_weights", "write_weights"]


def is_weights_file(filename: str | os.PathLike[str]) -> bool:
    """Say whether a file is one of safetensors, by its name."""
    return os.fspath(filename).endswith(".safetensors")


def write_weights(checkpoint: Mapping[str, Any], file: IO[bytes]) -> None:
    """Write the weights of a checkpoint, and as texts its epoch and iteration, if it has them.

    Tied weights and views are written out in full. The library makes the file in memory first.

    Args:
        checkpoint: A dict of tensors by name, or one that has such a dict under ``'state_dict'``.
        file: An empty binary file.

    Raises:
        TypeError: The weights are not all tensors of a kind that safetensors knows.
        ImportError: safetensors is not installed.
    """
    library = _library("Writing .safetensors files")
    weights = checkpoint.get("state_dict", checkpoint)
    tensors: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise TypeError(
                f"A .safetensors file holds only tensors by name, but {name!r} is a {type(value).__name__}. Save to a"
                " .pth file, or pass only the weights."
            )
        storage = value.untyped_storage() if value.layout is torch.strided else None
        if storage is not None and (storage.data_ptr() in storages or storage.nbytes() > value.nbytes):
            value = value.clone(memory_format=torch.contiguous_format)
        elif storage is not None:
            storages.add(storage.data_ptr())
            value = value.contiguous()
        tensors[name] = value
    try:
        content = library.save(tensors, metadata=_position_texts(checkpoint))
    except Exception as error:  # it has many, for sparse, quantized and meta tensors
        raise TypeError(f"safetensors cannot write these weights: {error} Save to a .pth file.") from error
    file.write(content)


def read_weights(path: Path, name: str, map_location: Any) -> dict[str, torch.Tensor]:
    """Read a file of weights.

    Args:
        path: Where it lies.
        name: What messages call it.
        map_location: As for ``torch.load``.

    Raises:
        CheckpointError: It is damaged.
        ImportError: safetensors is not installed.
    """
    library = _library("Reading .safetensors files")
    try:
        mapped = library.load_file(path)
    except OSError:
        raise
    except Exception as error:  # the library has one of its own, which it does not export everywhere
        raise _damaged(name, error) from error
    # What is mapped would change with the file.
    return {key: _placed(tensor.clone(), map_location) for key, tensor in mapped.items()}


def check_weights(path: Path, name: str) -> None:
    """Check a file of weights; it has no checksums, so it is known to be complete, and no more.

    Raises:
        CheckpointError: It is damaged.
        ImportError: safetensors is not installed.
    """
    library = require("safetensors", extra="safetensors", purpose="Reading .safetensors files")
    try:
        with library.safe_open(path, framework="pt") as file:
            file.keys()
    except OSError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error


def _library(purpose: str) -> ModuleType:
    return require("safetensors.torch", extra="safetensors", purpose=purpose)


def _damaged(name: str, error: Exception) -> CheckpointError:
    return CheckpointError(f"{name!r} is damaged, or no file of safetensors: {error}. Use another copy.")


def _position_texts(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    texts = {"format": "pt"}  # which other readers look for
    for source in (checkpoint.get("meta"), checkpoint.get("train_loop")):
        if isinstance(source, Mapping):
            texts.update((key, str(source[key])) for key in ("epoch", "iter") if type(source.get(key)) is int)
    return texts


def _placed(tensor: torch.Tensor, map_location: Any) -> torch.Tensor:
    """Move a tensor to where ``torch.load`` would put one that was saved on the CPU."""
    if map_location is None:
        return tensor
    if isinstance(map_location, (str, torch.device)):
        return tensor.to(map_location)
    if isinstance(map_location, Mapping):
        return tensor.to(map_location.get("cpu", "cpu"))
    storage = map_location(tensor.untyped_storage(), "cpu")
    if storage is None:
        return tensor
    empty = torch.empty(0, dtype=tensor.dtype, device=storage.device)
    return empty.set_(storage, 0, tensor.shape, tensor.stride())
