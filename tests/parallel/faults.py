"""One of two processes of a run, in which something happens.

    faults.py FOLDER [ACTION RANK ITERATION]...

An action happens when that rank has begun that iteration, once in all starts of the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import parallel_models as models

from mainspring import Runner
from mainspring.hooks import Hook

TIMEOUT = 4.0


class Happens(Hook):
    def __init__(self, folder: Path, events: list[tuple[str, int, int]]) -> None:
        self.folder = folder
        self.events = events

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        time.sleep(0.01)
        for number, (action, rank, iteration) in enumerate(self.events):
            if runner.rank == rank and runner.iter == iteration:
                self.happen(action, self.folder / f"happened_{number}")

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        for number, (action, rank, iteration) in enumerate(self.events):
            if action == "term in validation" and runner.rank == rank and runner.iter >= iteration and batch_idx == 1:
                self.happen("term", self.folder / f"happened_{number}")
            if action == "term in validation":
                time.sleep(0.1)

    def happen(self, action: str, mark: Path) -> None:
        if mark.exists() or action == "term in validation":
            return
        mark.write_text(str(time.time()))
        if action == "raise":
            raise ValueError("the disk has caught fire")
        if action == "hang":
            time.sleep(1000)
        number = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "usr1": signal.SIGUSR1}[action]
        os.kill(os.getpid(), number)


def main() -> None:
    folder = Path(sys.argv[1])
    events = [(sys.argv[i], int(sys.argv[i + 1]), int(sys.argv[i + 2])) for i in range(2, len(sys.argv), 3)]
    runner = Runner(
        model={"type": models.Dropping},
        work_dir=folder / "run",
        train_dataloader={
            "dataset": models.vectors(),
            "batch_size": 4,
            "shuffle": True,
            "collate_fn": "default_collate",
        },
        train_cfg={"by_epoch": True, "max_epochs": 20, "val_interval": 10},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}, "accumulative_counts": 4},
        val_dataloader={"dataset": models.vectors(40), "batch_size": 2, "collate_fn": "default_collate"},
        val_cfg={},
        val_evaluator={"type": "Accuracy"},
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": 15, "by_epoch": False, "max_keep_ckpts": 2}
        },
        custom_hooks=[Happens(folder, events), {"type": "EMAHook"}],
        env_cfg={"dist_cfg": {"timeout": TIMEOUT}, "on_usr1": "save"},
        randomness={"seed": 0, "running_streams": True, "diff_rank_seed": True},
        resume="auto",
    )
    try:
        runner.train()
    finally:
        weights = b"".join(tensor.numpy().tobytes() for tensor in runner.model.state_dict().values())
        left = {"iter": runner.iter, "time": time.time(), "weights": hashlib.sha256(weights).hexdigest()}
        (folder / f"rank{runner.rank}.json").write_text(json.dumps(left))


if __name__ == "__main__":
    main()
