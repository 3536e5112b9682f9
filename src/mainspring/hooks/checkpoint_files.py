"""The files of a run's checkpoints: what makes room for a new one, and what it makes superfluous."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import CheckpointFolder
from ..utils import atomic_write, check_type, display_path, explaining

__all__ = [
    "bytes_of",
    "check_name",
    "check_space",
    "check_writable",
    "finish",
    "folder_for",
    "only_names",
    "remove_temporaries",
    "set_aside",
]

_PROBE = ".mainspring.probe"


def folder_for(
    work_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None,
    backend_args: Mapping[str, Any] | None = None,
    file_client_args: Mapping[str, Any] | None = None,
) -> CheckpointFolder:
    """Return where the checkpoints of a run go: the work directory, or a folder of its name in another place.

    Raises:
        TypeError: ``out_dir`` is no path.
        ValueError: It is none to which anything can be written.
    """
    directory = Path(work_dir).expanduser().absolute()
    if out_dir is None:
        return CheckpointFolder(directory)
    check_type(out_dir, str | os.PathLike, "out_dir")
    return CheckpointFolder(out_dir, backend_args, file_client_args).absolute().below(directory.resolve().name)


def finish(pointer: Path | None, folder: CheckpointFolder, name: str, superfluous: Sequence[str]) -> None:
    """Point to a checkpoint that stands complete, and delete those that it makes superfluous.

    Args:
        pointer: The file that names the newest checkpoint, or None to leave it as it is.
        folder: Where all of them are.
        name: The checkpoint.
        superfluous: What goes.
    """
    if pointer is not None:
        with atomic_write(pointer) as target:
            target.write(str(folder / name).encode())
    for old in superfluous:
        folder.remove(old)


def set_aside(folder: CheckpointFolder, names: Sequence[str], pointer: Path) -> CheckpointFolder | None:
    """Move the checkpoints of an earlier run, and the pointer to its newest, into a folder beside them.

    The newest goes last: after a kill in between, it is still the one from which a run would go on.

    Args:
        folder: Where the checkpoints are.
        names: The newest first; those that are gone are passed over.
        pointer: The pointer, if there is one.

    Returns:
        The new folder, or None where there is nothing to move.
    """
    modified = {facts.name: facts.modified for facts in folder.files() if facts.name in names}
    if not modified:
        return None
    seconds = max(modified.values()) / 1e9 or time.time()
    stem = name = f"earlier_{time.strftime('%Y%m%d_%H%M%S', time.localtime(seconds))}"
    number = 1
    while folder.below(name).files():
        number += 1
        name = f"{stem}_{number}"
    with explaining(f"The checkpoints of an earlier run cannot be moved to {name!r}", folder):
        for file in reversed(names):
            if file in modified:
                folder.move(file, folder.below(name))
        if pointer.exists():
            beside = pointer.with_name(name)
            beside.mkdir(exist_ok=True)
            pointer.replace(beside / pointer.name)
    return folder.below(name)


def remove_temporaries(folder: CheckpointFolder) -> None:
    """Remove what writers that were killed have left; the run has the directory to itself."""
    for facts in folder.files():
        if facts.name.startswith(".") and facts.name.endswith((".pth.tmp", ".last_checkpoint.tmp")):
            folder.remove(facts.name)


def check_writable(folder: CheckpointFolder) -> None:
    """Write a small file and delete it, so that what is in the way is said before hours are spent.

    Raises:
        OSError: Nothing can be written there.
    """
    try:
        folder.write(lambda file: file.write(b"mainspring"), _PROBE)
        folder.remove(_PROBE)
    except OSError as error:
        raise OSError(
            f"No checkpoints can be written to {str(folder)!r}: {error}. Check the address, the keys in backend_args"
            " and what they allow, or pass another out_dir to the CheckpointHook."
        ) from error


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


def check_space(directory: str | os.PathLike[str], size: int, files: int) -> str:
    """Compare the free disk with what checkpoints will take.

    Args:
        directory: Where they go, on this machine.
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
            f"A checkpoint takes {_told(size)}, but the disk of {where!r} has only {_told(free)} left."
            " Make room, or pass another work_dir, or out_dir of CheckpointHook."
        )
    if free < size * files:
        return (
            f"{files} checkpoints of {_told(size)} each will stand in {where!r} at once, but its disk has only"
            f" {_told(free)} left. Make room, or keep fewer: max_keep_ckpts of CheckpointHook."
        )
    return ""


def _told(size: int) -> str:
    """Return a number of bytes as a person says it, such as ``'3.4 MB'``; a KB has 1,024 bytes, and so on."""
    number, unit = float(size), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1024, larger
    return f"{number:,.0f} {unit}" if number >= 10 or unit == "bytes" else f"{number:.1f} {unit}"
