"""SIGTERM, SIGINT and SIGUSR1, to the whole group and to the main process alone: saved at once, and ended in order."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forks import Process
from lab import Lab, check_no_orphan, check_same, read_end, wait_for
from program import BATCHES
from sabotage import read_beacon

from mainspring.checkpoint import read_checkpoint, run_checkpoints

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}
VARIANTS = (  # they save seldom by themselves
    ("--loop", "epoch", "--save-every", "3"),
    ("--loop", "iter", "--save-by", "iter", "--save-every", "40", "--persistent"),
)


def stops(
    lab: Lab, count: int, seed: int, workers: Sequence[int] = (0, 2), groups: Sequence[bool] = (True, False)
) -> dict[str, Any]:
    """Stop runs at random moments, so many times for each signal, receiver and number of workers, and go on with them.

    In every second trial the main process is frozen while its place is read and the signal is sent, so that the signal
    surely comes within that iteration. Otherwise it comes when it comes.
    """
    rng = random.Random(seed)
    saved_at_once = trials = 0
    longest = 0.0
    for number in NUMBERS:
        for group in groups:
            for with_workers in workers:
                for trial in range(count):
                    options = VARIANTS[trials % len(VARIANTS)]
                    more = ("--workers", str(with_workers))
                    told = (
                        f"seed {seed}, {number.name} to the {'group' if group else 'main process'},"
                        f" {with_workers} workers, trial {trial}, {options}"
                    )
                    freeze = trials % 4 < 2  # with each of the variants
                    work_dir, running, process = _stopped(lab, rng, (*options, *more), number, group, freeze)
                    code = process.wait()
                    told = f"{told}, in iteration {running}\n{process.output}"
                    assert code == CODES[number], f"it ended with {code}: {told}"
                    longest = max(longest, check_no_orphan(process, told))
                    assert "Traceback" not in process.output, told
                    assert "Stopped by" in process.output, told
                    assert "handlers restored: True" in process.output, told
                    saved, last = _saved_iteration(work_dir), read_beacon(work_dir)[1]
                    # The last iteration that was begun is saved, and it is at most the one after the running one:
                    # the signal may come between the moment when a new one was announced and that when it begins.
                    assert saved == last + 1, f"iteration {last} was begun, {saved} are saved: {told}"
                    assert not freeze or last - running in (0, 1), f"it went on to iteration {last}: {told}"
                    saved_at_once += freeze
                    lab.check_end(work_dir, options, told, *more)
                    trials += 1
    return {
        "signals": trials,
        "right exit code, last iteration saved, no orphan, no traceback, end bit-identical": trials,
        "of them with the place known: saved within one iteration": saved_at_once,
        "longest life of a worker after its parent, s": round(longest, 2),
    }


def _stopped(
    lab: Lab, rng: random.Random, options: tuple[str, ...], number: int, group: bool, freeze: bool
) -> tuple[Path, int, Process]:
    """Start a run, send it a signal, and return it with the iteration that was running."""
    while True:
        work_dir = lab.work_dir()
        process = lab.start(work_dir, *options)
        if not wait_for(process, work_dir, rng.randrange(95)):
            assert process.wait() == 0, process.output
            continue
        process.ends_within(rng.uniform(0, 0.005))
        if freeze:
            process.freeze()
        phase, running = read_beacon(work_dir)
        process.send(number, group=group)
        if freeze:
            process.thaw()
        if phase != "end":
            return work_dir, running, process
        process.wait()


def _saved_iteration(work_dir: Path) -> int:
    """Return the iterations that are done in the newest checkpoint."""
    return read_checkpoint(run_checkpoints(work_dir)[0])["train_loop"]["iter"]


def _iterations(line: str) -> int:
    """Return the iterations that are done, from a log line that says when a checkpoint is saved."""
    number, unit = re.search(r" at (\d+) (epoch|iter)", line).groups()
    return int(number) * (BATCHES if unit == "epoch" else 1)


def second_signals(lab: Lab, pairs: Sequence[tuple[int, int]], workers: int) -> dict[str, Any]:
    """Send a second signal while an iteration takes a minute: the run ends at once, without saving."""
    options = ("--workers", str(workers), "--save-every", "1")
    for first, second in pairs:
        work_dir = lab.work_dir()
        process = lab.start(work_dir, *options, "--sabotage", "slow:20")
        assert wait_for(process, work_dir, 20), process.output
        process.send(first, group=True)
        while not process.ends_within(0.1):  # until the first one has been heeded, it is the same as none
            process.send(second, group=True)
        told = f"{signal.Signals(first).name} and {signal.Signals(second).name}\n{process.output}"
        assert process.wait() in (CODES[first], CODES[second]), f"it ended with {process.wait()}: {told}"
        check_no_orphan(process, told)
        assert _saved_iteration(work_dir) == 14, f"only the epoch's checkpoint should be there: {told}"
        lab.check_end(work_dir, ("--save-every", "1"), told)
    return {"second signals that ended a run at once": len(pairs)}


def saves_on_request(lab: Lab, count: int, seed: int, workers: int) -> dict[str, Any]:
    """Send SIGUSR1 to runs that are told to save and go on."""
    rng = random.Random(seed)
    on_request = 0
    for trial in range(count):
        options = VARIANTS[trial % len(VARIANTS)]
        told = f"seed {seed}, trial {trial}, SIGUSR1 with on_usr1='save', {options}"
        more = ("--workers", str(workers), "--on-usr1", "save")
        work_dir, running, process = _stopped(lab, rng, (*options, *more), signal.SIGUSR1, True, True)
        assert process.wait() == 0, f"{told}\n{process.output}"
        asked = " iterations, as a signal asked"
        saved = [_iterations(line) for line in process.output.splitlines() if asked in line]
        # Where a checkpoint of that place is there anyway, or the run ends, nothing more is saved.
        saves = [_iterations(line) for line in process.output.splitlines() if "checkpoint" in line and " at " in line]
        near = range(running, running + 3)
        assert any(iteration in near for iteration in saved or saves), f"{told}, {running}\n{process.output}"
        on_request += bool(saved)
        check_same(read_end(work_dir), lab.undisturbed(*options), told)
    return {"SIGUSR1 that let the run go on": count, "of them that came where nothing was saved anyway": on_request}
