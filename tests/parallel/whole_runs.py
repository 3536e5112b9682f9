"""Whole runs of one process or of two, to be compared.

torchrun --nproc-per-node 2 whole_runs.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import parallel_models as models
import torch
from torch.utils.data import DataLoader

from mainspring import Runner
from mainspring.dist import get_rank, get_world_size

GLOBAL_BATCH = 8
ADAMW = {"optimizer": {"type": "AdamW", "lr": 0.01}}
SGD = {"optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9}}
CASES: dict[str, dict[str, Any]] = {
    "SGD": {"optim_wrapper": SGD},
    "AdamW": {"optim_wrapper": ADAMW, "dtype": torch.float64},
    "SGD, all options": {
        "optim_wrapper": {**SGD, "accumulative_counts": 3, "clip_grad": {"max_norm": 0.5}},
        "ema": True,
    },
    "AdamW, all options": {
        "optim_wrapper": {**ADAMW, "accumulative_counts": 3, "clip_grad": {"max_norm": 0.5}},
        "ema": True,
        "dtype": torch.float64,
    },
    "AdamW, self.loss": {"optim_wrapper": ADAMW, "dtype": torch.float64, "model": models.CallsLoss},
}


def loader(dtype: torch.dtype, count: int, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """A plain loader, which knows of one process only."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return DataLoader(models.vectors(count, dtype), batch_size // processes, shuffle)


def train(folder: Path, name: str, case: dict[str, Any]) -> dict[str, Any]:
    dtype = case.get("dtype", torch.float32)
    runner = Runner(
        model={"type": case.get("model", models.Net), "dtype": dtype},
        work_dir=folder / f"{name.replace(' ', '_')}_{get_world_size()}",
        train_dataloader=loader(dtype, 48, GLOBAL_BATCH, shuffle=True),
        train_cfg={"by_epoch": False, "max_iters": 50, "val_interval": 25},
        optim_wrapper=case["optim_wrapper"],
        val_dataloader=loader(dtype, 31, 4, shuffle=False),  # a last batch that the ranks have to pad
        val_cfg={"with_loss": True},
        val_evaluator=[{"type": "Accuracy"}, {"type": "ConfusionMatrix", "num_classes": 3}],
        custom_hooks=[{"type": "EMAHook"}] if "ema" in case else [],
        default_hooks={"checkpoint": None},
        log_level="WARNING",
        randomness={"seed": 0},
    )
    runner.train()
    return {"weights": runner.model.state_dict(), "metrics": runner.val()}


def train_all(folder: Path) -> dict[str, Any]:
    return {name: train(folder, name, case) for name, case in CASES.items()}


if __name__ == "__main__":
    into = Path(sys.argv[1])
    seen = train_all(into)
    torch.save(seen, into / f"rank{get_rank()}.pt")
