"""The data set that reads a list of samples from an annotation file, and puts each through a pipeline."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from torch.utils.data import Dataset

from ..registry import DATASETS
from ..utils import check_type, describe
from .annotations import path_below, read_annotations
from .compose import Compose
from .full_init import force_full_init
from .metainfo import metainfo_from
from .places import place_of_index, places_of
from .serialized import Buffer, Ends, item_of, packed, part_of

__all__ = ["BaseDataset"]

_NO_PREFIX: Mapping[str, str] = MappingProxyType({"img_path": ""})
_ANNOTATIONS = ("data_list", "data_bytes", "data_address")


@DATASETS.register_module()
class BaseDataset(Dataset[Any]):
    """A data set whose samples are dicts from an annotation file, put through a pipeline when they are asked for.

    The file, of any format that :func:`mainspring.fileio.load` reads, holds ``metainfo``, a dict of what is known about
    all samples, and ``data_list``, a list with a dict for each. A subclass for files of another make overrides
    :meth:`load_data_list`; other points to override are :meth:`parse_data_info`, :meth:`filter_data`,
    :meth:`get_cat_ids` and :meth:`prepare_data`.

    The sample at an index is what ``pipeline`` makes of :meth:`get_data_info`. Where it makes None of it, as a random
    crop without any object may, another sample is drawn at random. What is drawn comes from NumPy's global generator,
    which a run sets for each sample, so that it does not depend on the number of workers.

    Args:
        ann_file: The annotation file, below ``data_root`` unless it is absolute or a URL.
        metainfo: Entries that count more than those of the class (:attr:`METAINFO`), which count more than those of the
            file. For a string that is the path of a file, or a URL that ends in ``.txt``, the list of the file's lines
            is taken.
        data_root: Where the data are.
        data_prefix: Key by key, what is put before the path that a sample has under this key; below ``data_root``
            unless it is absolute or a URL.
        filter_cfg: What :meth:`filter_data` of a subclass may need.
        indices: Use the first so many samples (below 0: the last; at most all there are), or those at these indices.
        serialize_data: Keep the samples in one buffer of bytes, :attr:`data_bytes`, that forked workers share instead
            of copying it. Otherwise they stay a list, and each is copied when it is asked for.
        pipeline: Transforms, or config dicts of them; see :class:`Compose`.
        test_mode: For data that are tested on, where no sample may be replaced by another.
        lazy_init: Read the annotations not now, but when they are first needed, or by :meth:`full_init`.
        max_refetch: How many other samples are drawn at most where the pipeline returns None.

    Raises:
        TypeError: An argument, or something in the file, has the wrong type.
        ValueError: The file lacks a key, or a sample has no path under a key of ``data_prefix``.
        IndexError: One of ``indices`` is out of range.

    >>> from mainspring.fileio import dump
    >>> samples = [dict(img_path="0.png", label=1), dict(img_path="1.png", label=0)]
    >>> dump(dict(metainfo=dict(classes=["cat", "dog"]), data_list=samples), "memory://pets/train.json")
    >>> pets = BaseDataset("train.json", data_root="memory://pets", data_prefix=dict(img_path="images"))
    >>> len(pets), pets.metainfo
    (2, {'classes': ['cat', 'dog']})
    >>> pets[1]
    {'img_path': 'memory://pets/images/1.png', 'label': 0, 'sample_idx': 1}
    """

    METAINFO: dict[str, Any] = {}  # noqa: RUF012 - as users' subclasses write it
    """What is known about all samples of the class."""

    data_list: list[dict[str, Any]]
    """The samples, where they are not serialised."""
    data_bytes: Buffer
    """The samples, where they are serialised."""
    data_address: Ends
    """Where each sample ends in :attr:`data_bytes`."""

    _fully_initialized = False

    def __init__(
        self,
        ann_file: str | os.PathLike[str] | None = "",
        metainfo: Mapping[str, Any] | None = None,
        data_root: str | os.PathLike[str] | None = "",
        data_prefix: Mapping[str, str] = _NO_PREFIX,
        filter_cfg: Mapping[str, Any] | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[Mapping[str, Any] | Callable[[Any], Any]] | None = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        name = type(self).__name__
        check_type(ann_file, str | os.PathLike | None, f"ann_file of {name}")
        check_type(data_root, str | os.PathLike | None, f"data_root of {name}")
        check_type(data_prefix, Mapping, f"data_prefix of {name}")
        check_type(max_refetch, int, f"max_refetch of {name}")
        self.ann_file = os.fspath(ann_file or "")
        self._metainfo = self._load_metainfo(metainfo)
        self.data_root = os.fspath(data_root or "")
        self.data_prefix = dict(data_prefix)
        self.filter_cfg = copy.deepcopy(filter_cfg)
        self._indices = indices
        self.serialize_data = serialize_data
        self.test_mode = test_mode
        self.max_refetch = max_refetch
        self.data_list = []
        self._join_prefix()
        self.pipeline: Callable[[Any], Any] = Compose(pipeline)
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """What is known about all samples, as a copy."""
        return copy.deepcopy(self._metainfo)

    @force_full_init
    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.data_address) if self.serialize_data else len(self.data_list)

    @force_full_init
    def __getitem__(self, idx: int) -> Any:
        try:
            return self._fetch(idx)
        except Exception as error:
            error.add_note(f"This was for sample {idx} of {type(self).__name__}.")
            raise

    def _fetch(self, idx: int) -> Any:
        data = self.prepare_data(idx)
        if data is not None:
            return data
        if self.test_mode:
            raise ValueError(
                f"{self._who_gave_none()} for sample {idx} of {type(self).__name__}. With test_mode=True no other"
                " sample may take its place: let the pipeline return every sample, or leave out those that it refuses"
                " by filter_data()."
            )
        for _ in range(self.max_refetch):
            data = self.prepare_data(self._rand_another())
            if data is not None:
                return data
        raise ValueError(
            f"{self._who_gave_none()}, and the pipeline gave None for sample {idx} of {type(self).__name__} and for"
            f" {self.max_refetch} others that were drawn in its place (max_refetch={self.max_refetch}). The pipeline is"
            f" {self.pipeline!r}"
        )

    def _who_gave_none(self) -> str:
        pipeline = self.pipeline
        if isinstance(pipeline, Compose) and pipeline.stopped_at:
            step = pipeline.describe(pipeline.stopped_at)
            return f"{step[0].upper()}{step[1:]}, returned None"
        return "prepare_data() returned None"

    def _rand_another(self) -> int:
        """Return the index of the sample that is tried in place of another."""
        return int(np.random.randint(0, len(self)))

    def prepare_data(self, idx: int) -> Any:
        """Return what the pipeline makes of a sample, or None where it refuses it."""
        return self.pipeline(self.get_data_info(idx))

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return a new dict of what the annotations say about a sample, and its index as ``sample_idx``.

        Args:
            idx: From 0 on; below 0 counts from the end.

        Raises:
            IndexError: It is out of range.
        """
        place = place_of_index(idx, len(self), type(self).__name__)
        if self.serialize_data:
            data_info = item_of(self.data_bytes, self.data_address, place)
        else:
            data_info = copy.deepcopy(self.data_list[place])
        if not isinstance(data_info, dict):
            raise TypeError(
                f"The data list of {type(self).__name__} must hold a dict for each sample, but for sample {place} it"
                f" holds {describe(data_info)}: see what load_data_list() returns."
            )
        data_info["sample_idx"] = place
        return data_info

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the classes that are in a sample; a subclass says how, where a wrapper or sampler needs it.

        Raises:
            NotImplementedError: The subclass does not.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say which classes are in a sample: give it a method get_cat_ids(idx) that"
            " returns their numbers."
        )

    def full_init(self) -> None:
        """Read the annotations, filter them, take those of ``indices``, and serialise them; once is enough."""
        if self._fully_initialized:
            return
        self.data_list = self._checked_list(self.load_data_list(), "load_data_list")
        self.data_list = self._checked_list(self.filter_data(), "filter_data")
        if self._indices is not None:
            self.data_list = self._get_unserialized_subset(self._indices)
        if self.serialize_data:
            self.data_bytes, self.data_address = self._serialize_data()
        self._fully_initialized = True

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read ``ann_file``, and return a dict for each sample.

        Raises:
            TypeError: There is something else in it than a dict with a dict and a list.
            ValueError: There is no ``ann_file``, or it lacks a key.
        """
        name = type(self).__name__
        if not self.ann_file:
            raise ValueError(f"{name} has no ann_file: give one, or override load_data_list().")
        metainfo, items = read_annotations(self.ann_file, name)
        for key, value in metainfo.items():
            self._metainfo.setdefault(key, value)
        data_list: list[dict[str, Any]] = []
        for number, raw in enumerate(items):
            try:
                parsed = self.parse_data_info(raw)
            except Exception as error:
                error.add_note(f"This was item {number} of data_list in {self.ann_file!r}.")
                raise
            parts = list(parsed) if isinstance(parsed, (list, tuple)) else [parsed]
            for part in parts:
                if not isinstance(part, dict):
                    raise TypeError(
                        f"parse_data_info of {name} must return a dict or a list of dicts, but for item {number} of"
                        f" data_list in {self.ann_file!r} it gave {describe(part)}."
                    )
            data_list.extend(parts)
        return data_list

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """Return what becomes of an item of the file's ``data_list``: one sample, or a list of them.

        Here, ``data_prefix`` is put before its paths.

        Raises:
            ValueError: It lacks a key of ``data_prefix``.
            TypeError: It is no dict.
        """
        check_type(raw_data_info, dict, "An item of data_list")
        for key, prefix in self.data_prefix.items():
            if key not in raw_data_info:
                raise ValueError(
                    f"data_prefix of {type(self).__name__} has the key {key!r}, but a sample in {self.ann_file!r} has"
                    f" only {', '.join(map(repr, raw_data_info))}. Name the key that holds the path, or give"
                    " data_prefix={}."
                )
            raw_data_info[key] = path_below(prefix, raw_data_info[key])
        return raw_data_info

    def filter_data(self) -> list[dict[str, Any]]:
        """Return those of ``self.data_list`` that are used: here all; a subclass may heed ``self.filter_cfg``."""
        return self.data_list

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> Self:
        """Return a data set like this one of some of its samples.

        Args:
            indices: How many from the beginning (below 0: from the end; at most all there are), or their indices.

        Raises:
            IndexError: One is out of range.
        """
        subset = self._copy_without_annotation()
        if self.serialize_data:
            subset.data_bytes, subset.data_address = self._get_serialized_subset(indices)
        else:
            subset.data_list = copy.deepcopy(self._get_unserialized_subset(indices))
        return subset

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep only some of the samples; see :meth:`get_subset`."""
        if self.serialize_data:
            self.data_bytes, self.data_address = self._get_serialized_subset(indices)
        else:
            self.data_list = self._get_unserialized_subset(indices)

    def _get_serialized_subset(self, indices: int | Sequence[int]) -> tuple[Buffer, Ends]:
        return part_of(self.data_bytes, self.data_address, places_of(indices, len(self), type(self).__name__))

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> list[dict[str, Any]]:
        places = places_of(indices, len(self.data_list), type(self).__name__)
        return [self.data_list[place] for place in places]

    def _serialize_data(self) -> tuple[Buffer, Ends]:
        buffer, ends = packed(self.data_list)
        self.data_list = []
        return buffer, ends

    def _copy_without_annotation(self) -> Self:
        memo: dict[int, Any] = {}
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for key, value in vars(self).items():
            if key not in _ANNOTATIONS:
                setattr(twin, key, copy.deepcopy(value, memo))
        twin.data_list = []
        return twin

    def _checked_list(self, found: Any, method: str) -> list[dict[str, Any]]:
        if not isinstance(found, list):
            raise TypeError(
                f"{method}() of {type(self).__name__} must return a list with a dict for each sample, but it returned"
                f" {describe(found)}."
            )
        return found

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return metainfo_from(cls.METAINFO, metainfo, cls.__name__)

    def _join_prefix(self) -> None:
        """Put ``data_root`` before the paths that are not absolute."""
        if self.ann_file:
            self.ann_file = self._below_root(self.ann_file)
        for key, prefix in self.data_prefix.items():
            check_type(prefix, str, f"data_prefix[{key!r}] of {type(self).__name__}")
            self.data_prefix[key] = self._below_root(prefix)

    def _below_root(self, path: str) -> str:
        return path if not self.data_root or os.path.isabs(path) else path_below(self.data_root, path)
