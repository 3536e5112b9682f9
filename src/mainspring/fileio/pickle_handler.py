"""Pickle files."""

from __future__ import annotations

import pickle
from typing import Any

from .base_handler import BaseFileHandler
from .paths import PathLike

__all__ = ["PickleHandler"]


class PickleHandler(BaseFileHandler):
    """Pickle. A pickle can name any function and have it called, so only plain data is read unless you trust it.

    Plain are Python's numbers, strings, bytes, containers, dates and paths, NumPy's arrays and numbers, and torch's
    tensors, which annotation files and saved predictions are made of. A pickle that names anything else is refused,
    before anything of it runs, with an error that says what it names; ``trust=True`` reads it all the same, as
    ``pickle.load`` does, and then whoever wrote the file decides what happens.

    Other keyword arguments go to ``pickle.load`` and ``pickle.dump``; the protocol is 4 unless given.
    """

    str_like = False

    def load_from_fileobj(self, file: Any, trust: bool = False, **kwargs: Any) -> Any:
        """Read an object from an open file.

        Raises:
            ValueError: The pickle names more than plain data, and ``trust`` is False.
        """
        if trust:
            return pickle.load(file, **kwargs)
        from .pickle_reading import load_plain_pickle

        return load_plain_pickle(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        """Write an object to an open file."""
        pickle.dump(obj, file, **{"protocol": 4, **kwargs})

    def dump_to_str(self, obj: Any, **kwargs: Any) -> bytes:
        """Return an object as a pickle."""
        return pickle.dumps(obj, **{"protocol": 4, **kwargs})

    def load_from_path(self, filepath: PathLike, mode: str = "rb", **kwargs: Any) -> Any:
        """Read an object from a local file."""
        return super().load_from_path(filepath, mode, **kwargs)

    def dump_to_path(self, obj: Any, filepath: PathLike, mode: str = "wb", **kwargs: Any) -> None:
        """Write an object to a local file."""
        super().dump_to_path(obj, filepath, mode, **kwargs)
