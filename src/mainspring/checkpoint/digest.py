"""The digest at the end of a checkpoint file, with which every flipped bit and every cut is noticed.

A checkpoint is a ZIP archive, and an archive ends with a comment. Ours reads, for example::

    mainspring checkpoint, iter 250, epoch 3, sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

The digest is that of all bytes before it, the beginning of the comment included, and its 64 digits are the end of the
file. So it can be written last while the rest streams by, and ``torch.load``, which does not look at comments, reads
the file as ever. The position in the run stands there too, so that the newest of several files is found without
reading them; files that no run goes on from have none.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Self

__all__ = [
    "END_RECORD",
    "LONGEST_ENDING",
    "Digesting",
    "Ending",
    "Position",
    "SealedFile",
    "comment_for",
    "digest_is_right",
    "ending_of",
    "read_ending",
]

END_RECORD = b"PK\x05\x06"
_END_SIZE = 22  # bytes of the end record, with which an archive without a comment ends
_DIGITS = 64  # of a SHA-256
_CHUNK = 32 * 2**20  # long, since after each the hashing thread may have to wait for its turn again
_FLUSH = 32 * 2**20  # bytes after which the system is told to begin to write them to the disk
LONGEST_ENDING = 200  # bytes of the end record with our comment; positions have at most 18 digits
_COMMENT = re.compile(rb"mainspring checkpoint(?:, iter (\d{1,18}), epoch (\d{1,18}))?, sha256 ([0-9a-f]{64})")

Position = tuple[int, int]
"""How far a run was: its iteration and its epoch."""


def comment_for(checkpoint: Mapping[str, Any]) -> str:
    """Return the comment of a checkpoint's file, but for the digits of the digest."""
    loop = checkpoint.get("train_loop")
    position = ""
    if isinstance(loop, Mapping):
        numbers = loop.get("iter"), loop.get("epoch")
        if all(type(number) is int and 0 <= number < 10**18 for number in numbers):
            position = f", iter {numbers[0]}, epoch {numbers[1]}"
    return f"mainspring checkpoint{position}, sha256 "


class SealedFile:
    """A binary file to which ``torch.save`` writes, and which then gets the comment with the digest.

    The bytes go on to ``file`` as they come, but for the last 22, which may be the end record of the archive.

    Args:
        file: An empty binary file.
        comment: See :func:`comment_for`.
    """

    def __init__(self, file: IO[bytes], comment: str) -> None:
        self.error: Exception | None = None
        """Why the file could not be written; ``torch.save`` may raise another error in its place."""
        self._file = file
        self._comment = comment.encode("ascii")
        self._digest = hashlib.sha256()
        self._held = b""
        self._written = 0
        self._flushed = 0

    def write(self, data: Any) -> int:
        """Write some bytes, or whatever has a buffer."""
        view = memoryview(data).cast("B")
        if len(view) < _END_SIZE:
            both = self._held + bytes(view)
            self._hand_on(memoryview(both)[:-_END_SIZE])
            self._held = both[-_END_SIZE:]
        else:
            self._hand_on(memoryview(self._held))
            self._hand_on(view[:-_END_SIZE])
            self._held = bytes(view[-_END_SIZE:])
        return len(view)

    def flush(self) -> None:
        """Do nothing: whoever opened the file flushes it, when all is written."""

    def seal(self) -> None:
        """Write the end: the end record, which now announces a comment, and the comment."""
        if not self._held.startswith(END_RECORD) or self._held[-2:] != bytes(2):
            raise RuntimeError("This version of torch ends its files in a way that mainspring does not know.")
        length = len(self._comment) + _DIGITS
        self._hand_on(memoryview(self._held[:-2] + length.to_bytes(2, "little") + self._comment))
        self._write(self._digest.hexdigest().encode("ascii"))

    def _hand_on(self, data: memoryview) -> None:
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK]
            self._digest.update(chunk)
            self._write(chunk)
            self._written += len(chunk)
        if self._written - self._flushed >= _FLUSH:
            self._begin_to_flush()

    def _begin_to_flush(self) -> None:
        """Have the disk work while the next bytes are digested, so that the flush at the end finds little left."""
        if sys.platform == "linux":  # where this advice also begins to write out what is not on the disk yet
            length = self._written - self._flushed
            with suppress(OSError, AttributeError):  # advice that a file system need not take, if it is one
                os.posix_fadvise(self._file.fileno(), self._flushed, length, os.POSIX_FADV_DONTNEED)
        self._flushed = self._written

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except Exception as error:  # of any kind, where a driver of another place writes
            self.error = error
            raise


@dataclass(frozen=True)
class Ending:
    """What the end of a file says."""

    kind: str
    """``'sealed'`` with our comment, ``'archive'`` with an end record without comment, else ``'other'``."""
    position: Position | None = None
    """How far the run was, where a sealed file says so."""
    digest: str = ""
    """The digits at the end of a sealed file."""
    end_record: int = 0
    """Where the end record begins, in bytes from the start of the file, unless the kind is ``'other'``."""


def read_ending(file: IO[bytes]) -> Ending:
    """Read the end of a file, and nothing else."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - LONGEST_ENDING, 0))
    return ending_of(file.read(), size)


def ending_of(tail: bytes, size: int) -> Ending:
    """Return what the end of a file says.

    Args:
        tail: Its last bytes, as many as :data:`LONGEST_ENDING`, if it has so many.
        size: The bytes of the file.
    """
    if tail[-_END_SIZE:].startswith(END_RECORD) and tail[-2:] == bytes(2):
        return Ending("archive", end_record=size - _END_SIZE)
    begin = tail.rfind(b"mainspring checkpoint")
    comment = _COMMENT.fullmatch(tail, max(begin, 0))
    record = tail[max(begin - _END_SIZE, 0) : max(begin, 0)]
    if comment is None or not record.startswith(END_RECORD) or int.from_bytes(record[-2:], "little") != len(comment[0]):
        return Ending("other")
    position = None if comment[1] is None else (int(comment[1]), int(comment[2]))
    return Ending("sealed", position, comment[3].decode("ascii"), size - len(tail) + begin - _END_SIZE)


def digest_is_right(file: IO[bytes], ending: Ending) -> bool:
    """Read a sealed file, and tell whether its digest is that of what stands before it."""
    left = file.seek(0, os.SEEK_END) - _DIGITS
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        chunk = file.read(min(left, 2**20))
        if not chunk:
            break
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest() == ending.digest


class Digesting(threading.Thread):
    """Does in a thread what :func:`digest_is_right` does, while others read the same file; a context manager.

    Where it is left before the end, the thread stops soon.

    Args:
        file: A sealed file. Its position is left alone.
        ending: What its end says.
    """

    def __init__(self, file: IO[bytes], ending: Ending) -> None:
        super().__init__(name="checkpoint digest", daemon=True)
        self._file = file.fileno()
        self._size = os.fstat(self._file).st_size - _DIGITS
        self._expected = ending.digest
        self._stopped = False
        self._found: str | OSError = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped = True
        self.join()

    def run(self) -> None:
        """Read the file."""
        digest, done = hashlib.sha256(), 0
        buffer = memoryview(bytearray(min(_CHUNK, max(self._size, 0))))
        try:
            while done < self._size and not self._stopped:
                count = os.preadv(self._file, [buffer[: self._size - done]], done)
                if not count:
                    break
                digest.update(buffer[:count])
                done += count
            self._found = digest.hexdigest()
        except OSError as error:
            self._found = error

    def is_right(self) -> bool:
        """Wait for the end, and tell whether the digest is right."""
        self.join()
        if isinstance(self._found, OSError):
            raise self._found
        return self._found == self._expected
