"""Where predictions and targets lie in what a model's predict mode returns.

There are two layouts. A list has one element for each sample, a dict or a tuple. A tuple or a dict has
columns: its elements hold the whole batch, as ``(scores, labels)`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..device import may_run_ahead
from ..structures import BaseDataElement
from ..utils import describe, did_you_mean

__all__ = [
    "as_list",
    "as_rows",
    "count_samples",
    "find_column",
    "find_pair",
    "first_of_batch",
    "first_samples",
    "with_dicts",
]

Key = str | int | None

PREDICTION_KEYS = ("pred_score", "pred_scores", "scores", "pred_label", "pred_labels")
TARGET_KEYS = ("gt_label", "gt_labels", "label", "labels", "target", "targets")
_TENSORS = frozenset((torch.Tensor,))


def find_pair(data_samples: Any, pred_key: Key, target_key: Key, metric: str) -> tuple[Any, Any]:
    """Return the predictions and the targets of a batch.

    Args:
        data_samples: What the model's predict mode returned.
        pred_key: Name or position of the predictions; by default the first of a tuple of two, or the first of
            ``PREDICTION_KEYS`` that a dict has.
        target_key: The same for the targets: the second, or the first of ``TARGET_KEYS``.
        metric: Who asks, for the messages.

    Returns:
        Each a tensor where it can be one: tensors, arrays and numbers of single samples are stacked, and the
        targets are on the device of the predictions. Strings, dicts, and tensors of different shapes stay in
        a list.

    Raises:
        TypeError: The layout is none of those that the module's docstring names.
        ValueError: A key is missing.
    """
    samples = as_rows(data_samples)
    if type(samples) is tuple and len(samples) == 2 and pred_key is None and target_key is None:
        predictions, targets = _joined(samples[0]), _joined(samples[1])  # what most models return
    else:
        predictions, targets = _pair(samples, pred_key, target_key, metric)
    if (
        isinstance(predictions, torch.Tensor)
        and isinstance(targets, torch.Tensor)
        and targets.device != predictions.device
    ):
        targets = targets.to(predictions.device, non_blocking=may_run_ahead(predictions.device))
    return predictions, targets


def find_column(data_samples: Any, key: str | int, argument: str, metric: str) -> Any:
    """Return what has a name or position in a batch, as :func:`find_pair` does."""
    samples = as_rows(data_samples)
    first = samples[0] if isinstance(samples, list) and samples else samples
    return _column(samples, _choose(first, key, 0, argument, metric), metric)


def _pair(samples: Any, pred_key: Key, target_key: Key, metric: str) -> tuple[Any, Any]:
    first = samples[0] if isinstance(samples, list) and samples else samples
    if not isinstance(first, (tuple, Mapping)):
        raise TypeError(
            f"{metric} finds no predictions and targets in what the model's predict mode returned: "
            f"{describe(samples)}. Return a tuple such as (scores, labels), a dict of such columns, or "
            "a list with a dict or BaseDataElement for each sample."
        )
    predictions = _column(samples, _choose(first, pred_key, 0, "pred_key", metric), metric)
    targets = _column(samples, _choose(first, target_key, 1, "target_key", metric), metric)
    return predictions, targets


def with_dicts(data_samples: Any) -> Any:
    """Turn each ``BaseDataElement`` in a list or tuple into a dict; return anything else as it is."""
    if isinstance(data_samples, (list, tuple)):
        for sample in data_samples:
            if isinstance(sample, BaseDataElement):
                return [s.to_dict() if isinstance(s, BaseDataElement) else s for s in data_samples]
    return data_samples


def as_rows(data_samples: Any) -> Any:
    """Do as :func:`with_dicts`, and make a list of a tuple of dicts: it has no columns."""
    if type(data_samples) is tuple and _TENSORS.issuperset(map(type, data_samples)):
        return data_samples  # what most models return
    data_samples = with_dicts(data_samples)
    if isinstance(data_samples, tuple):
        for item in data_samples:
            if not isinstance(item, Mapping):
                return data_samples
        return list(data_samples)
    return data_samples


def _choose(first: Any, key: Key, position: int, argument: str, metric: str) -> str | int:
    """Return the key to use, by the first sample (or by the columns)."""
    if isinstance(first, Mapping):
        keys = list(first)
        if key is None:
            known = TARGET_KEYS if position else PREDICTION_KEYS
            found = next((name for name in known if name in first), None)
            if found is not None:
                return found
            raise ValueError(
                f"{metric} looks for {', '.join(map(repr, known))} and finds only "
                f"{', '.join(map(repr, keys))}. Name the right one with {argument}=..."
            )
        if key in first:
            return key
        raise ValueError(
            f"{metric} finds no {argument}={key!r}.{did_you_mean(str(key), map(str, keys))} There is {describe(first)}."
        )
    if key is None and len(first) == 2:
        return position
    if isinstance(key, int) and -len(first) <= key < len(first):
        return key
    raise ValueError(
        f"{metric} got {describe(first)} and {argument}={key!r}. By default a tuple is (predictions, "
        f"targets); otherwise give {argument} a position from 0 to {len(first) - 1}."
    )


def _column(samples: Any, key: Any, metric: str) -> Any:
    if not isinstance(samples, list):
        return _joined(samples[key])
    try:
        return _joined([sample[key] for sample in samples])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{metric} found {key!r} in the first sample of a batch, but not in all of them.") from error


def _joined(column: Any) -> Any:
    """Return a column as one tensor where that is possible."""
    if isinstance(column, torch.Tensor):
        return column
    if isinstance(column, np.ndarray) and column.dtype.kind in "biuf":
        return torch.from_numpy(column)
    if not isinstance(column, (list, tuple)) or not column:
        return column
    if all(isinstance(item, (bool, int, float, np.number, np.bool_)) for item in column):
        return torch.tensor([item.item() if isinstance(item, np.generic) else item for item in column])
    items = [torch.from_numpy(item) if isinstance(item, np.ndarray) else item for item in column]
    if all(isinstance(item, torch.Tensor) and item.shape == items[0].shape for item in items):
        return torch.stack(items)
    return column


def _columns(samples: Any) -> Sequence[Any]:
    if isinstance(samples, Mapping):
        return list(samples.values())
    return samples if isinstance(samples, tuple) else [samples]


def _length(column: Any) -> int | None:
    if isinstance(column, (torch.Tensor, np.ndarray)):
        return column.shape[0] if column.ndim else None
    return len(column) if isinstance(column, (list, tuple)) else None


def count_samples(samples: Any) -> int:
    """Return how many samples there are, without asking the device.

    Raises:
        TypeError: It cannot be told.
    """
    lengths = (_length(column) for column in _columns(samples))
    count = next((length for length in lengths if length is not None), None)
    if count is None:
        raise TypeError(
            f"Cannot tell how many samples there are in what the model's predict mode returned: "
            f"{describe(samples)}. Return a list with one element for each, or a tuple or dict of columns."
        )
    return count


def first_samples(samples: Any, count: int) -> Any:
    """Return the first ``count`` samples; what is no column of the batch stays whole."""
    total = count_samples(samples)

    def cut(column: Any) -> Any:
        return column[:count] if _length(column) == total else column

    if isinstance(samples, Mapping):
        return {key: cut(column) for key, column in samples.items()}
    if isinstance(samples, tuple):
        return tuple(cut(column) for column in samples)
    return cut(samples)


def as_list(data_samples: Any) -> list[Any]:
    """Return one element for each sample: of columns a tuple or dict each, of the elements of the columns."""
    samples = as_rows(data_samples)
    if isinstance(samples, list):
        return samples
    total = count_samples(samples)

    def nth(column: Any, number: int) -> Any:
        return column[number] if _length(column) == total else column

    if isinstance(samples, Mapping):
        return [{key: nth(column, n) for key, column in samples.items()} for n in range(total)]
    if isinstance(samples, tuple):
        return [tuple(nth(column, n) for column in samples) for n in range(total)]
    return list(samples)


def first_of_batch(data_batch: Any, count: int, total: int) -> Any:
    """Return the first ``count`` of the ``total`` samples of a batch, as it came from the loader.

    The outermost container holds columns, as collate functions make them; a list that is as long as the batch, deeper
    in or without columns, has an element for each sample. What is no column stays whole.
    """

    def cut(data: Any, outermost: bool = False) -> Any:
        if isinstance(data, Mapping):
            return {key: cut(value) for key, value in data.items()}
        if not isinstance(data, (list, tuple)):
            return data[:count] if _length(data) == total else data
        if len(data) == total and not (outermost and any(_length(column) == total for column in data)):
            return data[:count]
        parts = [cut(value) for value in data]
        return parts if isinstance(data, list) else tuple(parts)

    return cut(data_batch, outermost=True)
