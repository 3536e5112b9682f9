"""JSON files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .base_handler import BaseFileHandler

__all__ = ["JsonHandler"]


class JsonHandler(BaseFileHandler):
    """JSON. Sets, ranges and NumPy arrays are written as lists, NumPy numbers as numbers.

    Keyword arguments go to ``json.load``, ``json.dump`` and ``json.dumps``.

    >>> import numpy as np
    >>> JsonHandler().dump_to_str({"scores": np.array([0.5, 1.0]), "shape": (2, 3)})
    '{"scores": [0.5, 1.0], "shape": [2, 3]}'
    """

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read an object from an open file."""
        return json.load(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        """Write an object to an open file."""
        json.dump(obj, file, **{"default": _plain, **kwargs})

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        """Return an object as JSON."""
        return json.dumps(obj, **{"default": _plain, **kwargs})


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, range)):
        return list(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(
        f"JSON has no way to write {value!r} ({type(value).__name__}): turn it into numbers, strings, lists and dicts,"
        " or give a function that does, as default=."
    )
