"""A run's scalars as JSON lines: one record a line, readable whenever the run is killed."""

from __future__ import annotations

import json
import math
import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..utils import apply_to, atomic_write, explaining

if TYPE_CHECKING:
    import io

__all__ = ["ScalarsFile", "read_scalars"]

_NOT_FINITE = ("nan", "inf", "-inf")
_encode = json.JSONEncoder(allow_nan=False).encode  # json.dumps would make an encoder for each record


class ScalarsFile:
    """A file of records that grows line by line.

    A record goes to the operating system in one write, so that a killed run leaves whole lines. Where the last one
    was cut nevertheless (a kill within the write of a long one, a full disk), reading leaves it out, and it is removed
    before the next one is written.

    JSON has no numbers for NaN and the infinities: they are written as the strings ``"nan"``, ``"inf"`` and
    ``"-inf"``, which :func:`read_scalars` turns back.

    Args:
        path: The file; it and its directory are made with the first record.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: io.FileIO | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record.

        Args:
            record: Values are numbers, strings, None, arrays, tensors, and lists and dicts of these.

        Raises:
            TypeError: A value is something else; the message names its key.
            OSError: It cannot be written; what is cut of it, the next one removes.
        """
        plain = {str(key): _jsonable(value, str(key)) for key, value in record.items()}
        line = _encode(plain) + "\n"
        with explaining("The scalars cannot be written", self.path):
            if self._file is None:
                self._file = self._open()
            try:
                _write_all(self._file, line.encode())
            except OSError:
                self.close()  # so that the end is mended when it is opened again
                raise

    def set_aside(self) -> None:
        """Keep the records of an earlier run under a name with the time of its last one, and begin anew."""
        self.close()
        if self.path.is_file():
            last = time.strftime("%Y%m%d_%H%M%S", time.localtime(self.path.stat().st_mtime))
            with explaining("The scalars of the earlier run cannot be set aside", self.path):
                self.path.rename(self.path.with_stem(f"{self.path.stem}_{last}"))

    def rewind(self, iteration: int, validated: bool = True) -> None:
        """Drop the records of later iterations than ``iteration``, as if they had never been written.

        A record's iteration is its ``iter``, or its ``step`` where it has no ``iter``; a record with neither
        stays. The file is replaced at once or, after an error, not at all.

        Args:
            iteration: The last iteration whose records stay.
            validated: Whether its records with the ``mode`` ``"val"`` stay, too.
        """
        self.close()
        if not self.path.exists():
            return
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [
            line
            for line, record in zip(lines, _parse(self.path, lines), strict=False)
            if _stays(record, iteration, validated)
        ]
        if len(kept) < len(lines):
            with (
                explaining(f"The scalars cannot be cut back to iteration {iteration}", self.path),
                atomic_write(self.path) as file,
            ):
                file.writelines(kept)

    def close(self) -> None:
        """Close the file; the next record opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> io.FileIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            _mend_end(self.path)
        file = self.path.open("ab", buffering=0)
        weakref.finalize(self, file.close)
        return file


def _write_all(file: io.FileIO, line: bytes) -> None:
    """Write a line in one go; a disk that is nearly full takes only a part, and refuses the rest."""
    written = file.write(line)
    if written < len(line):
        file.write(line[written:])


def read_scalars(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the records of a scalars file; a last line that was cut is left out.

    Raises:
        ValueError: Another line is no record; the message names it.
    """
    lines = Path(path).read_bytes().splitlines(keepends=True)
    return [apply_to(record, _is_not_finite, float) for record in _parse(path, lines)]


def _parse(path: str | os.PathLike[str], lines: list[bytes]) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"it holds {type(record).__name__} and not an object")
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise ValueError(
                f"Line {number} of {os.fspath(path)} is no record: {error}. Remove the line, or the file."
            ) from error
        records.append(record)
    return records


def _mend_end(path: Path) -> None:
    """Remove a last line that was cut; end one that lacks only the line break."""
    lines = path.read_bytes().splitlines(keepends=True)
    if not lines or lines[-1].endswith(b"\n"):
        return
    if _parse(path, lines[-1:]):
        with path.open("ab") as file:
            file.write(b"\n")
    else:
        os.truncate(path, sum(map(len, lines[:-1])))


def _stays(record: Mapping[str, Any], iteration: int, validated: bool) -> bool:
    at = record.get("iter", record.get("step"))
    if at is None or at < iteration:
        return True
    return bool(at == iteration) and (validated or record.get("mode") != "val")


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, str) and value in _NOT_FINITE


def _jsonable(value: Any, key: str) -> Any:
    if not isinstance(value, float) and isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_jsonable(item, f"{key}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item, f"{key}.{name}") for name, item in value.items()}
    raise TypeError(
        f"{key!r} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be written as JSON:"
        " log numbers, strings, or lists and dicts of these."
    )
