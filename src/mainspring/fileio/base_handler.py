"""What a file format can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .paths import PathLike, local_path

__all__ = ["BaseFileHandler"]


class BaseFileHandler(ABC):
    """A file format: how an object is read from a file and written to one.

    A subclass is given its formats with :func:`~mainspring.fileio.register_handler`.
    """

    str_like = True
    """Whether its files are text; otherwise they are bytes."""

    @abstractmethod
    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read an object from an open file."""

    @abstractmethod
    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        """Write an object to an open file."""

    @abstractmethod
    def dump_to_str(self, obj: Any, **kwargs: Any) -> str | bytes:
        """Return what would be written: a string, or bytes if the format is not text."""

    def load_from_path(self, filepath: PathLike, mode: str = "r", **kwargs: Any) -> Any:
        """Read an object from a local file, opened with ``mode``."""
        with local_path(filepath).open(mode, encoding=None if "b" in mode else "utf-8") as file:
            return self.load_from_fileobj(file, **kwargs)

    def dump_to_path(self, obj: Any, filepath: PathLike, mode: str = "w", **kwargs: Any) -> None:
        """Write an object to a local file, opened with ``mode``; :func:`~mainspring.fileio.dump` writes whole ones."""
        with local_path(filepath).open(mode, encoding=None if "b" in mode else "utf-8") as file:
            self.dump_to_fileobj(obj, file, **kwargs)
