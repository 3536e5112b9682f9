"""A run of two processes with all hooks, and one whose numbers go bad.

torchrun --nproc-per-node 2 all_hooks.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import parallel_models as models
import torch

from mainspring import Runner, hooks
from mainspring.registry import HOOKS

BAD = models.vectors().tensors[0][20, 0]
EXCEPT = {"Hook", "HookList", "CheckpointHook", "LoggerHook", "BadNumbersHook"}
"""Those that are no hooks, and those that are configured below."""
OPTIONS: dict[str, dict[str, Any]] = {
    "EarlyStoppingHook": {"monitor": "accuracy/top1", "patience": 100},
    "EMAHook": {"evaluate": "both", "weights_file": "ema.pth"},
    "SanityHook": {"batches": 1},
    "OptimizerModesHook": {},
}


class GoesBad(models.Net):
    """Has a loss that is not a number, in one batch of one process."""

    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor") -> Any:
        output = super().forward(inputs, labels, mode)
        if mode == "loss":
            output["loss"] = output["loss"] / (inputs[:, 0] != BAD).all().float()
        return output


def run(folder: Path, **changes: Any) -> dict[str, Any]:
    runner = Runner(
        **{
            "model": {"type": models.Dropping},
            "work_dir": folder / "run",
            "train_dataloader": {"dataset": models.vectors(), "batch_size": 4, "shuffle": True},
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1.0}},
            "param_scheduler": {"type": "CosineAnnealingLR"},
            "val_dataloader": {"dataset": models.vectors(31), "batch_size": 4},
            "val_cfg": {},
            "val_evaluator": [{"type": "Accuracy"}, {"type": "DumpResults", "out_file_path": str(folder / "r.pkl")}],
            "randomness": {"seed": 0},
            **changes,
        }
    )
    runner.train()
    weights = {name: tensor.tolist() for name, tensor in runner.model.state_dict().items()}
    return {"iter": runner.iter, "weights": weights, "rank": runner.rank}


def main() -> None:
    folder = Path(sys.argv[1])
    loaders = {
        f"{mode}_dataloader": {"dataset": models.vectors(count), "batch_size": 4, "collate_fn": "default_collate"}
        for mode, count in (("train", 48), ("val", 31))
    }
    seen = {"every hook": run(folder, **loaders, custom_hooks=custom_hooks(), default_hooks=default_hooks())}
    for policy in ("skip", "rollback"):
        seen[policy] = run(
            folder / policy,
            **loaders,
            model={"type": GoesBad},
            default_hooks={
                "bad_numbers": {"type": "BadNumbersHook", "policy": policy, "interval": 1},
                "checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False},
            },
        )
    (folder / f"rank{torch.distributed.get_rank()}.json").write_text(json.dumps(seen))


def default_hooks() -> dict[str, Any]:
    return {
        "checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "auto", "published_keys": ["state_dict"]}
    }


def custom_hooks() -> list[dict[str, Any]]:
    default = {"RuntimeInfoHook", "IterTimerHook", "DistSamplerSeedHook", "ParamSchedulerHook", "ProgressHook"}
    made_by_the_runner = {"PositionSeedHook", "PlaceHook", "RunningStreamsHook", "OptimizerModesHook", "SummaryHook"}
    made_by_the_runner |= {"PrepareTTAHook"}  # by build_runner_with_tta
    names = [name for name in hooks.__all__ if isinstance(HOOKS.get(name), type) if name.endswith("Hook")]
    chosen = sorted(set(names) - EXCEPT - default - made_by_the_runner)
    return [{"type": name, **OPTIONS.get(name, {})} for name in chosen]


if __name__ == "__main__":
    main()
