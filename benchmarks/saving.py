"""How long a save keeps the training waiting, and how long its file takes, beside ``torch.save`` to the same disk.

Both write the same state in turn, in each round. Two ratios come out:

- kept: ``CheckpointWriter.save()``, from the second save on, to ``torch.save()``. At most 0.2 is promised. A process
  was forked right before, as workers of a data loader are: memory that is shared with it would be slow to overwrite.
- whole: until the file stands under its name, checked by its digest and on the disk, to ``torch.save()`` followed by
  an ``fsync``. At most 2 is promised.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

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


def measure(state: dict[str, Any], directory: Path, rounds: int) -> dict[str, list[float]]:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000, help="size of the state")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dir", type=Path, help="where to write; a temporary directory by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        seconds = measure(make_state(arguments.mb), Path(directory), arguments.rounds)
    print(f"{arguments.mb} MB, {arguments.rounds} rounds     min  median  (seconds)")
    for name, values in seconds.items():
        print(f"{name:20s} {min(values):7.3f} {statistics.median(values):7.3f}")
    ratios = {
        "kept": [a / b for a, b in zip(seconds["kept by us"], seconds["kept by torch.save"], strict=True)],
        "whole": [a / b for a, b in zip(seconds["whole by us"], seconds["torch.save + fsync"], strict=True)],
    }
    print("ratio of a round         min  median")
    for name, promised in (("kept", 0.2), ("whole", 2.0)):
        print(f"{name:20s} {min(ratios[name]):7.3f} {statistics.median(ratios[name]):7.3f}  (promised: {promised})")
    if arguments.json:
        figures = {"mb": arguments.mb, "rounds": arguments.rounds, "seconds": seconds, "ratios": ratios}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
