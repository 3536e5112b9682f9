"""SIGKILL at random moments, at every boundary, inside writes, and between the steps by which files get their names."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from forks import fresh
from lab import KILLED, Lab, check_no_orphan, check_same, read_end, wait_for, whole_checkpoints
from sabotage import PHASES, read_beacon

from mainspring.checkpoint import read_checkpoint, run_checkpoints

VARIANTS = (
    ("--loop", "epoch"),
    ("--loop", "iter", "--save-by", "iter", "--save-every", "7", "--persistent"),
    ("--loop", "epoch", "--save-by", "iter", "--save-every", "5", "--keep", "1"),
    ("--loop", "iter", "--save-by", "iter", "--save-every", "1", "--keep", "3"),
    ("--loop", "epoch", "--save-by", "iter", "--save-every", "6", "--running-streams"),
)


def random_kills(lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """Kill runs at random moments, each up to 8 times, and let them come to their end.

    Half of the kills go to the main process alone, whose workers then have to notice.
    """
    rng = random.Random(seed)
    phases: Counter[str] = Counter()
    in_write = runs = 0
    longest = 0.0
    while phases.total() < count:
        options, workers = VARIANTS[runs % len(VARIANTS)], "02"[runs % 2]
        work_dir, runs, killed = lab.work_dir(), runs + 1, 0
        while killed < 8:
            told = f"seed {seed}, run {runs} {options} with {workers} workers, after {killed} kills"
            process = lab.start(work_dir, *options, "--workers", workers)
            if not process.ends_within(rng.uniform(0, 1.2) * lab.seconds(*options)):
                process.send(signal.SIGKILL, group=rng.random() < 0.5)
            code = process.wait()
            assert code in (0, KILLED), f"{told}: ended with {code}\n{process.output}"
            if code == 0:
                break
            killed += 1
            phases[read_beacon(work_dir)[0]] += 1
            longest = max(longest, check_no_orphan(process, told))
            in_write += any(work_dir.glob(".*.pth.tmp"))
            whole_checkpoints(work_dir)
        lab.check_end(work_dir, options, told, "--workers", workers)
    return {
        "kills": phases.total(),
        "runs that ended bit-identical": runs,
        **{f"of them in the phase {phase!r}": phases[phase] for phase in PHASES},
        "of them while a checkpoint was being written": in_write,
        "longest life of a worker after its parent, s": round(longest, 2),
    }


def workers_agree(lab: Lab, count: int = len(VARIANTS)) -> dict[str, Any]:
    """Let undisturbed runs with 0 and 2 workers end alike."""
    for options in VARIANTS[:count]:
        check_same(lab.end_of(lab.work_dir(), *options, "--workers", "2"), lab.undisturbed(*options), "2 workers")
    return {"variants with the same bits with 0 and 2 workers": count}


def fresh_interpreters(lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """Kill and resume runs that begin as a user's do, in a new interpreter, and compare them with forked ones."""
    rng = random.Random(seed)
    for number in range(count):
        options, work_dir = VARIANTS[number % len(VARIANTS)], lab.work_dir()
        arguments = (str(work_dir), *options, "--workers", "02"[number % 2])
        process = fresh(lab.folder / f"fresh_{number}_killed.log", "program.py", *arguments)
        told = f"fresh interpreter, seed {seed}, number {number}"
        assert wait_for(process, work_dir, rng.randrange(90)), f"{told}\n{process.output}"
        process.send(signal.SIGKILL)
        assert process.wait() == KILLED, f"{told}\n{process.output}"
        check_no_orphan(process, told)
        again = fresh(lab.folder / f"fresh_{number}.log", "program.py", *arguments)
        assert again.wait() == 0, f"{told}\n{again.output}"
        check_same(read_end(work_dir), lab.undisturbed(*options), told)
    return {"killed and resumed in fresh interpreters": count}


TWO_EPOCHS = tuple(
    ("--epochs", "2", "--loop", loop, "--save-by", save_by)
    for loop, save_by in (("epoch", "epoch"), ("epoch", "iter"), ("iter", "iter"), ("iter", "epoch"))
)


def boundaries(lab: Lab, count: int | None, seed: int, variants: Sequence[int] = range(4)) -> dict[str, Any]:
    """Kill runs of two epochs at each boundary between two calls of hooks, or at so many, each of another stage."""
    figures = {}
    for options in (TWO_EPOCHS[variant] for variant in variants):
        names = _places(lab, options, "boundaries")
        chosen = range(len(names)) if count is None else _of_different_stages(names, count, seed)
        _kill_at(lab, options, "boundary", chosen, names)
        _, _, _, loop, _, save_by = options
        figures[f"boundaries, loop by {loop}, saves by {save_by}"] = f"{len(chosen)} of {len(names)}"
    return figures


def file_calls(lab: Lab, every: int) -> dict[str, Any]:
    """Kill a run that keeps one checkpoint before and after the system calls that name, flush and delete its files."""
    options = (*TWO_EPOCHS[1], "--save-every", "7", "--keep", "1")
    names = _places(lab, options, "files")
    chosen = range(0, len(names), every)
    killed = _kill_at(lab, options, "file", chosen, names)
    return {"kills before and after fsync, replace, rename, unlink": f"{killed} of {len(names)}"}


def _places(lab: Lab, options: tuple[str, ...], kind: str) -> list[str]:
    record = lab.work_dir().with_suffix(".json")
    lab.check_end(lab.work_dir(), options, "nothing but looking on", "--sabotage", f"{kind}:{record}")
    return json.loads(record.read_text())


def _of_different_stages(names: Sequence[str], count: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    by_stage: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        by_stage.setdefault(name.partition(" ")[0], []).append(number)
    return sorted(rng.choice(by_stage[stage]) for stage in rng.sample(list(by_stage), count))


def _kill_at(lab: Lab, options: tuple[str, ...], kind: str, chosen: Sequence[int], names: Sequence[str]) -> int:
    killed = 0
    for number in chosen:
        work_dir = lab.work_dir()
        told = f"{options}, killed at {kind} {number}: {names[number]}"
        process = lab.start(work_dir, *options, "--sabotage", f"{kind}:{number}")
        code = process.wait()
        # Threads take turns as they like, and with them the calls for files: the last may not come.
        assert code == KILLED or (kind == "file" and code == 0), f"{told}, ended with {code}\n{process.output}"
        killed += code == KILLED
        whole_checkpoints(work_dir)
        lab.check_end(work_dir, options, told)
    return killed


def writes(lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """Kill runs that keep one checkpoint while they write, when a random number of its bytes is in the file."""
    rng = random.Random(seed)
    options = ("--save-by", "iter", "--save-every", "4", "--keep", "1")
    size = _size_of_a_checkpoint(lab, options)
    killed = recovered = runs = 0
    shares = []
    while killed < count:
        work_dir, last = lab.work_dir(), 0
        runs += 1
        for attempt in _endless():
            number, position = rng.randint(1, 6), rng.randrange(size)
            told = f"seed {seed}, run {runs}, start {attempt}, byte {position} of write {number}"
            process = lab.start(work_dir, *options, "--sabotage", f"write:{number}:{position}")
            code = process.wait()
            if attempt and last:  # a checkpoint was there, and the run has found it
                assert "Resumed from" in process.output or code == KILLED, f"{told}\n{process.output}"
            if code == 0:
                break
            assert code == KILLED, f"{told}, ended with {code}\n{process.output}"
            killed += 1
            torn = [file.stat().st_size for file in work_dir.glob(".*.pth.tmp")]
            assert torn == [position], f"{told}: the temporary files have {torn} bytes"
            shares.append(position / size)
            now = _newest(work_dir)
            assert now >= last, f"{told}: the newest whole checkpoint was of iteration {last}, and is of {now}"
            recovered += now > 0 or number == 1
            last = now
        check_same(read_end(work_dir), lab.undisturbed(*options), told)
    return {
        "kills inside a write": killed,
        "of them with every earlier checkpoint whole": recovered,
        "places, from the start to the end of the file": f"{min(shares):.1%} to {max(shares):.1%}",
        "runs that ended bit-identical": runs,
    }


def _size_of_a_checkpoint(lab: Lab, options: tuple[str, ...]) -> int:
    work_dir = lab.work_dir()
    lab.end_of(work_dir, *options)
    return min(file.stat().st_size for file in work_dir.glob("*.pth"))


def _newest(work_dir: Path) -> int:
    """Return the iteration of the newest checkpoint; all must be whole."""
    if not whole_checkpoints(work_dir):
        return 0
    return read_checkpoint(run_checkpoints(work_dir)[0])["train_loop"]["iter"]


def _endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
