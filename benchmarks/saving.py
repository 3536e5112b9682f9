"""How long a save keeps the training waiting, and how long its file takes, beside ``torch.save`` to the same disk.

Both write the same state in turn, in each round. Two ratios come out:

- kept: ``CheckpointWriter.save()``, from the second save on, to ``torch.save()``. At most 0.2 is promised. A process
  was forked right before, as workers of a data loader are: memory that is shared with it would be slow to overwrite.
- whole: until the file stands under its name, checked by its digest and on the disk, to ``torch.save()`` followed by
  an ``fsync``. At most 2 is promised.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import measure
from mainspring.checkpoint.writer import CheckpointWriter

SIDE = 1000  # of a weight matrix; a layer's matrix and bias, with two moments each, take 12 MB


def make_state(megabytes: int) -> dict[str, Any]:
    """Return weights and Adam's state, of about as many megabytes."""
    weights: dict[str, torch.Tensor] = {}
    for layer in range(max(1, round(megabytes / 12))):
        weights[f"layers.{layer}.weight"] = torch.randn(SIDE, SIDE)
        weights[f"layers.{layer}.bias"] = torch.randn(SIDE)
    moments = {
        index: {"step": torch.tensor(10.0), "exp_avg": torch.randn_like(w), "exp_avg_sq": torch.rand_like(w)}
        for index, w in enumerate(weights.values())
    }
    return {"state_dict": weights, "optimizer": {"state": moments, "param_groups": [{"lr": 1e-3}]}}


def new_file(directory: Path) -> Path:
    """Return where to write, in a directory that is empty now: nobody pays for the blocks of an earlier file."""
    for old in directory.iterdir():
        old.unlink()
    return directory / "state.pth"


def torch_save(state: dict[str, Any], file: Path) -> tuple[float, float]:
    """Return the seconds that ``torch.save`` took, without and with an fsync."""
    begin = time.perf_counter()
    torch.save(state, file)
    saved = time.perf_counter()
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return saved - begin, time.perf_counter() - begin


def ours(writer: CheckpointWriter, state: dict[str, Any], file: Path) -> tuple[float, float]:
    """Return the seconds for which the caller was kept, and those until the file stood."""
    begin = time.perf_counter()
    writer.save(state, file)
    kept = time.perf_counter()
    writer.wait()
    return kept - begin, time.perf_counter() - begin


@contextmanager
def forked() -> Iterator[None]:
    """Have a forked process, as the workers of a data loader are."""
    if not hasattr(os, "fork"):
        yield
        return
    process = os.fork()
    if process == 0:
        signal.pause()
    try:
        yield
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def measure_in(directory: Path, state: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, by what was measured."""
    names = ("kept by torch.save", "torch.save + fsync", "kept by us", "whole by us")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    writer = CheckpointWriter()
    ours(writer, state, new_file(directory))  # takes the memory, which later saves find there
    torch_save(state, new_file(directory))
    for number in range(rounds):
        theirs_first = number % 2 == 0
        if theirs_first:
            theirs = torch_save(state, new_file(directory))
        with forked():
            mine = ours(writer, state, new_file(directory))
        if not theirs_first:
            theirs = torch_save(state, new_file(directory))
        for name, value in zip(names, (*theirs, *mine), strict=True):
            seconds[name].append(value)
    writer.close()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = measure.parser(__doc__, rounds=7)
    parser.add_argument("--mb", type=int, default=1000, help="size of the state (1000)")
    parser.add_argument("--dir", type=Path, help="where to write; a temporary directory by default")
    options = measure.options(parser)
    report = measure.Report("saving", options)
    size = 12 if options.short else options.mb
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        seconds = measure_in(Path(directory), make_state(size), options.rounds)
    report.keep("seconds", seconds)
    table = measure.Table(f"{size} MB: seconds (least / median)", "seconds", "ratio", "promised")
    for theirs, mine, promised in (("kept by torch.save", "kept by us", 0.2), ("torch.save + fsync", "whole by us", 2)):
        table.add(theirs, measure.low_and_middle(seconds[theirs], digits=3))
        ratio = measure.ratio(seconds[mine], seconds[theirs])
        table.add(mine, measure.low_and_middle(seconds[mine], digits=3), ratio, f"{promised}")
    report.say(table)
    report.close()


if __name__ == "__main__":
    main()
