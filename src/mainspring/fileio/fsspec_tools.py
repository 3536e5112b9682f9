"""What fsspec's file systems need so that they all behave alike: errors with the URL, whole files, plain listings."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from .base_backend import FileFacts
from .paths import PathLike

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

__all__ = ["errors_of", "facts_of", "listing", "making_directory", "move", "stream", "write_whole"]

_NUMBERS = {
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    PermissionError: errno.EACCES,
}


@contextmanager
def errors_of(url: PathLike, done: str) -> Iterator[None]:
    """Turn whatever a driver raises in the block into an ``OSError`` that names the URL.

    Args:
        url: What the block works on.
        done: What is done to it, as in ``"read"``.

    Raises:
        FileNotFoundError: And its kin, where the driver raised such a one.
        ImportError: The library of the driver is not installed.
        io.UnsupportedOperation: The file system cannot do it.
        OSError: Anything else.
    """
    try:
        yield
    except NotImplementedError as error:
        raise io.UnsupportedOperation(f"{url} could not be {done}: its file system has no way to do it.") from error
    except ImportError as error:
        raise ImportError(f"{url} needs a library that is not installed: {error}.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.filename == str(url):
            raise
        for kind, number in _NUMBERS.items():
            if isinstance(error, kind):
                raise OSError(number, os.strerror(number), str(url)) from error
        raise OSError(f"{url} could not be {done}: {type(error).__name__}: {error}") from error


def write_whole(fs: AbstractFileSystem, path: str, write: Callable[[str], Any]) -> None:
    """Let ``write`` make a file under a temporary name, and move it to ``path``; make missing directories."""
    parent, _, name = path.rpartition("/")
    temporary = f"{parent}/.{name}.tmp" if parent or path.startswith("/") else f".{name}.tmp"
    try:
        making_directory(fs, path, lambda: write(temporary))
        move(fs, temporary, path)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            fs.rm_file(temporary)
        raise


def making_directory(fs: AbstractFileSystem, path: str, write: Callable[[], Any]) -> None:
    """Call ``write``, and once more when the directory of ``path``, which it missed, is made."""
    try:
        write()
    except Exception as error:
        # Drivers do not all raise FileNotFoundError: an FTP server answers 550.
        if not (isinstance(error, FileNotFoundError) or str(error).startswith("550 ")):
            raise
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        write()


def stream(fs: AbstractFileSystem, path: str, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` write a file of a file system, which nobody reads before all is well: an error leaves a part."""
    with fs.open(path, "wb") as file:
        write(file)


def move(fs: AbstractFileSystem, temporary: str, path: str) -> None:
    """Move a file to ``path``, whatever stands there."""
    from fsspec.spec import AbstractFileSystem

    if getattr(fs.mv, "__func__", None) is AbstractFileSystem.mv:
        # fsspec's own copies and deletes, but reads '*' and '[' in a name as a pattern.
        fs.cp_file(temporary, path)
        fs.rm_file(temporary)
        return
    try:
        fs.mv(temporary, path)
    except OSError:
        if not (fs.exists(path) and fs.exists(temporary)):
            raise
    fs.invalidate_cache()  # what it remembers is of before the move
    if fs.exists(temporary):  # a rename that refuses to replace, some without a word
        fs.rm_file(path)
        fs.mv(temporary, path)


def listing(
    fs: AbstractFileSystem,
    path: str,
    list_dir: bool,
    list_file: bool,
    suffix: str | tuple[str, ...] | None,
    recursive: bool,
    hidden: bool = False,
    within: str = "",
) -> Iterator[str]:
    """Yield what is in a directory, as :meth:`~mainspring.fileio.BaseStorageBackend.list_dir_or_file` says.

    With ``hidden`` also files whose name begins with a dot.
    """
    kinds = {name: entry["type"] for name, entry in _entries(fs, path)}
    for name in sorted(kinds):
        relative = posixpath.join(within, name)
        if kinds[name] == "directory":
            if list_dir:
                yield relative
            if recursive:
                below = f"{path.rstrip('/')}/{name}"
                yield from listing(fs, below, list_dir, list_file, suffix, recursive, hidden, relative)
        elif list_file and (hidden or not name.startswith(".")) and relative.endswith(suffix or ""):
            yield relative


def facts_of(fs: AbstractFileSystem, path: str) -> list[FileFacts]:
    """Return the files in a directory, as :meth:`~mainspring.fileio.BaseStorageBackend.files_in` says."""
    return [
        FileFacts(name, int(entry.get("size") or 0), _modified(entry))
        for name, entry in _entries(fs, path)
        if entry["type"] == "file"
    ]


def _entries(fs: AbstractFileSystem, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the names in a directory, and what the file system says of each."""
    for entry in fs.ls(path, detail=True):
        found = str(entry["name"]).rstrip("/")
        name = posixpath.basename(found)
        if found == path.rstrip("/"):  # a store of objects may list the directory itself
            if entry["type"] == "file" and not str(entry["name"]).endswith("/"):
                raise NotADirectoryError(errno.ENOTDIR, "It is a file, not a directory", path)
        elif name not in ("", ".", ".."):  # a key may hold "..", which would lead out of a copy
            yield name, entry


def _modified(entry: dict[str, Any]) -> int:
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):  # each driver has its own word
        value = entry.get(key)
        if isinstance(value, datetime):
            value = value.timestamp()
        if isinstance(value, (int, float)):
            return int(value * 1e9)
    return 0
