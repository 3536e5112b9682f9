"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..fileio import FileFacts
from ..logging import print_log
from .digest import LONGEST_ENDING, Ending, ending_of
from .errors import CheckpointError
from .folder import CheckpointFile, CheckpointFolder
from .verifying import verify_checkpoint

__all__ = ["NewestWhole", "find_latest_checkpoint", "newest_whole", "run_checkpoints"]

_NAME = re.compile(r"(epoch|iter)_(\d{1,18})\.pth")


@dataclass(frozen=True)
class _File:
    path: CheckpointFile
    facts: FileFacts
    ending: Ending
    torn: bool
    """It has an end that no checkpoint has."""

    @property
    def name(self) -> str:
        return self.facts.name


@dataclass(frozen=True)
class NewestWhole:
    """What :func:`newest_whole` has found."""

    file: CheckpointFile | None
    """The newest checkpoint that is whole, or None where there is none."""
    content: Any
    """What reading it has returned."""
    damaged: Mapping[CheckpointFile, str]
    """Those that are newer but damaged, the newest first, and what is wrong with each."""


def run_checkpoints(*directories: str | os.PathLike[str], beyond: int = 0) -> list[CheckpointFile]:
    """Return the checkpoints from which a run could go on, the newest first, without reading them.

    How far the run was stands at the end of each file that mainspring has written, so neither names nor times matter.
    Of several of one position the one that is not called ``best_*`` comes first. Behind them come those of MMEngine:
    ``epoch_N.pth`` and ``iter_N.pth``, by their numbers, or whatever the file ``last_checkpoint`` in the first
    directory names, which goes before them. An ``epoch_N.pth`` or ``iter_N.pth`` without the end of a checkpoint, as of
    one that was cut short, could be the newest: it goes before all, so that whoever verifies one after the other
    hears of it.

    Published files are not among them, nor other weights; nor what lies in subdirectories.

    Args:
        directories: Where they may lie, paths or URLs; what is no directory is passed over.
        beyond: Where it is above 0, only those of later iterations, as far as the files say where they stand, and those
            without the end of a checkpoint.

    Returns:
        A ``Path`` for each on this machine, a :class:`~mainspring.fileio.RemoteFile` for each behind a URL.
    """
    places: dict[str, CheckpointFolder] = {}
    for directory in directories:
        folder = CheckpointFolder(directory)
        places.setdefault(folder.same_place(), folder)
    unique = list(places.values())
    files = [file for folder in unique for file in _files_in(folder)]
    if beyond > 0:
        files = [file for file in files if file.torn or (file.ending.position or (0, 0))[0] > beyond]
    named = _pointed_to(unique[0]) if unique else ""
    return [file.path for file in _ordered(files, named)]


def newest_whole(
    *directories: str | os.PathLike[str], read: Callable[[CheckpointFile], Any] = verify_checkpoint
) -> NewestWhole:
    """Find the newest checkpoint that is whole, by reading one after the other, the newest first.

    Args:
        directories: As for :func:`run_checkpoints`.
        read: Reads a file, and raises a CheckpointError where it is damaged.
    """
    damaged: dict[CheckpointFile, str] = {}
    for file in run_checkpoints(*directories):
        try:
            return NewestWhole(file, read(file), damaged)
        except CheckpointError as error:
            damaged[file] = str(error)
        except FileNotFoundError:  # a run that is still on has deleted it
            continue
    return NewestWhole(None, None, damaged)


def find_latest_checkpoint(path: str | os.PathLike[str], *more: str | os.PathLike[str]) -> str | None:
    """Return the newest checkpoint of a directory that is whole, or None where there is none.

    Each is verified, the newest first (see :func:`run_checkpoints`), and one that is damaged is passed over with a
    warning that says what is wrong with it. So the file that is returned has been read once.

    Args:
        path: The directory of the run, a path or URL, where ``last_checkpoint`` may lie, of which only the file's
            name is believed.
        more: Other directories in which its checkpoints may lie.
    """
    found = newest_whole(path, *more)
    for damage in found.damaged.values():
        print_log(f"Passing over a checkpoint. {damage}", logger="current", level=logging.WARNING)
    return None if found.file is None else str(found.file)


def _ordered(files: Sequence[_File], named: str) -> list[_File]:
    ours = [file for file in files if file.ending.position is not None]
    others = [
        file for file in files if file.ending.kind != "sealed" and (file.name == named or _NAME.fullmatch(file.name))
    ]
    whole = [file for file in others if not file.torn]
    return [
        *(file for file in others if file.torn),
        *sorted(ours, key=_progress, reverse=True),
        *(file for file in whole if file.name == named),
        *_by_number([file for file in whole if file.name != named]),
    ]


def _files_in(folder: CheckpointFolder) -> Iterator[_File]:
    """Look at the end of each file in a directory, and of those without one at the beginning."""
    for facts in folder.files():
        # Of a write that was stopped; or the lock of the run, which this process would lose if it opened that file.
        if facts.name.startswith("."):
            continue
        try:
            tail = folder.read(facts.name, max(facts.size - LONGEST_ENDING, 0), facts.size)
            ending = ending_of(tail, facts.size)
            # As files began before torch 1.6.
            torn = ending.kind == "other" and folder.read(facts.name, 0, 1) != b"\x80"
        except FileNotFoundError:  # deleted meanwhile
            continue
        except PermissionError:
            if facts.name.endswith(".pth"):
                raise
        else:
            yield _File(folder / facts.name, facts, ending, torn)


def _pointed_to(folder: CheckpointFolder) -> str:
    """Return the name in the file ``last_checkpoint``; the rest of the path may be of another machine."""
    pointers = [facts for facts in folder.files() if facts.name == "last_checkpoint"]
    text = b"".join(folder.read(facts.name, 0, min(facts.size, 4096)) for facts in pointers)
    return text.decode("utf-8", errors="replace").strip().replace("\\", "/").rpartition("/")[2]


def _progress(file: _File) -> tuple[Any, ...]:
    best = file.name.startswith("best_")
    return file.ending.position, not best, not file.facts.is_link, file.facts.modified, file.name


def _by_number(files: Sequence[_File]) -> list[_File]:
    """Order files by the numbers in their names; where epochs meet iterations, the later written is the newer."""
    by_unit: dict[str, list[_File]] = {}
    for file in sorted(files, key=_number):
        by_unit.setdefault(file.name.partition("_")[0], []).append(file)
    ordered = []
    while by_unit:
        unit = max(by_unit, key=lambda unit: by_unit[unit][-1].facts.modified)
        ordered.append(by_unit[unit].pop())
        if not by_unit[unit]:
            del by_unit[unit]
    return ordered


def _number(file: _File) -> tuple[int, int]:
    match = _NAME.fullmatch(file.name)
    return (int(match[2]) if match else -1), file.facts.modified
