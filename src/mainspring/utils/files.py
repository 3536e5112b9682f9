"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["atomic_write", "display_path", "explained", "explaining"]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under ``path`` only when it is complete and on the disk.

    The bytes go to a temporary file beside ``path``; when the block ends without an error the file is flushed
    to the disk and renamed, and the directory is flushed too. After an error, or a kill, ``path`` is as it was.

    The temporary file is called ``.<name>.tmp``, always: what a kill has left is taken again by the next write. So a
    file has one writer at a time, be it a thread or a process; two would write into each other's bytes.

    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "weights.bin"
    >>> with atomic_write(target) as file:
    ...     _ = file.write(b"whole")
    >>> target.read_bytes()
    b'whole'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)  # which Windows has
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_directory(target.parent)


def display_path(path: str | os.PathLike[str]) -> str:
    """Return a path as a person at the prompt would type it: relative, if it lies below the current directory."""
    if "://" in os.fspath(path):
        return os.fspath(path)
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the current directory is gone, or on another drive
        return os.fspath(path)
    return os.fspath(path) if relative.startswith("..") else relative


@contextmanager
def explaining(what: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an error of the system in the block say what it means for the user; see :func:`explained`."""
    try:
        yield
    except OSError as error:
        raise explained(error, what, path) from error


def explained(error: OSError, what: str, path: str | os.PathLike[str]) -> OSError:
    """Return an error of the system that says what could not be done, where, why, and what helps.

    Args:
        error: What the system has raised; of the same kind is what is returned.
        what: What could not be done, as the beginning of a sentence.
        path: The file or directory.

    >>> import errno
    >>> explained(OSError(errno.ENOSPC, "No space left on device"), "The log file cannot be made", "/runs/a.log")
    OSError(28, 'The log file cannot be made (No space left on device). Make room there, or choose another work_dir')
    """
    cure = _CURES.get(error.errno or 0, "Choose another work_dir")
    text = f"{what} ({error.strerror or error}). {cure}"
    return OSError(text) if error.errno is None else OSError(error.errno, text, display_path(path))


_LET_IT = "Make it writable, or choose another work_dir"
_MAKE_ROOM = "Make room there, or choose another work_dir"
_MOVE_IT = "A file stands where a directory should be: move it away, or choose another work_dir"
_CURES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "Raise the limit for the size of a file, which 'ulimit -f' shows, or choose another file system",
    errno.EACCES: _LET_IT,
    errno.EPERM: _LET_IT,
    errno.EROFS: _LET_IT,
    errno.EEXIST: _MOVE_IT,
    errno.ENOTDIR: _MOVE_IT,
}


def _flush_directory(directory: Path) -> None:
    if os.name == "nt":  # a directory cannot be opened there
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot do it for a directory
            raise
    finally:
        os.close(descriptor)
