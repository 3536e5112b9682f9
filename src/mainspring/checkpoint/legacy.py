"""Files of the format that torch wrote before 1.6: several pickles, one behind the other, and then the storages."""

from __future__ import annotations

import os
from typing import IO, Any

from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

from .claims import Claims, Storage, shown
from .examining import examine

__all__ = ["examine_legacy"]


def examine_legacy(file: IO[bytes], size: int) -> None:
    """Check a file of the old format against itself, without loading it.

    Args:
        file: The whole file.
        size: In bytes.

    Raises:
        ValueError: As for :func:`~mainspring.checkpoint.examining.examine`; or its storages are not those that its
            pickles announce. The format has no checksums.
    """
    file.seek(0)
    claims = Claims(size)
    source: Any = _Reader(file, size)
    if (examine(source, claims, _none), examine(source, claims, _none)) != (MAGIC_NUMBER, PROTOCOL_VERSION):
        raise ValueError("it is damaged, or was not written by torch.save")
    examine(source, claims, _none)  # facts about the machine that wrote it
    counts: dict[str, int] = {}
    storages: dict[str, Storage] = {}

    def storage(kind: Any, key: Any, location: Any, count: Any, part: Any) -> Storage:
        if type(key) is not str or part is not None:  # torch before 0.4 wrote parts of storages
            raise ValueError("it has a storage of a kind that torch.save does not write")
        checked = claims.storage(kind, count)
        if checked.size > size:
            raise ValueError(f"it claims a storage of {checked.size} bytes, and has {size} itself")
        if storages.setdefault(key, checked) != checked:
            raise ValueError(f"it describes its storage {shown(key)} in two ways")
        counts[key] = count
        return checked

    examine(source, claims, storage)
    keys = examine(source, claims, _none)
    if not isinstance(keys, list) or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise ValueError("it lists other storages than it uses")
    for key in keys:
        if int.from_bytes(source.read(8), "little", signed=True) != counts[key]:
            raise ValueError(f"its storage {shown(key)} has another size than announced")
        source.skip(storages[key].size)
    if source.left:
        raise ValueError(f"it has {source.left} bytes too many")


def _none(*description: Any) -> Storage:
    raise ValueError("it has a storage where there is none")


class _Reader:
    """Reads a file from its start, and no more at once than it has."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.left = size
        """In bytes."""

    def read(self, count: int) -> bytes:
        self._advance(count)
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(1000)  # the longest are names of functions
        self._advance(len(line))
        return line

    def skip(self, count: int) -> None:
        self._advance(count)
        self._file.seek(count, os.SEEK_CUR)

    def _advance(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("it is cut short")
