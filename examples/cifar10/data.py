"""CIFAR-10 from its original files, in the binary or in the Python version; nothing is downloaded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

ADVICE = """{root} does not hold CIFAR-10. Get "CIFAR-10 binary version" or "CIFAR-10 python version" from
https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and pass the folder that then holds
cifar-10-batches-bin or cifar-10-batches-py as --data-root."""


class _ArraysOnly(pickle.Unpickler):
    """The Python version's files are pickles; only NumPy arrays are let out of them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return super().find_class(module, name)
        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"a CIFAR-10 file does not name {module}.{name}")


def cifar10(root: Path, train: bool) -> TensorDataset:
    """Return uint8 images of shape (3, 32, 32), and their labels."""
    names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
    binary, python = root / "cifar-10-batches-bin", root / "cifar-10-batches-py"
    images, labels = [], []
    for name in names:
        if (binary / f"{name}.bin").is_file():
            rows = np.fromfile(binary / f"{name}.bin", np.uint8).reshape(-1, 1 + 3 * 32 * 32)
            images.append(rows[:, 1:])
            labels.append(rows[:, 0])
        elif (python / name).is_file():
            with (python / name).open("rb") as file:
                batch = _ArraysOnly(file, encoding="bytes").load()
            images.append(batch[b"data"])
            labels.append(np.asarray(batch[b"labels"]))
        else:
            raise SystemExit(ADVICE.format(root=root))
    stacked = torch.from_numpy(np.concatenate(images).reshape(-1, 3, 32, 32))
    return TensorDataset(stacked, torch.from_numpy(np.concatenate(labels).astype(np.int64)))
