"""Data sets made of other data sets."""

from __future__ import annotations

import bisect
import copy
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NoReturn

from torch.utils.data import Dataset, IterableDataset

from ..registry import DATASETS, build
from ..utils import check_type, describe
from .full_init import force_full_init
from .metainfo import differing_keys
from .places import place_of_index

__all__ = ["ClassBalancedDataset", "ConcatDataset", "RepeatDataset"]


class _Wrapper(Dataset[Any]):
    """A data set that takes each of its samples from a part, which is a data set too."""

    _fully_initialized = False

    @abstractmethod
    def _parts(self) -> Sequence[Any]:
        """Return the data sets of which this is made."""

    @abstractmethod
    def _count(self) -> None:
        """Find out, of parts that are initialised, which sample is where."""

    @abstractmethod
    def _sample(self, idx: int) -> tuple[Any, int]:
        """Return the part that has a sample, and its index there."""

    def full_init(self) -> None:
        """Initialise the parts, and find out which sample is where; once is enough."""
        if self._fully_initialized:
            return
        for part in self._parts():
            initialise = getattr(part, "full_init", None)  # it may be anyone's
            if initialise is not None:
                initialise()
        self._count()
        self._fully_initialized = True

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the first part knows about all its samples, as a copy."""
        return dict(copy.deepcopy(_metainfo_of(self._parts()[0])))

    @force_full_init
    def __getitem__(self, idx: int) -> Any:
        part, place = self._sample(idx)
        return part[place]

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return what the annotations say about a sample; ``sample_idx`` is its index in its part."""
        part, place = self._sample(idx)
        data_info: dict[str, Any] = part.get_data_info(place)
        return data_info

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the classes that are in a sample."""
        part, place = self._sample(idx)
        cat_ids: list[int] = part.get_cat_ids(place)
        return cat_ids

    def get_subset(self, indices: int | Sequence[int]) -> NoReturn:
        """Refuse, since it would not be clear of what; take a subset of a part and wrap that.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no subsets, since which samples count would not be clear. Take the subset of"
            f" the data set inside, or give that indices=..., and wrap it in {type(self).__name__}."
        )

    def get_subset_(self, indices: int | Sequence[int]) -> NoReturn:
        """Refuse; see :meth:`get_subset`."""
        self.get_subset(indices)


@DATASETS.register_module()
class ConcatDataset(_Wrapper):
    """Several data sets, one after the other.

    Args:
        datasets: Data sets, or config dicts of them. Each has a length and samples by index.
        lazy_init: Initialise them not now, but when they are first needed.
        ignore_keys: Keys of their metainfo that may differ. Otherwise all must know the same.

    Raises:
        TypeError: One is no data set of this kind.
        ValueError: There are none, or their metainfo differ.

    >>> joined = ConcatDataset([["a", "b"], ["c"]])
    >>> len(joined), joined[-1], joined.cumulative_sizes
    (3, 'c', [2, 3])
    """

    def __init__(
        self,
        datasets: Sequence[Any | Mapping[str, Any]],
        lazy_init: bool = False,
        ignore_keys: str | Sequence[str] | None = None,
    ) -> None:
        if isinstance(datasets, (str, Mapping)) or not isinstance(datasets, Sequence):
            raise TypeError(f"datasets of ConcatDataset must be a list of data sets, but it is {describe(datasets)}.")
        if not datasets:
            raise ValueError("datasets of ConcatDataset is an empty list: give at least one data set.")
        check_type(ignore_keys, str | list | tuple | None, "ignore_keys of ConcatDataset")
        self.ignore_keys = [ignore_keys] if isinstance(ignore_keys, str) else list(ignore_keys or ())
        self.datasets = [_built(given, f"datasets[{place}] of ConcatDataset") for place, given in enumerate(datasets)]
        self.cumulative_sizes: list[int] = []
        if not lazy_init:
            self.full_init()

    @force_full_init
    def __len__(self) -> int:
        """Return the number of samples of all."""
        return self.cumulative_sizes[-1]

    def _parts(self) -> Sequence[Any]:
        return self.datasets

    def _count(self) -> None:
        first = _metainfo_of(self.datasets[0])
        for place, dataset in enumerate(self.datasets[1:], 1):
            other = _metainfo_of(dataset)
            differing = differing_keys(first, other, self.ignore_keys)
            if differing:
                told = "; ".join(
                    f"{key!r} is {describe(first.get(key))} and {describe(other.get(key))}" for key in differing
                )
                raise ValueError(
                    f"ConcatDataset joins data sets with the same metainfo, but datasets[0] and datasets[{place}]"
                    f" differ: {told}. If that is right, and the metainfo of the first is to hold for all, give"
                    f" ignore_keys={differing!r}."
                )
        self.cumulative_sizes = list(accumulate(len(dataset) for dataset in self.datasets))

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> tuple[int, int]:
        """Return which data set has a sample, and its index there."""
        place = place_of_index(idx, len(self), type(self).__name__)
        number = bisect.bisect_right(self.cumulative_sizes, place)
        return number, place - (self.cumulative_sizes[number - 1] if number else 0)

    def _sample(self, idx: int) -> tuple[Any, int]:
        number, place = self._get_ori_dataset_idx(idx)
        return self.datasets[number], place


class _WrapperOfOne(_Wrapper):
    """A data set that shows the samples of one other in another number."""

    def __init__(self, dataset: Any | Mapping[str, Any]) -> None:
        self.dataset = _built(dataset, f"dataset of {type(self).__name__}")

    @abstractmethod
    def _get_ori_dataset_idx(self, idx: int) -> int:
        """Return the index that a sample has in the data set inside."""

    def _parts(self) -> Sequence[Any]:
        return [self.dataset]

    def _sample(self, idx: int) -> tuple[Any, int]:
        return self.dataset, self._get_ori_dataset_idx(idx)


@DATASETS.register_module()
class RepeatDataset(_WrapperOfOne):
    """A data set several times over, so that an epoch of few samples is not over at once.

    Args:
        dataset: A data set, or its config dict.
        times: How often.
        lazy_init: Initialise it not now, but when it is first needed.

    Raises:
        TypeError: ``dataset`` is no data set with a length and samples by index, or ``times`` no whole number.
        ValueError: ``times`` is below 1.

    >>> twice = RepeatDataset(["a", "b"], times=2)
    >>> [twice[index] for index in range(len(twice))]
    ['a', 'b', 'a', 'b']
    """

    def __init__(self, dataset: Any | Mapping[str, Any], times: int, lazy_init: bool = False) -> None:
        check_type(times, int, "times of RepeatDataset")
        if times < 1:
            raise ValueError(f"times of RepeatDataset must be 1 or more, but it is {times}.")
        super().__init__(dataset)
        self.times = times
        self._ori_len = 0
        if not lazy_init:
            self.full_init()

    @force_full_init
    def __len__(self) -> int:
        """Return the number of samples with all repetitions."""
        return self.times * self._ori_len

    def _count(self) -> None:
        self._ori_len = len(self.dataset)

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        return place_of_index(idx, len(self), type(self).__name__) % self._ori_len


@DATASETS.register_module()
class ClassBalancedDataset(_WrapperOfOne):
    """A data set in which samples of rare classes come several times.

    A sample is there ``ceil(max over its classes c of max(1, sqrt(oversample_thr / f(c))))`` times, in a row, where
    ``f(c)`` is the share of samples that have the class; one without classes is there once. (Gupta, Dollár and
    Girshick: "LVIS: a dataset for large vocabulary instance segmentation", 2019, appendix B.)

    Args:
        dataset: A data set, or its config dict. Its ``get_cat_ids(idx)`` tells the classes of a sample.
        oversample_thr: The share of samples from which on a class is not rare, between 0 and 1.
        lazy_init: Initialise it not now, but when it is first needed.

    Raises:
        TypeError: ``dataset`` is no data set with a length and samples by index, or does not tell its classes.
        ValueError: ``oversample_thr`` is below 0.

    >>> class Letters(list):
    ...     def get_cat_ids(self, idx):
    ...         return [ord(self[idx])]
    >>> balanced = ClassBalancedDataset(Letters("aaaab"), oversample_thr=0.5)
    >>> "".join(balanced[index] for index in range(len(balanced)))
    'aaaabb'
    """

    def __init__(self, dataset: Any | Mapping[str, Any], oversample_thr: float, lazy_init: bool = False) -> None:
        check_type(oversample_thr, float, "oversample_thr of ClassBalancedDataset")
        if oversample_thr < 0:
            raise ValueError(f"oversample_thr of ClassBalancedDataset must be 0 or more, but it is {oversample_thr}.")
        super().__init__(dataset)
        if not callable(getattr(self.dataset, "get_cat_ids", None)):
            raise TypeError(
                f"ClassBalancedDataset needs to know the classes of each sample, but {type(self.dataset).__name__} has"
                " no method get_cat_ids(idx). Give it one that returns their numbers."
            )
        self.oversample_thr = oversample_thr
        self.repeat_indices: list[int] = []
        """For each sample, its index in the data set inside."""
        if not lazy_init:
            self.full_init()

    @force_full_init
    def __len__(self) -> int:
        """Return the number of samples with all repetitions."""
        return len(self.repeat_indices)

    def _count(self) -> None:
        factors = self._get_repeat_factors(self.dataset, self.oversample_thr)
        self.repeat_indices = [place for place, factor in enumerate(factors) for _ in range(math.ceil(factor))]

    def _get_repeat_factors(self, dataset: Any, repeat_thr: float) -> list[float]:
        """Return how often each sample is to come, before it is rounded up."""
        classes = [set(dataset.get_cat_ids(place)) for place in range(len(dataset))]
        counts = Counter(number for of_sample in classes for number in of_sample)
        factors = {number: max(1.0, math.sqrt(repeat_thr * len(classes) / count)) for number, count in counts.items()}
        return [max((factors[number] for number in of_sample), default=1.0) for of_sample in classes]

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        return self.repeat_indices[place_of_index(idx, len(self), type(self).__name__)]


def _built(given: Any, path: str) -> Any:
    dataset = build(given, DATASETS)
    if (
        isinstance(dataset, (str, type, IterableDataset))
        or not callable(getattr(dataset, "__getitem__", None))
        or not callable(getattr(dataset, "__len__", None))
    ):
        raise TypeError(
            f"{path} must be a data set with a length and samples by index, or its config dict, but it is"
            f" {describe(dataset)}."
        )
    return dataset


def _metainfo_of(dataset: Any) -> Mapping[str, Any]:
    metainfo: Mapping[str, Any] = getattr(dataset, "metainfo", None) or {}  # it may be anyone's
    return metainfo
