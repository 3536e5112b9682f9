"""The checkpoint that a run goes on from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..checkpoint import (
    CheckpointError,
    CheckpointFile,
    CheckpointFolder,
    newest_whole,
    read_checkpoint,
    run_checkpoints,
)
from ..hooks import CheckpointHook
from ..hooks.checkpoint_files import folder_for
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
        content: What stands in the file, if it was read already.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str] | None,
        passed_over: Mapping[CheckpointFile, str] | None = None,
        trust: bool = False,
        content: dict[str, Any] | None = None,
    ) -> None:
        self.filename = filename
        self.passed_over = [] if passed_over is None else list(passed_over.values())
        self._examined = None if passed_over is None else {*passed_over, filename}
        self._trust = trust
        self._content = content

    def seed(self) -> int | None:
        """Return the seed of the run that wrote it, or None where there is none."""
        if self.filename is None:
            return None
        if self._content is None:
            self._content = read_checkpoint(self.filename, trust=self._trust)
        seed = self._content.get("meta", {}).get("seed")
        return seed if isinstance(seed, int) else None

    def is_stale(self, folders: Sequence[CheckpointFolder]) -> bool:
        """Whether the newest checkpoint is another one now than when this one was chosen."""
        newest = next(iter(run_checkpoints(*folders)), None) if self._examined is not None else None
        return newest is not None and self._examined is not None and newest not in self._examined

    def take(self, filename: str | os.PathLike[str], map_location: Any) -> dict[str, Any]:
        """Return the content of a checkpoint: what was read before, which is forgotten, or else of the file."""
        content, self._content = self._content, None
        mine = self.filename is not None and os.fspath(filename) == os.fspath(self.filename)
        if content is None or not mine or map_location != "cpu":
            return read_checkpoint(filename, map_location, trust=self._trust)
        return content


def starting_point(
    folders: Sequence[CheckpointFolder],
    load_from: str | os.PathLike[str] | None,
    resume: bool | str,
    trust: bool = False,
) -> tuple[str | os.PathLike[str] | None, EarlierRun]:
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
    if resume is True and load_from is not None:
        return None, EarlierRun(load_from, trust=trust)
    if not resume:
        return load_from, EarlierRun(None, trust=trust)
    found = newest_whole(*folders, read=read_checkpoint)
    if found.file is not None:
        return None, EarlierRun(found.file, found.damaged, trust, found.content)
    if found.damaged:
        raise CheckpointError(
            f"Not one of the checkpoints in {display_path(folders[0])!r} is whole, so that no run can go on:"
            f" {' '.join(found.damaged.values())} To begin anew, pass resume=False."
        )
    return load_from, EarlierRun(None, {}, trust)


def checkpoint_folders(
    work_dir: str | os.PathLike[str], default_hooks: Mapping[str, Any] | None, custom_hooks: Sequence[Any] | None
) -> list[CheckpointFolder]:
    """Return the directories in which the hooks of a run keep checkpoints: the work directory, and any ``out_dir``.

    The hooks are not built yet: what is wrong with their arguments is said when they are.
    """
    if "://" in os.fspath(work_dir):
        raise ValueError(
            f"work_dir is {os.fspath(work_dir)!r}, but the log and the scalars can only go to a directory of this"
            " machine. For the checkpoints alone, pass the URL as out_dir of the CheckpointHook."
        )
    folders = [folder_for(work_dir, None)]
    hooks = list(default_hooks.values()) if isinstance(default_hooks, Mapping) else []
    hooks += custom_hooks if isinstance(custom_hooks, (list, tuple)) else []
    for hook in hooks:
        if not issubclass(_kind(hook), CheckpointHook):
            continue
        given = hook if isinstance(hook, Mapping) else vars(hook)
        places = [given.get(name) for name in ("out_dir", "backend_args", "file_client_args")]
        if places[0] is not None:
            with suppress(TypeError, ValueError, ImportError):
                folders.append(folder_for(work_dir, *places))
    unique: dict[str, CheckpointFolder] = {}
    for folder in folders:  # a hook may name the work directory, or another's place, and each is locked once
        unique.setdefault(folder.same_place(), folder)
    return list(unique.values())


def _kind(hook: Any) -> type:
    """Return the class of a hook, or of the one that a config describes."""
    kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
    found: Any = kind
    if isinstance(kind, str):
        with suppress(ImportError):
            found = HOOKS.get(kind)
    return found if isinstance(found, type) else object
