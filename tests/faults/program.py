"""The training program of the fault trials, run as a user would: the same command begins it and goes on with it.

    python program.py WORK_DIR --workers 2

Whatever of a run can get lost is in it: shuffled data, augmentation that draws from Python, NumPy and torch, dropout,
batch normalisation, Adam, a warm-up and a schedule that waits for a plateau, gradients accumulated over 3 iterations,
clipping, an average of the weights, a best checkpoint, early stopping, and validations whose interval changes. At the
end it writes ``end.json``: a SHA-256 of each part of the state. Two runs have come to the same end if these are equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from sabotage import Beacon, sabotage_hooks
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from mainspring import BaseModel, Runner
from mainspring.hooks import CheckpointHook, EarlyStoppingHook, EMAHook
from mainspring.visualization import read_scalars

BATCHES = 14
"""Batches in an epoch; no multiple of 3, so that accumulated groups reach across the ends of epochs."""

_TIMES = ("time", "data_time", "eta", "memory")


class Points(Dataset):
    """Points of four clouds that overlap, moved at random when they are read."""

    def __init__(self, count: int, moves: bool) -> None:
        generator = torch.Generator().manual_seed(count)
        self.labels = torch.arange(count) % 4
        self.points = torch.randn(count, 6, generator=generator) + F.one_hot(self.labels, 6)
        self.moves = moves

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        point = self.points[index]
        if self.moves:
            point = point * random.uniform(0.8, 1.2) + float(np.random.normal(scale=0.1)) + 0.1 * torch.randn(6)
        return point, int(self.labels[index])


class Net(BaseModel):
    def __init__(self, width: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.layers = nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 4)
        )

    def forward(self, points, labels, mode="tensor"):
        scores = self.layers(points)
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels)}
        return scores, labels


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--loop", choices=["epoch", "iter"], default="epoch", help="what the run counts")
    parser.add_argument("--epochs", type=int, default=9, help="its length at most, in passes over the data")
    parser.add_argument("--save-by", choices=["epoch", "iter"], default="epoch")
    parser.add_argument("--save-every", type=int, default=1)
    parser.add_argument("--keep", type=int, default=2, help="how many checkpoints are kept; -1 for all")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--persistent", action="store_true", help="workers stay from one pass to the next")
    parser.add_argument("--running-streams", action="store_true", help="steps draw from generators that run on")
    parser.add_argument("--width", type=int, default=32, help="of the hidden layer")
    parser.add_argument("--on-usr1", choices=["stop", "save"], default="stop")
    parser.add_argument("--load-from", default=None)
    parser.add_argument("--pretrained", default=None, help="a checkpoint in the model's init_cfg")
    parser.add_argument("--resume", choices=["auto", "yes", "no"], default="auto")
    parser.add_argument("--sabotage", default="", help="see sabotage.py")
    return parser.parse_args(argv)


def make_runner(args: argparse.Namespace) -> Runner:
    def loader(count: int, batch_size: int, train: bool) -> dict:
        return {
            "dataset": Points(count, moves=train),
            "batch_size": batch_size,
            "shuffle": train,
            "num_workers": args.workers,
            "persistent_workers": args.persistent and args.workers > 0,
            "collate_fn": "default_collate",
        }

    if args.loop == "epoch":
        train_cfg = {"max_epochs": args.epochs, "val_interval": 1, "dynamic_intervals": [(2, 2), (6, 1)]}
        plateau = {"by_epoch": True}
    else:
        train_cfg = {
            "by_epoch": False,
            "max_iters": args.epochs * BATCHES,
            "val_interval": BATCHES,
            "dynamic_intervals": [(2 * BATCHES, 25), (80, 10)],
        }
        plateau = {"by_epoch": False}
    model = {"type": Net, "width": args.width}
    if args.pretrained is not None:
        model["init_cfg"] = {"type": "Pretrained", "checkpoint": args.pretrained}
    return Runner(
        model=model,
        work_dir=args.work_dir,
        train_dataloader=loader(4 * BATCHES, 4, train=True),
        train_cfg=train_cfg,
        val_dataloader=loader(40, 20, train=False),
        val_cfg={},
        val_evaluator={"type": "Accuracy"},
        optim_wrapper={
            "optimizer": {"type": "Adam", "lr": 0.02},
            "accumulative_counts": 3,
            "clip_grad": {"max_norm": 1.0},
        },
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 10},
            {
                "type": "ReduceOnPlateauLR",
                "monitor": "accuracy/top1",
                "rule": "greater",
                "patience": 0,
                "threshold": 5.0,
                "threshold_rule": "abs",
                "factor": 0.5,
                **plateau,
            },
        ],
        default_hooks={
            "checkpoint": {
                "type": "CheckpointHook",
                "interval": args.save_every,
                "by_epoch": args.save_by == "epoch",
                "max_keep_ckpts": args.keep,
                "save_best": "accuracy/top1",
            },
            "logger": {"type": "LoggerHook", "interval": 5},
            "summary": {"type": "SummaryHook", "curves": None},
        },
        custom_hooks=[
            {"type": "EMAHook", "momentum": 0.05, "update_buffers": True},
            # No accuracy is better than another by 100, so that the run ends with the sixth validation.
            {"type": "EarlyStoppingHook", "monitor": "accuracy/top1", "min_delta": 100.0, "patience": 5},
            Beacon(args.work_dir),
            *sabotage_hooks(args.sabotage, args.work_dir),
        ],
        randomness={"seed": 5, "running_streams": args.running_streams},
        env_cfg={"device": "cpu", "on_usr1": args.on_usr1},
        resume={"auto": "auto", "yes": True, "no": False}[args.resume],
        load_from=args.load_from,
    )


def state_of(runner: Runner) -> dict[str, object]:
    """Return what must be the same at the end of two runs."""

    def hook(kind: type) -> object:
        return next(hook for hook in runner.hooks if isinstance(hook, kind))

    records = read_scalars(Path(runner.work_dir) / "vis_data" / "scalars.jsonl")
    return {
        "position": (runner.epoch, runner.iter),
        "weights": dict(runner.model.state_dict()),
        "average": dict(hook(EMAHook).ema_model.state_dict()),
        "optimizer": runner.optim_wrapper.state_dict(),
        "schedules": [schedule.state_dict() for schedule in runner.param_schedulers],
        "best": hook(CheckpointHook).best,
        "early stopping": hook(EarlyStoppingHook).state_dict(),
        "scalars": [{key: value for key, value in record.items() if key not in _TIMES} for record in records],
    }


def add_to(digest: hashlib._Hash, value: object) -> None:
    """Add a value to a digest, tensors by their bytes."""
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            digest.update(repr(key).encode())
            add_to(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)}".encode())
        for item in value:
            add_to(digest, item)
    else:
        digest.update(repr(value).encode())


def digests_of(state: dict[str, object]) -> dict[str, str]:
    found = {}
    for part, value in state.items():
        digest = hashlib.sha256()
        add_to(digest, value)
        found[part] = digest.hexdigest()
    return found


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]


def main(argv: list[str]) -> None:
    torch.set_num_threads(1)
    args = arguments(argv)
    before = handlers()
    try:
        runner = make_runner(args)
        runner.train()
    finally:
        print("handlers restored:", handlers() == before)
    end = {"iter": runner.iter, "lr": runner.optim_wrapper.get_lr()["lr"][0], **digests_of(state_of(runner))}
    (args.work_dir / "end.json").write_text(json.dumps(end))


if __name__ == "__main__":
    main(sys.argv[1:])
