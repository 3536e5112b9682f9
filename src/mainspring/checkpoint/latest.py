"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..logging import print_log
from .digest import Ending, read_ending
from .errors import CheckpointError
from .verifying import verify_checkpoint

__all__ = ["find_latest_checkpoint", "run_checkpoints"]

_NAME = re.compile(r"(epoch|iter)_(\d{1,18})\.pth")


@dataclass(frozen=True)
class _File:
    path: Path
    modified: int
    """When, in nanoseconds."""
    ending: Ending
    start: bytes

    @property
    def torn(self) -> bool:
        """It has an end that no checkpoint has."""
        return self.ending.kind == "other" and not self.start.startswith(b"\x80")  # as before torch 1.6


def run_checkpoints(*directories: str | os.PathLike[str], beyond: int = 0) -> list[Path]:
    """Return the checkpoints from which a run could go on, the newest first, without reading them.

    How far the run was stands at the end of each file that mainspring has written, so neither names nor times matter.
    Of several of one position the one that is not called ``best_*`` comes first. Behind them come those of MMEngine:
    ``epoch_N.pth`` and ``iter_N.pth``, by their numbers, or whatever the file ``last_checkpoint`` in the first
    directory names, which goes before them. An ``epoch_N.pth`` or ``iter_N.pth`` without the end of a checkpoint, as of
    one that was cut short, could be the newest: it goes before all, so that whoever verifies one after the other
    hears of it.

    Published files are not among them, nor other weights; nor what lies in subdirectories.

    Args:
        directories: Where they may lie; what is no directory is passed over.
        beyond: Where it is above 0, only those of later iterations, as far as the files say where they stand, and those
            without the end of a checkpoint.
    """
    places: dict[str, Path] = {}
    for directory in directories:
        places.setdefault(os.path.realpath(directory), Path(directory))
    unique = list(places.values())
    files = [file for directory in unique if directory.is_dir() for file in _files_in(directory)]
    if beyond > 0:
        files = [file for file in files if file.torn or (file.ending.position or (0, 0))[0] > beyond]
    named = _pointed_to(unique[0]) if unique else ""
    return [file.path for file in _ordered(files, named)]


def find_latest_checkpoint(path: str | os.PathLike[str], *more: str | os.PathLike[str]) -> str | None:
    """Return the newest checkpoint of a directory that is whole, or None where there is none.

    Each is verified, the newest first (see :func:`run_checkpoints`), and one that is damaged is passed over with a
    warning that says what is wrong with it. So the file that is returned has been read once.

    Args:
        path: The directory of the run, where ``last_checkpoint`` may lie, of which only the file's name is believed.
        more: Other directories in which its checkpoints may lie.
    """
    for file in run_checkpoints(path, *more):
        try:
            verify_checkpoint(file)
        except CheckpointError as error:
            print_log(f"Passing over a checkpoint. {error}", logger="current", level=logging.WARNING)
        except FileNotFoundError:  # deleted meanwhile
            continue
        else:
            return str(file)
    return None


def _ordered(files: Sequence[_File], named: str) -> list[_File]:
    ours = [file for file in files if file.ending.position is not None]
    others = [
        file
        for file in files
        if file.ending.kind != "sealed" and (file.path.name == named or _NAME.fullmatch(file.path.name))
    ]
    whole = [file for file in others if not file.torn]
    return [
        *(file for file in others if file.torn),
        *sorted(ours, key=_progress, reverse=True),
        *(file for file in whole if file.path.name == named),
        *_by_number([file for file in whole if file.path.name != named]),
    ]


def _files_in(directory: Path) -> Iterator[_File]:
    """Look at the beginning and the end of each file in a directory."""
    with os.scandir(directory) as entries:
        present = [entry for entry in entries if entry.is_file()]
    for entry in present:
        # Of a write that was stopped; or the lock of the run, which this process would lose if it opened that file.
        if entry.name.startswith("."):
            continue
        try:
            with open(entry.path, "rb") as file:
                yield _File(directory / entry.name, entry.stat().st_mtime_ns, read_ending(file), _start(file))
        except FileNotFoundError:  # deleted meanwhile
            continue
        except PermissionError:
            if entry.name.endswith(".pth"):
                raise


def _start(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(4)


def _pointed_to(directory: Path) -> str:
    """Return the name in the file ``last_checkpoint``; the rest of the path may be of another machine."""
    pointer = directory / "last_checkpoint"
    if not pointer.is_file():
        return ""
    with pointer.open("rb") as file:
        text = file.read(4096).decode("utf-8", errors="replace")
    return text.strip().replace("\\", "/").rpartition("/")[2]


def _progress(file: _File) -> tuple[Any, ...]:
    best = file.path.name.startswith("best_")
    return file.ending.position, not best, not file.path.is_symlink(), file.modified, file.path.name


def _by_number(files: Sequence[_File]) -> list[_File]:
    """Order files by the numbers in their names; where epochs meet iterations, the later written is the newer."""
    by_unit: dict[str, list[_File]] = {}
    for file in sorted(files, key=_number):
        by_unit.setdefault(file.path.name.partition("_")[0], []).append(file)
    ordered = []
    while by_unit:
        unit = max(by_unit, key=lambda unit: by_unit[unit][-1].modified)
        ordered.append(by_unit[unit].pop())
        if not by_unit[unit]:
            del by_unit[unit]
    return ordered


def _number(file: _File) -> tuple[int, int]:
    match = _NAME.fullmatch(file.path.name)
    return (int(match[2]) if match else -1), file.modified
