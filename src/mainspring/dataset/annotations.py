"""Annotation files, as they are read where nothing else is said, and the paths in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..fileio import join_path, load
from ..utils import check_type, describe, did_you_mean

__all__ = ["path_below", "read_annotations"]


def read_annotations(path: str, owner: str) -> tuple[Mapping[str, Any], list[Any]]:
    """Return ``metainfo`` and ``data_list`` of a file.

    Args:
        path: A path or URL, of a format that :func:`mainspring.fileio.load` reads.
        owner: The data set, for the errors.

    Raises:
        TypeError: There is something else in it than a dict with a dict and a list.
        ValueError: It lacks one of the two.
    """
    annotations = load(path)
    form = f"The annotation file {path!r} of {owner} must hold a dict with 'metainfo' and 'data_list'"
    cure = "Files of another make are read by overriding load_data_list()."
    if not isinstance(annotations, Mapping):
        raise TypeError(f"{form}, but it holds {describe(annotations)}. {cure}")
    for key, kind in (("metainfo", Mapping), ("data_list", list)):
        if key not in annotations:
            near = did_you_mean(key, map(str, annotations))
            raise ValueError(f"{form}, but it lacks {key!r}: it holds {describe(annotations)}.{near} {cure}")
        check_type(annotations[key], kind, f"{key} in {path!r}")
    return annotations["metainfo"], annotations["data_list"]


def path_below(root: str, path: str) -> str:
    """Return a path with another before it; a URL stays as it is.

    >>> path_below("data/pets", "images/1.png"), path_below("data/pets", "s3://pets/1.png")
    ('data/pets/images/1.png', 's3://pets/1.png')
    """
    return path if "://" in path else join_path(root, path)
