"""A URL that knows how it is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .base_backend import BaseStorageBackend

__all__ = ["RemoteFile"]


@dataclass(frozen=True)
class RemoteFile(os.PathLike[str]):
    """A file behind a URL, with the backend that opens it: its keys, addresses and connection.

    It may stand wherever a URL may, and needs no ``backend_args`` there. Two are equal if their URLs are.

    >>> from mainspring.fileio import get, get_file_backend, put
    >>> file = RemoteFile("memory://runs/notes.txt", get_file_backend("memory://"))
    >>> put(b"whole", file)
    >>> get(file), file.name
    (b'whole', 'notes.txt')
    """

    url: str
    backend: BaseStorageBackend = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rstrip("/").rpartition("/")[2]

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url
