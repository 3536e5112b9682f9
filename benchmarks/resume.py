"""How long a run that goes on takes to its first step, at iteration 100,000 beside iteration 100.

For each loader two checkpoints are made, which differ in the position alone. Each round makes a runner, resumes it from
the one and then from the other, and takes the time from ``train()`` to the end of the first step, the data that it
reads included. The ratio should be about 1: a position is sought, not replayed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import measure
from mainspring import BaseModel, Hook, Runner
from measure import MILLI

SAMPLES = 50_000
BATCH = 8
NEAR, FAR = 100, 100_000


class Numbers(Dataset[tuple[torch.Tensor, int]]):
    """Vectors that cost nearly nothing; it counts how many were read."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.read += 1
        return torch.full((32,), index / SAMPLES), index % 10


class Net(BaseModel):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor, y: torch.Tensor, mode: str) -> Any:
        """Return the loss."""
        return {"loss": nn.functional.cross_entropy(self.layer(x), y)}


class FirstStep(Hook):
    """Notes when the first step is over, and ends the run."""

    ended = 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Note the time."""
        self.ended = time.perf_counter()
        runner.train_loop.stop_training = True


def loader_of(kind: str, dataset: Numbers) -> Any:
    """Return one of the loaders that are measured."""
    if kind == "torch, shuffle=True":
        return DataLoader(dataset, batch_size=BATCH, shuffle=True)
    sampler = {"type": kind, "shuffle": True}
    return {"dataset": dataset, "batch_size": BATCH, "sampler": sampler, "collate_fn": "default_collate"}


def make(work_dir: Path, kind: str, dataset: Numbers, **options: Any) -> tuple[Runner, FirstStep]:
    """Return a runner, and the hook that ends it."""
    hook = FirstStep()
    runner = Runner(
        model={"type": Net},
        work_dir=work_dir,
        train_dataloader=loader_of(kind, dataset),
        train_cfg={"by_epoch": False, "max_iters": 10 * FAR},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        default_hooks={"checkpoint": None, "summary": None, "progress": None},
        custom_hooks=[hook],
        randomness={"seed": 0},
        log_level="ERROR",
        **options,
    )
    return runner, hook


def first_step(checkpoint: Path, kind: str) -> tuple[float, int]:
    """Resume, and return the seconds until the first step was over, and how many samples were read."""
    dataset = Numbers()
    runner, hook = make(checkpoint.parent, kind, dataset, load_from=checkpoint, resume=True)
    begin = time.perf_counter()
    runner.train()
    return hook.ended - begin, dataset.read


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=15))
    report = measure.Report("resume", options)
    table = measure.Table(
        "ms to the first step (least / median)", f"at {NEAR:,}", f"at {FAR:,}", "ratio", "samples read"
    )
    for kind in ("DefaultSampler", "InfiniteSampler", "torch, shuffle=True"):
        with tempfile.TemporaryDirectory() as directory:
            files = {}
            for iteration in (NEAR, FAR):
                runner, _ = make(Path(directory), kind, Numbers())
                runner.train()
                runner.train_loop.load_state_dict({"epoch": 0, "iter": iteration})
                runner.save_checkpoint(directory, f"iter_{iteration}.pth")
                files[iteration] = Path(directory) / f"iter_{iteration}.pth"
            seconds: dict[int, list[float]] = {NEAR: [], FAR: []}
            for number in range(options.rounds + 1):
                order = (NEAR, FAR) if number % 2 else (FAR, NEAR)
                for iteration in order:
                    taken, read = first_step(files[iteration], kind)
                    if number:  # the first round warms up
                        seconds[iteration].append(taken)
        near, far = seconds[NEAR], seconds[FAR]
        report.keep(kind, {"near": near, "far": far, "samples read": read})
        figures = (measure.low_and_middle(many, MILLI) for many in (near, far))
        table.add(kind, *figures, measure.ratio(far, near), f"{read}")
    report.say(table)
    report.close()


if __name__ == "__main__":
    main()
