"""Two processes that train in many ways, and write down what each of them had at each update.

torchrun --nproc-per-node 2 gradients.py FOLDER
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import parallel_models as models
import torch

from mainspring import Runner
from mainspring.hooks import Hook

SGD = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"model": models.Net},
    "static graph": {
        "model": models.Net,
        "model_wrapper_cfg": {"type": "DistributedDataParallel", "static_graph": True},
    },
    "self.forward": {"model": models.CallsForward},
    "self.loss": {"model": models.CallsLoss},
    "two passes": {"model": models.CallsBoth},
    "closure": {"model": models.StepsByClosure},
    "LBFGS": {"model": models.StepsByClosure, "optim_wrapper": {"optimizer": {"type": "LBFGS", "max_iter": 3}}},
    "accumulation": {"model": models.Net, "optim_wrapper": {**SGD, "accumulative_counts": 4}},
    "accumulation, self.loss": {"model": models.CallsLoss, "optim_wrapper": {**SGD, "accumulative_counts": 4}},
    "branches": {"model": models.Branches, "find_unused_parameters": True},
    "branches, averaged later": {
        "model": models.Branches,
        "model_wrapper_cfg": {"type": "MMSeparateDistributedDataParallel", "broadcast_buffers": False},
    },
    "GAN": {"model": models.Gan, "optim_wrapper": {"generator": SGD, "discriminator": SGD}},
    "AMP": {"model": models.Net, "optim_wrapper": {**SGD, "type": "AmpOptimWrapper", "dtype": "bfloat16"}},
    "AMP, float16": {
        "model": models.CallsLoss,
        "optim_wrapper": {**SGD, "type": "AmpOptimWrapper", "dtype": "float16", "clip_grad": {"max_norm": 0.1}},
    },
    "compiled": {"model": models.Net, "compile": {"backend": "eager"}},
    "seeds of their own": {"model": models.Net, "randomness": {"seed": 0, "diff_rank_seed": True}},
}


class Recorder(Hook):
    """Writes down the gradients that each optimizer gets, and how many passes were averaged in the backward pass."""

    def __init__(self) -> None:
        self.gradients: list[list[Any]] = []

    def before_train(self, runner: Runner) -> None:
        for part in runner.optim_wrapper.parts.values():
            part.optimizer.register_step_post_hook(self.record)

    def record(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.gradients.append([None if one.grad is None else one.grad.clone() for one in parameters])


def train(folder: Path, name: str, case: dict[str, Any]) -> dict[str, Any]:
    recorder = Recorder()
    arguments: dict[str, Any] = {
        "work_dir": folder / name.replace(" ", "_"),
        "train_dataloader": {
            "dataset": models.vectors(),
            "batch_size": 4,
            "shuffle": True,
            "collate_fn": "default_collate",
        },
        "train_cfg": {"by_epoch": False, "max_iters": 6},
        "optim_wrapper": SGD,
        "custom_hooks": [recorder],
        "default_hooks": {"checkpoint": None},
        "randomness": {"seed": 0},
        **case,
    }
    runner = Runner(**{**arguments, "model": {"type": case["model"]}})
    runner.train()
    copied = copy.deepcopy(runner.model)
    log = Path(runner.log_dir) / f"{runner.timestamp}.log"
    return {
        "weights": runner.model.state_dict(),
        "names_of_copy": list(copied.state_dict()),
        "gradients": recorder.gradients,
        "log": log.read_text() if runner.rank == 0 else "",
        "is_routed": runner._route is not None,
        "outputs": [one(torch.ones(1, 2 if name == "GAN" else 6)).detach() for one in (runner.model, copied)],
    }


def main() -> None:
    folder = Path(sys.argv[1])
    seen = {name: train(folder, name, case) for name, case in CASES.items()}
    torch.save(seen, folder / f"rank{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main()
