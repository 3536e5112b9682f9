"""What fsspec's file systems need so that they all behave alike: errors with the URL, whole files, plain listings."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fsspec.spec import AbstractFileSystem

from .paths import PathLike

__all__ = ["errors_of", "listing", "write_whole"]

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
        try:
            write(temporary)
        except FileNotFoundError:
            fs.makedirs(parent, exist_ok=True)
            write(temporary)
        _move(fs, temporary, path)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            fs.rm_file(temporary)
        raise


def _move(fs: AbstractFileSystem, temporary: str, path: str) -> None:
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
    kinds: dict[str, str] = {}
    for entry in fs.ls(path, detail=True):
        found = str(entry["name"]).rstrip("/")
        if found != path.rstrip("/"):  # a store of objects may list the directory itself
            kinds[posixpath.basename(found)] = entry["type"]
        elif entry["type"] == "file" and not str(entry["name"]).endswith("/"):
            raise NotADirectoryError(errno.ENOTDIR, "It is a file, not a directory", path)
    for name in sorted(kinds.keys() - {"", ".", ".."}):  # a key may hold "..", which would lead out of a copy
        relative = posixpath.join(within, name)
        if kinds[name] == "directory":
            if list_dir:
                yield relative
            if recursive:
                below = f"{path.rstrip('/')}/{name}"
                yield from listing(fs, below, list_dir, list_file, suffix, recursive, hidden, relative)
        elif list_file and (hidden or not name.startswith(".")) and relative.endswith(suffix or ""):
            yield relative
