"""Writing checkpoints in the background, while the training goes on."""

from __future__ import annotations

import _thread
import atexit
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..fileio import LocalBackend, get_file_backend, local_path
from ..utils import to_plain
from .snapshot import Snapshot, SnapshotBuffers
from .weights_file import is_weights_file
from .writing import prepare_to_write

__all__ = ["CheckpointWriteError", "CheckpointWriter"]


class CheckpointWriteError(OSError):
    """A checkpoint could not be written; those written before are untouched.

    The cause is chained; ``errno`` is the system's number for it, where it has one.
    """


class CheckpointWriter:
    """Saves checkpoints: the caller waits for a copy in memory, a thread writes it.

    One write is in flight at a time. Its error is raised, once, by whichever of :meth:`check`, :meth:`save`,
    :meth:`wait` and :meth:`close` is called next. When the interpreter ends in whatever way but ``os._exit`` or a
    kill, it waits for the write, and prints an error that nobody asked for.

    A writer belongs to the process that made it. In a process forked from that, such as a worker of a data loader,
    nothing is in flight, and nothing can be saved.

    >>> import tempfile, torch
    >>> writer = CheckpointWriter()
    >>> weights = torch.zeros(3)
    >>> writer.save({"state_dict": {"w": weights}}, tempfile.mkdtemp() + "/iter_1.pth", then=lambda: print("written"))
    >>> _ = weights.fill_(1)  # at once: the file gets the zeros
    >>> writer.close()
    written
    """

    def __init__(self) -> None:
        self._buffers = SnapshotBuffers()
        self._write: _Write | None = None
        self._error: CheckpointWriteError | None = None
        self._process = os.getpid()
        self._reached: set[str] = set()
        """Directories behind URLs in which it has written."""
        # What torch imports at its first save, in this version or another, it imports here. In the thread that would
        # take locks, and a worker forked meanwhile would wait for them for ever.
        torch.save({"": torch.zeros(1)}, io.BytesIO())

    @property
    def busy(self) -> bool:
        """Whether a write is in flight."""
        return self._write is not None and not self._is_elsewhere() and self._write.is_running

    def save(
        self,
        checkpoint: Mapping[str, Any],
        filename: str | os.PathLike[str],
        then: Callable[[], None] | None = None,
        wait: bool = False,
    ) -> None:
        """Copy a checkpoint, and begin to write it; first, wait for the write in flight.

        When this returns, everything in ``checkpoint`` may change. The file appears under its name when it is
        complete and on the disk, as by :func:`~mainspring.checkpoint.save_checkpoint`.

        Args:
            checkpoint: Tensors and plain containers (see :func:`~mainspring.checkpoint.to_plain`).
            filename: A local path, of which missing directories are made, or a URL that fsspec knows. The first in a
                directory behind a URL, and files of safetensors, are waited for: what writes them may import, and take
                locks that a worker forked meanwhile would wait for.
            then: Called in the thread, once the file stands under its name and its directory is flushed: to delete
                old files, say. Not called if the write failed. It must not log, import, or use this writer.
            wait: Return only when the file is written and ``then`` is done.

        Raises:
            TypeError: Something in the checkpoint is no plain value; the message says where it stands.
            MemoryError: There is not enough memory for the copy.
            CheckpointWriteError: The last write failed, and this one was not begun; or, with ``wait``, this one failed.
            RuntimeError: This process was forked from the one that made the writer.
        """
        if self._is_elsewhere():
            raise RuntimeError(
                f"{os.fspath(filename)!r} is not saved: this process was forked from the one that made the"
                " CheckpointWriter, and two would write over each other's files. Save in the process that trains, or"
                " make another CheckpointWriter here."
            )
        plain = to_plain(checkpoint)
        write = prepare_to_write(filename)
        local = isinstance(get_file_backend(filename), LocalBackend)
        file = str(local_path(filename).absolute()) if local else os.fspath(filename)
        place = file.rpartition("/")[0]
        self.wait()
        snapshot = self._buffers.take(plain)
        self._write = _Write(lambda: self._write_and_follow(snapshot, write, file, then))
        atexit.register(self._wait_at_exit)
        self._write.start()
        if wait or is_weights_file(file) or not (local or place in self._reached):
            self.wait()
            self._reached.add(place)

    def wait(self) -> None:
        """Block until nothing is in flight.

        Raises:
            CheckpointWriteError: The write failed.
        """
        if self._is_elsewhere():
            return
        if self._write is not None:
            self._write.wait()
            self._write = None
            atexit.unregister(self._wait_at_exit)
        self.check()

    def check(self) -> None:
        """Raise the error of a write that has failed; cheap enough for every iteration.

        Raises:
            CheckpointWriteError: The write failed.
        """
        if self._error is not None and not self._is_elsewhere():
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Wait for the write in flight, and give the memory back; the next save takes it again.

        Raises:
            CheckpointWriteError: The write failed.
        """
        try:
            self.wait()
        finally:
            self._buffers.clear()

    def _is_elsewhere(self) -> bool:
        return os.getpid() != self._process

    def _write_and_follow(
        self,
        snapshot: Snapshot,
        write: Callable[[Mapping[str, Any]], None],
        file: str,
        then: Callable[[], None] | None,
    ) -> None:
        written = False
        try:
            snapshot.wait()
            write(snapshot.state)
            written = True
            if then is not None:
                then()
        except BaseException as error:  # whatever it is, the training must hear of it
            self._error = _describe(error, file, written)

    def _wait_at_exit(self) -> None:
        try:
            self.wait()
        except CheckpointWriteError:
            traceback.print_exc()


class _Write:
    """One write, in a thread of its own.

    A thread for each write, and none between them: so most forks find none, and there is no queue and no condition
    whose lock a fork could copy while it is held. To start one takes some 20 microseconds.

    Ctrl-C may interrupt the caller anywhere in here, and the next call still knows how things stand. With a
    ``threading.Thread`` that cannot be done: interrupted, ``start`` may leave a lock behind for which the new thread
    waits for ever, and ``join`` takes the thread for ended (Python 3.11).
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._taken: dict[str, str] = {}
        """Who came first, decided by one ``setdefault``: the thread, or somebody who found that it may not exist."""
        self._started = False
        self._finished = False
        self._end = threading.Lock()
        self._end.acquire()

    @property
    def is_running(self) -> bool:
        return not self._finished and self._taken.get("by") != "nobody"

    def start(self) -> None:
        _thread.start_new_thread(self._write_in_background, ())
        self._started = True

    def wait(self) -> None:
        if not self._started and self._taken.setdefault("by", "nobody") == "nobody":
            return  # start was interrupted, and if there is a thread, it will do nothing
        if not self._finished:
            self._end.acquire()

    def _write_in_background(self) -> None:
        if self._taken.setdefault("by", "thread") == "nobody":
            return
        if sys.platform != "win32":
            # Signals are for the main thread, which must not sleep through one that was delivered here.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._work()
        finally:
            self._finished = True
            self._end.release()


def _describe(error: BaseException, file: str, written: bool) -> CheckpointWriteError:
    reason = _os_error_behind(error)
    told = (None if reason is None else reason.strerror) or f"{type(error).__name__}: {error}"
    told = told.removeprefix(f"OSError: {file} could not be written: ")  # as errors of drivers begin
    if written:
        message = f"{file!r} is written, whole, but what was to be done then failed: {told}."
    else:
        message = (
            f"{file!r} could not be written: {told}. What stood under this name before, and every earlier"
            " checkpoint, is untouched."
        )
    number = None if reason is None else reason.errno
    cure = _CURES.get(number or 0)
    described = CheckpointWriteError(message if cure is None else f"{message} {cure}")
    described.errno = number
    described.__cause__ = error
    return described


def _os_error_behind(error: BaseException) -> OSError | None:
    """Return the system's error that was raised, or that led to what was raised."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError):
            return behind
        behind = behind.__cause__ or behind.__context__
    return None


_MAKE_ROOM = "Make room there, or keep fewer checkpoints, with max_keep_ckpts of the CheckpointHook."
_LET_IT = "Let the user of this process write to the directory, or choose another one for the checkpoints."
_BRING_BACK = "The directory was moved or removed while the run went on: bring it back, or start from where it is now."
_CURES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "Raise the limit for the size of a file, which 'ulimit -f' shows, or write to another file system.",
    errno.EACCES: _LET_IT,
    errno.EPERM: _LET_IT,
    errno.EROFS: _LET_IT,
    errno.ENOENT: _BRING_BACK,
    errno.ENOTDIR: "A file stands where a directory should be: move it away, or choose another directory.",
}
