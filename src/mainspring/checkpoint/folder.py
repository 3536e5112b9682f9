"""A directory in which checkpoints lie: of this machine, or wherever fsspec reaches."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ..fileio import BaseStorageBackend, FileFacts, LocalBackend, RemoteFile, get_file_backend, local_path

__all__ = ["CheckpointFile", "CheckpointFolder"]

CheckpointFile = Path | RemoteFile
"""A file in a :class:`CheckpointFolder`; everything that takes a path or URL takes one."""


class CheckpointFolder(os.PathLike[str]):
    """A directory in which checkpoints lie: of this machine, or behind a URL.

    What is the same for both is done here once, by their backends of :mod:`mainspring.fileio`. Nothing is made before
    something is written.

    Args:
        place: A path, or a URL that fsspec knows.
        backend_args: How to get there; see :func:`~mainspring.fileio.get_file_backend`.
        file_client_args: An older name of ``backend_args``.

    Raises:
        ValueError: Nothing can be written there, nobody knows the place, or both names are given.

    >>> folder = CheckpointFolder("memory://runs/digits")
    >>> folder.write(lambda file: file.write(b"..."), "epoch_1.pth")
    >>> [file.name for file in folder.files()], str(folder / "epoch_1.pth")
    (['epoch_1.pth'], 'memory://runs/digits/epoch_1.pth')
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        backend_args: Mapping[str, Any] | None = None,
        file_client_args: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = os.fspath(place)
        self.backend: BaseStorageBackend
        """What reads and writes there."""
        if isinstance(place, CheckpointFolder):
            self.backend = place.backend
            return
        if backend_args and file_client_args:
            raise ValueError("backend_args is given, and file_client_args, its older name: give one.")
        self.backend = get_file_backend(place, backend_args=backend_args or file_client_args)
        if not self.backend.writable:
            raise ValueError(
                f"{self._path!r} can only be read. Name a place that can be written: a directory of this machine,"
                " or a URL such as 's3://bucket/runs'."
            )
        if self.is_local:
            self._path = str(local_path(place))

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine."""
        return isinstance(self.backend, LocalBackend)

    def absolute(self) -> CheckpointFolder:
        """Return the same place, whatever becomes the current directory."""
        return CheckpointFolder(Path(self._path).absolute()) if self.is_local else self

    def below(self, name: str) -> CheckpointFolder:
        """Return a directory in this one."""
        inner = CheckpointFolder(self)
        inner._path = os.fspath(self / name)
        return inner

    def __truediv__(self, name: str) -> CheckpointFile:
        """Return a file in it, whether it is there or not."""
        path = self.backend.join_path(self._path, name)
        return Path(path) if self.is_local else RemoteFile(path, self.backend)

    def __fspath__(self) -> str:
        return self._path

    def __str__(self) -> str:
        return self._path

    def same_place(self) -> str:
        """Return what is equal for two paths of one directory."""
        return os.path.realpath(self._path) if self.is_local else self._path.rstrip("/")

    def files(self) -> list[FileFacts]:
        """Return the files in it, hidden ones too, without reading them; none where the directory is not there."""
        return self.backend.files_in(self._path)

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return bytes ``start`` to ``end`` of a file; the rest is not fetched."""
        return self.backend.get_range(self / name, start, end)

    def write(self, write: Callable[[IO[bytes]], object], name: str) -> None:
        """Let ``write`` write a file, which appears whole or not at all."""
        self.backend.put_stream(write, self / name)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            self.backend.remove(self / name)

    def move(self, name: str, folder: CheckpointFolder) -> None:
        """Move a file into another directory of the same place."""
        self.backend.move(self / name, folder / name)
