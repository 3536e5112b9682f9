"""What befalls a training process of the fault trials at a chosen place, and how it tells where it is.

The program takes ``--sabotage`` with one of these:

==================  ============================================================================================
``boundary:N``      SIGKILL at the N-th call of a hook's stage, counted from 0: each stage is one boundary before all
                    other hooks and one behind them
``boundaries:FILE`` no harm: write the names of these into a file
``file:N``          SIGKILL before (even N) or after (odd N) one of the system calls by which files get their names
                    and lose them: ``fsync``, ``replace``, ``rename``, ``unlink``
``files:FILE``      no harm: write the names of these into a file
``write:K:N``       SIGKILL in the K-th write of a checkpoint, from 1, when N bytes of it are in the file
``limit:K:N``       from the K-th write of a checkpoint on, no file may be larger than N bytes (``ulimit -f``)
``full:K``          at the K-th write of a checkpoint, the disk of the work directory has only 20 kB left
``at:N``            SIGKILL in iteration N, from 0
``slow:N``          iteration N takes a minute
``heir:N``          the same, and the process has forked another that outlives it
==================  ============================================================================================

SIGKILL comes from the process itself, so that the place is exact; to the process it is the same as from outside.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mainspring.checkpoint import writing
from mainspring.hooks import Hook

_BEACON = struct.Struct("=qq")
PHASES = ("start", "training", "validation", "end")


class Beacon(Hook):
    """Writes the phase of the run and its running iteration into memory that outlives the process."""

    priority = "HIGHEST"

    def __init__(self, work_dir: Path) -> None:
        with beacon_file(work_dir).open("w+b") as file:
            file.truncate(_BEACON.size)
            self._memory = mmap.mmap(file.fileno(), _BEACON.size)

    def _tell(self, phase: str, iteration: int) -> None:
        _BEACON.pack_into(self._memory, 0, PHASES.index(phase), iteration)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._tell("training", runner.iter)

    def before_val(self, runner):
        self._tell("validation", runner.iter - 1)

    def after_train(self, runner):
        self._tell("end", runner.iter - 1)


def beacon_file(work_dir: Path) -> Path:
    return work_dir.with_name(f"{work_dir.name}.beacon")


def read_beacon(work_dir: Path) -> tuple[str, int]:
    """Return the phase in which a process is, or was when it ended, and the last iteration that it has begun."""
    data = beacon_file(work_dir).read_bytes() if beacon_file(work_dir).exists() else b""
    if len(data) < _BEACON.size:
        return "start", 0
    phase, iteration = _BEACON.unpack(data)
    return PHASES[phase], iteration


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Places:
    """Counts places as they are passed, writes them down, and dies at one of them."""

    def __init__(self, fatal: int | None, record: Path | None) -> None:
        self.fatal = fatal
        self.record = record
        self.names: list[str] = []

    def pass_by(self, name: str) -> None:
        if len(self.names) == self.fatal:
            die()
        self.names.append(name)

    def write(self) -> None:
        if self.record is not None:
            self.record.write_text(json.dumps(self.names))


class Boundaries(Hook):
    """Passes a place in every stage."""

    def __init__(self, places: Places, priority: str, last: bool) -> None:
        self.priority = priority
        for stage in Hook.stages:
            setattr(self, stage, self._at(stage, places, "behind" if last else "ahead"))
        self.close = places.write

    @staticmethod
    def _at(stage: str, places: Places, where: str) -> Callable[..., None]:
        def act(runner: Any, **kwargs: Any) -> None:
            places.pass_by(f"{stage} at iteration {runner.iter}, {where} of the hooks")

        return act


def watch_files(places: Places) -> None:
    """Pass a place before and after every system call that matters to the names of files."""

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            target = args[-1] if isinstance(args[-1], (str, os.PathLike)) else ""
            places.pass_by(f"before {name} {Path(target).name}")
            result = call(*args, **kwargs)
            places.pass_by(f"after {name} {Path(target).name}")
            return result

        return wrapper

    for name in ("fsync", "replace", "rename", "unlink"):
        setattr(os, name, watched(name, getattr(os, name)))


class _Mortal:
    """A file whose process dies when so many bytes are in it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.left = size

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if len(view) >= self.left:
            self.file.write(view[: self.left])
            self.file.flush()
            die()
        self.left -= len(view)
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def at_write(number: int, harm: Callable[[IO[bytes]], Any]) -> None:
    """Let the file of the ``number``-th write of a checkpoint pass through ``harm``."""
    original = writing.atomic_write
    count = 0

    @contextmanager
    def atomic_write(path: str | os.PathLike[str]) -> Iterator[Any]:
        nonlocal count
        count += 1
        with original(path) as file:
            yield harm(file) if count == number else file

    writing.atomic_write = atomic_write


class InIteration(Hook):
    """Does something in one iteration."""

    priority = "LOWEST"

    def __init__(self, iteration: int, act: Callable[[], object]) -> None:
        self.iteration = iteration
        self.act = act

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            self.act()


def take_a_minute() -> None:
    time.sleep(60)


def leave_an_heir() -> None:
    """Fork a process with all that this one has, and wait."""
    os.fork()
    take_a_minute()


def fill_disk(ballast: Path, leave: int) -> None:
    """Fill a disk, which must be a small one, with a file."""
    free = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - leave))


def sabotage_hooks(text: str, work_dir: Path) -> list[Hook]:
    """Prepare what ``text`` says, and return the hooks that it takes."""
    kind, _, rest = text.partition(":")
    if kind in ("boundary", "boundaries"):
        places = Places(int(rest), None) if kind == "boundary" else Places(None, Path(rest))
        return [Boundaries(places, "HIGHEST", last=False), Boundaries(places, "LOWEST", last=True)]
    if kind in ("file", "files"):
        places = Places(int(rest), None) if kind == "file" else Places(None, Path(rest))
        watch_files(places)
        recorder = Hook()
        recorder.after_run = lambda runner: places.write()
        return [recorder]
    if kind == "full":

        def with_full_disk(file: IO[bytes]) -> IO[bytes]:
            fill_disk(work_dir.with_name("ballast"), leave=20_000)
            return file

        at_write(int(rest), with_full_disk)
        return []
    if kind in ("write", "limit"):
        number, size = (int(word) for word in rest.split(":"))

        def limited(file: IO[bytes]) -> IO[bytes]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            return file

        at_write(number, limited if kind == "limit" else lambda file: _Mortal(file, size))
        return []
    acts = {"at": die, "slow": take_a_minute, "heir": leave_an_heir}
    if kind in acts:
        return [InIteration(int(rest), acts[kind])]
    if text:
        raise ValueError(f"There is no sabotage {text!r}.")
    return []
