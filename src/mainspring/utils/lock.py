"""One run at a time in a directory."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .files import display_path, explained

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["DirectoryInUse", "DirectoryLock"]

_NAME = ".mainspring.lock"
_FAR = 1 << 30  # Windows lets nobody read the bytes that are locked, so they lie behind those that say who holds it
_TAKEN = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class DirectoryInUse(RuntimeError):  # noqa: N818 - it says what is the case
    """Another run has the directory."""


@dataclass(frozen=True)
class _Holding:
    """What the holder of a lock has: its process and directory, and the open file."""

    key: tuple[int, int, int]
    descriptor: int | None


# Locks of one process do not conflict with each other, so what this process holds is written here too. The keys begin
# with the process: a forked one finds nothing that is its own.
_held: dict[tuple[int, int, int], object] = {}


class DirectoryLock:
    """Keeps a directory for one run, until it ends in whatever way, ``kill -9`` included.

    The lock is a POSIX record lock on a file ``.mainspring.lock`` in the directory: the system takes it back when the
    process ends, forked processes such as the workers of a loader never have it, and it works between the machines
    that share a network disk. One thing would lose it, by the rules for such locks: opening and closing the file
    elsewhere in the process that holds it.

    The file stays when the lock is released. To remove it would leave a moment in which two processes have locked two
    files of the same name.

    Args:
        directory: It is made where it does not exist.

    >>> import tempfile
    >>> directory = tempfile.mkdtemp()
    >>> with DirectoryLock(directory):
    ...     DirectoryLock(directory).acquire()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    mainspring.utils.lock.DirectoryInUse: '...' is in use by another run of this process. Wait for its end, or ...
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self._holding: _Holding | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds the lock by this object; a process that was forked from it does not."""
        return self._holding is not None and self._holding.key[0] == os.getpid()

    def acquire(self) -> None:
        """Take the directory, or refuse at once.

        Where the file system knows no locks, a warning says so, and only runs of the same process are kept apart.

        Raises:
            DirectoryInUse: Another run has it.
            OSError: Nothing can be written there.
        """
        self._make_directory()
        info = os.stat(self.directory)
        key = (os.getpid(), info.st_dev, info.st_ino)
        mine = object()
        if _held.setdefault(key, mine) is not mine:  # asked and written at once, for the sake of threads
            raise DirectoryInUse(
                f"{display_path(self.directory)!r} is in use by another run of this process. Wait for its end, or"
                " choose another work_dir."
            )
        try:
            self._holding = _Holding(key, self._lock_file())
        except BaseException:
            del _held[key]
            raise

    def release(self) -> None:
        """Give the directory back; nothing happens where :attr:`held` is false."""
        if self._holding is None or not self.held:
            return
        holding, self._holding = self._holding, None
        if holding.descriptor is not None:
            with suppress(OSError):  # it only makes the file say that nobody holds it
                os.ftruncate(holding.descriptor, 0)
            _unlock(holding.descriptor)
            os.close(holding.descriptor)
        # Last: closing the file would take the lock from a thread that finds the directory free before.
        del _held[holding.key]

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _lock_file(self) -> int | None:
        """Return the locked file, or None where the file system knows no locks."""
        try:
            descriptor = os.open(self.directory / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            _lock(descriptor)
        except OSError as error:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if error.errno in _TAKEN:
                raise DirectoryInUse(
                    f"{display_path(self.directory)!r} is in use by another run{holder}. Wait for it, stop it, or"
                    " choose another work_dir."
                ) from error
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(
                f"The file system of {display_path(self.directory)!r} knows no locks ({error.strerror}), so nothing"
                " keeps two runs in this work_dir apart: see to it that only one runs at a time.",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        _write_holder(descriptor)
        return descriptor

    def _unusable(self, error: OSError) -> OSError:
        return explained(error, "Nothing can be written to the work_dir", self.directory)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        # Not flock: forked processes would share that, and keep it after the holder was killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _write_holder(descriptor: int) -> None:
    """Write who holds the lock, for the message of whoever is refused."""
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):  # the disk may be full; the lock does not need it
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())


def _read_holder(descriptor: int) -> str:
    """Return who holds the lock as the end of a sentence; empty where the file does not say so yet."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, 4096))
        since = holder["since"].removeprefix(time.strftime("%Y-%m-%d "))
        return f": process {holder['pid']} on host {holder['host']}, since {since}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
