"""What a place for files can do."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, NoReturn

from .paths import PathLike

__all__ = ["BaseStorageBackend", "FileFacts", "check_listing"]


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file without reading it."""

    name: str
    size: int
    """In bytes."""
    modified: int
    """When, in nanoseconds since 1970; 0 where the place does not tell."""
    is_link: bool = False
    """Whether it is a symbolic link to the file."""


class BaseStorageBackend(ABC):
    """A place where files lie.

    A subclass defines :meth:`get` and :meth:`get_text`, and whatever else its place can do: the rest says clearly
    that it cannot. It is given a name with :func:`~mainspring.fileio.register_backend`.
    """

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @property
    def allow_symlink(self) -> bool:
        """Whether symbolic links can be made there."""
        return False

    @property
    def writable(self) -> bool:
        """Whether files can be written there at all."""
        return True

    def prepare(self, filepath: PathLike) -> None:
        """Do what is needed once for a path, so that threads which use it later need not import or connect."""

    @abstractmethod
    def get(self, filepath: PathLike) -> bytes:
        """Return the bytes of a file."""

    @abstractmethod
    def get_text(self, filepath: PathLike, encoding: str = "utf-8") -> str:
        """Return the text of a file."""

    def get_range(self, filepath: PathLike, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` up to, and without, ``end``."""
        return self.get(filepath)[start:end]

    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes to a file."""
        self._cannot("write files", filepath)

    def put_stream(self, write: Callable[[IO[bytes]], object], filepath: PathLike) -> None:
        """Let ``write`` write a file, which appears under its name when that has returned, whole or not at all."""
        content = io.BytesIO()
        write(content)
        self.put(content.getvalue(), filepath)

    def put_text(self, obj: str, filepath: PathLike, encoding: str = "utf-8") -> None:
        """Write a text to a file."""
        self.put(obj.encode(encoding), filepath)

    def exists(self, filepath: PathLike) -> bool:
        """Say whether there is a file or a directory."""
        self._cannot("say whether there is a file", filepath)

    def isdir(self, filepath: PathLike) -> bool:
        """Say whether it is a directory."""
        self._cannot("say whether there is a directory", filepath)

    def isfile(self, filepath: PathLike) -> bool:
        """Say whether it is a file."""
        self._cannot("say whether there is a file", filepath)

    def join_path(self, filepath: PathLike, *filepaths: PathLike) -> str:
        """Put the parts of a path together."""
        self._cannot("join paths", filepath)

    def get_local_path(self, filepath: PathLike) -> AbstractContextManager[PathLike]:
        """Return a context that lends a path on this machine with the file's content."""
        self._cannot("lend a local path", filepath)

    def copyfile(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a file within this place, and return where to."""
        self._cannot("copy files", src)

    def copytree(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a directory within this place, and return where to."""
        self._cannot("copy directories", src)

    def copyfile_from_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a file of this machine to this place, and return where to."""
        self._cannot("write files", dst)

    def copytree_from_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a directory of this machine to this place, and return where to."""
        self._cannot("write files", dst)

    def copyfile_to_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a file from this place to this machine, and return where to."""
        self._cannot("copy files", src)

    def copytree_to_local(self, src: PathLike, dst: PathLike) -> PathLike:
        """Copy a directory from this place to this machine, and return where to."""
        self._cannot("copy directories", src)

    def move(self, src: PathLike, dst: PathLike) -> None:
        """Move a file within this place."""
        self._cannot("move files", src)

    def remove(self, filepath: PathLike) -> None:
        """Delete a file."""
        self._cannot("delete files", filepath)

    def rmtree(self, dir_path: PathLike) -> None:
        """Delete a directory and all that is in it."""
        self._cannot("delete directories", dir_path)

    def copy_if_symlink_fails(self, src: PathLike, dst: PathLike) -> bool:
        """Make ``dst`` a symbolic link to ``src``, or a copy where there are no links; say whether it is a link."""
        self._cannot("copy files", src)

    def list_dir_or_file(
        self,
        dir_path: PathLike,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Return the paths of directories and files, seen from ``dir_path``."""
        self._cannot("list directories", dir_path)

    def files_in(self, dir_path: PathLike) -> list[FileFacts]:
        """Return the files in a directory, hidden ones too; none where there is no such directory."""
        self._cannot("tell how large files are", dir_path)

    def generate_presigned_url(self, url: str, client_method: str = "get_object", expires_in: int = 3600) -> str:
        """Return a URL that lets anyone who has it read the file for ``expires_in`` seconds."""
        self._cannot("sign URLs", url)

    def _cannot(self, action: str, path: PathLike) -> NoReturn:
        raise io.UnsupportedOperation(
            f"{path}: a {self.name} cannot {action}. Use a place that can: a local path, or a URL of another protocol."
        )


def check_listing(list_dir: bool, suffix: str | tuple[str, ...] | None) -> None:
    """Refuse arguments of ``list_dir_or_file`` that do not go together.

    Raises:
        TypeError: ``suffix`` is given while directories are asked for, or is no string.
    """
    if suffix is None:
        return
    if list_dir:
        raise TypeError(f"suffix is {suffix!r}, but directories have no suffix: add list_dir=False, or leave it out.")
    if not isinstance(suffix, (str, tuple)):
        raise TypeError(f"suffix must be a string or a tuple of strings, but it is {suffix!r}.")
