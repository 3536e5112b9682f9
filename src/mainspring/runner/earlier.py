"""The checkpoint that a run goes on from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..checkpoint import CheckpointError, read_checkpoint, run_checkpoints, verify_checkpoint
from ..hooks import CheckpointHook
from ..registry import HOOKS
from ..utils import display_path

__all__ = ["EarlierRun", "checkpoint_folders", "starting_point"]


class EarlierRun:
    """The checkpoint that a run goes on from: read once, though the seed is asked for long before the rest.

    Args:
        filename: The file, or None where the run begins anew.
        passed_over: Newer files that are damaged, with what to tell the user of each; None where the user has named
            the file.
        trust: Read objects of any class, which runs code that the file names.
    """

    def __init__(
        self, filename: str | None, passed_over: Mapping[Path, str] | None = None, trust: bool = False
    ) -> None:
        self.filename = filename
        self.passed_over = [] if passed_over is None else list(passed_over.values())
        self._examined = None if passed_over is None else {*passed_over, Path(filename or "")}
        self._trust = trust
        self._content: dict[str, Any] | None = None

    def seed(self) -> int | None:
        """Return the seed of the run that wrote it, or None where there is none."""
        if self.filename is None:
            return None
        self._content = read_checkpoint(self.filename, trust=self._trust)
        seed = self._content.get("meta", {}).get("seed")
        return seed if isinstance(seed, int) else None

    def is_stale(self, folders: Sequence[Path]) -> bool:
        """Whether the newest checkpoint is another one now than when this one was chosen."""
        newest = next(iter(run_checkpoints(*folders)), None) if self._examined is not None else None
        return newest is not None and self._examined is not None and newest not in self._examined

    def take(self, filename: str | os.PathLike[str], map_location: Any) -> dict[str, Any]:
        """Return the content of a checkpoint: what was read for the seed, which is forgotten, or else of the file."""
        content, self._content = self._content, None
        if content is None or os.fspath(filename) != self.filename or map_location != "cpu":
            return read_checkpoint(filename, map_location, trust=self._trust)
        return content


def starting_point(
    folders: Sequence[Path], load_from: str | os.PathLike[str] | None, resume: bool | str, trust: bool = False
) -> tuple[str | None, EarlierRun]:
    """Return the checkpoint to take weights from, and the one to go on from; at most one of them is there.

    Args:
        folders: Where checkpoints of the run may lie, the work directory first.
        load_from: As the runner got it.
        resume: As the runner got it.
        trust: As the runner got it.

    Raises:
        CheckpointError: The folders hold checkpoints, but not one of them is whole.
    """
    if not isinstance(resume, bool) and resume != "auto":
        raise ValueError(
            f"resume must be True, False or 'auto', but it is {resume!r}. To go on from a certain checkpoint, name it"
            " in load_from, and pass resume=True."
        )
    weights = None if load_from is None else os.fspath(load_from)
    if resume is True and weights is not None:
        return None, EarlierRun(weights, trust=trust)
    if not resume:
        return weights, EarlierRun(None, trust=trust)
    damaged: dict[Path, str] = {}
    for file in run_checkpoints(*folders):
        try:
            verify_checkpoint(file)
        except CheckpointError as error:
            damaged[file] = str(error)
        except FileNotFoundError:  # a run that is still on has deleted it
            continue
        else:
            return None, EarlierRun(str(file), damaged, trust)
    if damaged:
        raise CheckpointError(
            f"Not one of the checkpoints in {display_path(folders[0])!r} is whole, so that no run can go on:"
            f" {' '.join(damaged.values())} To begin anew, pass resume=False."
        )
    return weights, EarlierRun(None, {}, trust)


def checkpoint_folders(
    work_dir: str | os.PathLike[str], default_hooks: Mapping[str, Any] | None, custom_hooks: Sequence[Any] | None
) -> list[Path]:
    """Return the directories in which the hooks of a run keep checkpoints: the work directory, and any ``out_dir``.

    The hooks are not built yet: what is wrong with them is said when they are.
    """
    directory = Path(work_dir).expanduser().absolute()
    folders = [directory]
    hooks = list(default_hooks.values()) if isinstance(default_hooks, Mapping) else []
    hooks += custom_hooks if isinstance(custom_hooks, (list, tuple)) else []
    for hook in hooks:
        out_dir = hook.get("out_dir") if isinstance(hook, Mapping) else getattr(hook, "out_dir", None)
        if isinstance(out_dir, str | os.PathLike) and issubclass(_kind(hook), CheckpointHook):
            folders.append(Path(out_dir).absolute() / directory.resolve().name)
    return folders


def _kind(hook: Any) -> type:
    """Return the class of a hook, or of the one that a config describes."""
    kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
    found: Any = kind
    if isinstance(kind, str):
        with suppress(ImportError):
            found = HOOKS.get(kind)
    return found if isinstance(found, type) else object
