"""What a user has: single inputs out of files, folders, arrays and streams, and batches of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from ..fileio import isdir, isfile, join_path, list_dir_or_file
from ..utils import check_count, describe

__all__ = ["as_list", "checked_size", "chunks", "samples", "with_progress"]


def as_list(inputs: Any) -> list[Any]:
    """Return single inputs: the files of a folder, the parts of a batch, the items of a list or an iterator.

    >>> len(as_list(np.zeros((5, 5, 3)))), len(as_list(np.zeros((2, 5, 5, 3))))
    (1, 2)
    """
    if isinstance(inputs, (str, os.PathLike)):
        path = os.fspath(inputs)
        if path.startswith(("http://", "https://")) or isfile(path) or not isdir(path):
            return [inputs]
        return [join_path(path, name) for name in sorted(list_dir_or_file(path, list_dir=False))]
    if isinstance(inputs, (np.ndarray, torch.Tensor)):
        return list(inputs) if inputs.ndim == 4 else [inputs]
    return list(inputs) if isinstance(inputs, (list, tuple, Iterator)) else [inputs]


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of ``size`` items, the last with what is left; no more is read than has been asked for.

    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def samples(pipeline: Callable[[Any], Any], inputs: Iterable[Any], user: str) -> Iterator[Any]:
    """Yield what a pipeline makes of each input; errors name the input and the ``user`` of the pipeline."""
    for number, one in enumerate(inputs):
        try:
            sample = pipeline(one)
        except Exception as error:
            error.add_note(f"(raised by the pipeline of {user} for input {number}, {_named(one)})")
            raise
        if sample is None:
            raise ValueError(
                f"The pipeline of {user} returned None for input {number}, {_named(one)}. Each of its transforms must"
                " return what it made."
            )
        yield sample


def with_progress(batches: Iterator[Any], count: int) -> Iterable[Any]:
    """Yield batches, and show beside it how many of ``count`` are done."""
    from rich.progress import track  # here, as most who predict show nothing

    return track(batches, description="Inference", total=count)


def checked_size(batch_size: Any) -> int:
    """Return a batch size, or raise an error if it is none."""
    check_count(batch_size, "batch_size")
    return int(batch_size)


def _named(given: Any) -> str:
    return repr(os.fspath(given)) if isinstance(given, (str, os.PathLike)) else describe(given)
