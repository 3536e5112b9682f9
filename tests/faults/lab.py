"""What all fault trials share: runs of the training program, and what must be true of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from forks import Forks, Process
from sabotage import read_beacon

from mainspring.checkpoint import run_checkpoints, verify_checkpoint

KILLED = -9


class Lab:
    """Starts training programs in folders of their own, and knows how undisturbed runs end.

    Args:
        folder: Where everything goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forks = Forks(folder)
        self._count = 0
        self._ends: dict[tuple[str, ...], dict[str, Any]] = {}
        self._seconds: dict[tuple[str, ...], float] = {}

    def close(self) -> None:
        self.forks.close()

    def work_dir(self) -> Path:
        """Return a work directory that nobody has used."""
        self._count += 1
        return self.folder / f"run_{self._count}"

    def start(self, work_dir: Path, *options: str) -> Process:
        """Start the training program; it goes on where there is something to go on from."""
        return self.forks.start("program:main", str(work_dir), *options)

    def end_of(self, work_dir: Path, *options: str) -> dict[str, Any]:
        """Run the program to its end, and return that."""
        process = self.start(work_dir, *options)
        code = process.wait()
        assert code == 0, f"the run in {work_dir} ended with {code}\n{process.output}"
        return read_end(work_dir)

    def undisturbed(self, *options: str) -> dict[str, Any]:
        """Return the end of a run that nobody disturbs; it is made once."""
        if options not in self._ends:
            begin = time.monotonic()
            self._ends[options] = self.end_of(self.work_dir(), *options)
            self._seconds[options] = time.monotonic() - begin
        return self._ends[options]

    def seconds(self, *options: str) -> float:
        """Return how long the undisturbed run took."""
        self.undisturbed(*options)
        return self._seconds[options]

    def check_end(self, work_dir: Path, options: tuple[str, ...], told: str, *more: str) -> None:
        """Go on with a disturbed run to its end, which must be that of the undisturbed one in every bit.

        Args:
            work_dir: Of the run.
            options: Those that the undisturbed run has too.
            told: What has happened, for the message.
            more: Further options, which must not matter.
        """
        check_same(self.end_of(work_dir, *options, *more), self.undisturbed(*options), f"{told}, in {work_dir}")


def read_end(work_dir: Path) -> dict[str, Any]:
    return json.loads((work_dir / "end.json").read_text())


def check_same(end: dict[str, Any], expected: dict[str, Any], told: str) -> None:
    """Check that two ends are the same in every part."""
    parts = [part for part in expected if end[part] != expected[part]]
    assert not parts, f"other {', '.join(parts)} than in the undisturbed run: {told}"


def whole_checkpoints(work_dir: Path) -> int:
    """Check that every checkpoint in a directory is whole, and return their number."""
    if not work_dir.is_dir():
        return 0
    files = run_checkpoints(work_dir)
    assert set(work_dir.glob("*.pth")) == set(files), "there is a file .pth that is no checkpoint"
    for file in files:
        verify_checkpoint(file)
    return len(files)


def wait_for(process: Process, work_dir: Path, iteration: int) -> bool:
    """Wait until a run has begun an iteration, and tell whether it is still running."""
    while not process.ends_within(0.0005):
        phase, running = read_beacon(work_dir)
        if phase != "start" and running >= iteration:
            return True
    return False


def check_no_orphan(process: Process, told: str) -> float:
    """Check that nothing is left of the session of a process that has ended; return the seconds that it took."""
    begin = time.monotonic()
    left = process.wait_for_orphans()
    assert not left, f"the processes {left} have outlived theirs: {told}"
    return time.monotonic() - begin
