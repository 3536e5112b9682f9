"""How long a run that goes on takes to its first step, at iteration 100,000 beside iteration 100.

For each loader two checkpoints are made, which differ in the position alone. Each round makes a runner, resumes it from
the one and then from the other, and takes the time from ``train()`` to the end of the first step, the data that it
reads included. The ratio should be about 1: a position is sought, not replayed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mainspring import BaseModel, Hook, Runner

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    print(f"{'milliseconds to the first step':32s}  at {NEAR:>7,}      at {FAR:>7,}        ratio    samples read")
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
            for number in range(arguments.rounds + 1):
                order = (NEAR, FAR) if number % 2 else (FAR, NEAR)
                for iteration in order:
                    taken, read = first_step(files[iteration], kind)
                    if number:  # the first round warms up
                        seconds[iteration].append(taken)
        near, far = seconds[NEAR], seconds[FAR]
        told = "   ".join(f"{1e3 * min(s):5.1f} / {1e3 * statistics.median(s):5.1f}" for s in (near, far))
        ratio = min(far) / min(near)
        print(f"{kind:30s}  {told}  {ratio:6.2f} / {statistics.median(far) / statistics.median(near):.2f}  {read:6d}")
        figures[kind] = {"near": near, "far": far, "ratio_of_minima": ratio, "samples_read": read}
    print("minimum / median")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
