"""The files of a run's checkpoints: what makes room for a new one, and what it makes superfluous."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..utils import atomic_write, display_path

__all__ = ["bytes_of", "check_name", "check_space", "finish", "only_names", "remove_temporaries", "set_aside"]

_MB = 2**20


def finish(pointer: Path | None, file: Path, superfluous: Sequence[Path]) -> None:
    """Point to a checkpoint that stands complete, and delete those that it makes superfluous.

    Args:
        pointer: The file that names the newest checkpoint, or None to leave it as it is.
        file: The checkpoint.
        superfluous: What goes.
    """
    if pointer is not None:
        with atomic_write(pointer) as target:
            target.write(str(file.absolute()).encode())
    for old in superfluous:
        old.unlink(missing_ok=True)


def set_aside(files: Sequence[Path], pointer: Path) -> Path:
    """Move the checkpoints of an earlier run, and the pointer to its newest, into a folder beside them, and return it.

    The newest goes last: after a kill in between, it is still the one from which a run would go on.

    Args:
        files: The newest first.
        pointer: The pointer, if there is one.
    """
    ordered = sorted(files, key=lambda file: file.stat().st_mtime)
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(ordered[-1].stat().st_mtime))
    name = folder = ordered[0].with_name(f"earlier_{stamp}")
    number = 1
    while folder.exists():
        number += 1
        folder = name.with_name(f"{name.name}_{number}")
    folder.mkdir()
    for file in [*reversed(files), pointer]:
        if file.exists():
            file.rename(folder / file.name)
    return folder


def remove_temporaries(directory: Path) -> None:
    """Remove what writers that were killed have left; the run has the directory to itself."""
    for name in (".*.pth.tmp", ".last_checkpoint.tmp"):
        for file in directory.glob(name):
            file.unlink(missing_ok=True)


def check_name(template: str, owner: str) -> None:
    """Refuse a template of file names that leads out of the directory, or is the same for every number."""
    if Path(template).name != template or "\\" in template:
        raise ValueError(
            f"{owner}: filename_tmpl must be the name of a file, without a directory, but it is {template!r}. To keep"
            " checkpoints elsewhere, pass out_dir."
        )
    if template.format(1) == template.format(2):
        raise ValueError(f"{owner}: filename_tmpl must have a {{}} for the number, but it is {template!r}.")


def only_names(names: Iterable[Any]) -> list[str]:
    """Return those of the names, from a file that may be anyone's, that stay within a directory."""
    return [name for name in names if isinstance(name, str) and Path(name).name == name and name != ".."]


def bytes_of(checkpoint: Any) -> int:
    """Return how many bytes the tensors of a checkpoint take, each storage counted once."""
    sizes: dict[tuple[torch.device, int], int] = {}
    waiting = [checkpoint]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, torch.Tensor) and value.layout is torch.strided:
            storage = value.untyped_storage()
            sizes[value.device, storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def check_space(directory: Path, size: int, files: int) -> str:
    """Compare the free disk with what checkpoints will take.

    Args:
        directory: Where they go.
        size: Bytes of one.
        files: How many will stand there at once, with the one that is being written.

    Returns:
        A warning if not all of them will fit; otherwise an empty string.

    Raises:
        OSError: Not even one fits.
    """
    free = shutil.disk_usage(directory).free
    where = display_path(directory)
    if free < size:
        raise OSError(
            f"A checkpoint takes {size / _MB:,.0f} MB, but the disk of {where!r} has only {free / _MB:,.0f} MB left."
            " Make room, or pass another work_dir, or out_dir of CheckpointHook."
        )
    if free < size * files:
        return (
            f"{files} checkpoints of {size / _MB:,.0f} MB each will stand in {where!r} at once, but its disk has only"
            f" {free / _MB:,.0f} MB left. Make room, or keep fewer: max_keep_ckpts of CheckpointHook."
        )
    return ""
