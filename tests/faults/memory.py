"""A long run: memory, objects and checkpoints do not grow with the number of iterations."""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from forks import fresh
from lab import Lab
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mainspring import BaseModel, Runner
from mainspring.hooks import Hook


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, points, labels, mode="tensor"):
        scores = self.layer(points)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else (scores, labels)


class Measure(Hook):
    """Measures the process at the end of some iterations.

    Histories keep 10,000 values of each scalar. They are filled beforehand, so that a run need not grow to that.
    """

    priority = "LOWEST"

    def __init__(self, at: list[int], fill_at: int) -> None:
        self.at = at
        self.fill_at = fill_at
        self.seen: list[dict[str, int]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.fill_at:
            for buffer in runner.message_hub.log_scalars.values():
                for number in range(buffer.max_length):
                    buffer.update(number + 0.5)  # each a number of its own, as those of a run are
        if runner.iter + 1 in self.at:
            runner.checkpoint_writer.wait()
            gc.collect()
            objects = len(gc.get_objects())  # first, since this list is a part of the memory, too
            size = (Path(runner.work_dir) / f"iter_{runner.iter + 1}.pth").stat().st_size
            self.seen.append({"resident": _resident(), "objects": objects, "checkpoint": size})


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(args: list[str]) -> None:
    """Train a tiny model with the default hooks, validations and checkpoints."""
    torch.set_num_threads(1)
    work_dir, first, last, step = Path(args[0]), *map(int, args[1:])
    # After that, a validation and a checkpoint come before the first measurement.
    measure = Measure([first, last], fill_at=first - step - 100)
    points = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(points, (points[:, 0] > 0).long())
    Runner(
        model=Line(),
        work_dir=work_dir,
        train_dataloader=DataLoader(data, batch_size=4, shuffle=True),
        train_cfg={"by_epoch": False, "max_iters": last, "val_interval": step},
        optim_wrapper={"optimizer": {"type": "Adam", "lr": 0.01}, "clip_grad": {"max_norm": 1.0}},
        param_scheduler={"type": "LinearLR", "by_epoch": False, "end": 100},
        val_dataloader=DataLoader(data, batch_size=32),
        val_cfg={},
        val_evaluator={"type": "Accuracy"},
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": step, "max_keep_ckpts": 2},
            "summary": {"type": "SummaryHook", "curves": None},
        },
        custom_hooks=[{"type": "EMAHook"}, measure],
        randomness={"seed": 0},
        log_level="WARNING",
    ).train()
    work_dir.with_suffix(".json").write_text(json.dumps(measure.seen))


def growth(lab: Lab, first: int, last: int, step: int, runs: int) -> dict[str, Any]:
    """Compare what runs take after ``first`` iterations and after ``last``: at most a megabyte more.

    They validate and save every ``step`` iterations, of which the other two are multiples, at least threefold.
    """
    found: list[dict[str, int]] = []
    for _ in range(runs):
        work_dir = lab.work_dir()
        # A process of its own: a fork takes over some of the memory of its parent as it touches it.
        process = fresh(work_dir.with_suffix(".log"), "memory.py", *map(str, (work_dir, first, last, step)))
        assert process.ends_within(600), process.output
        assert process.wait() == 0, process.output
        before, after = json.loads(work_dir.with_suffix(".json").read_text())
        found.append({key: after[key] - before[key] for key in before})
    median = {key: statistics.median(one[key] for one in found) for key in found[0]}
    assert median["resident"] < 1_000_000, f"the resident size has grown: {found}"
    assert median["objects"] < 20, f"the number of objects has grown: {found}"
    assert abs(median["checkpoint"]) < 500, f"checkpoints have grown: {found}"
    return {
        "runs": runs,
        "iterations": f"{first:,} to {last:,}",
        "growth of the resident size, median, kB": round(median["resident"] / 1000),
        "growth in live objects, median": median["objects"],
        "growth of a checkpoint, median, bytes": median["checkpoint"],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
