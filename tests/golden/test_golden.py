"""The engine's trajectories are those of hand-written loops, bit for bit (see plain_loops.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mainspring import BaseModel, Runner
from mainspring.hooks import Hook

_spec = importlib.util.spec_from_file_location("plain_loops", Path(__file__).with_name("plain_loops.py"))
plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain)

CONFIGS: dict[str, dict[str, Any]] = {
    "mlp_with_dropout_and_sgd": {
        "net": plain.Mlp,
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}},
    },
    "conv_net_with_mixing_and_adam": {
        "net": plain.ConvNet,
        "optim_wrapper": {"optimizer": {"type": "Adam", "lr": 0.01}},
        "mixes": True,
    },
    "accumulation_and_clipping": {
        "net": plain.Mlp,
        "optim_wrapper": {
            "optimizer": {"type": "SGD", "lr": 0.3, "momentum": 0.9},
            "accumulative_counts": 3,
            "clip_grad": {"max_norm": 0.5},
        },
    },
    "warm_up_and_cosine": {
        "net": plain.ConvNet,
        "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.02, "weight_decay": 0.05}},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 10, "by_epoch": False},
            {"type": "CosineAnnealingLR", "T_max": 40, "eta_min": 0.001, "begin": 10, "end": 50, "by_epoch": False},
        ],
    },
    "bfloat16": {
        "net": plain.ConvNet,
        "optim_wrapper": {
            "type": "AmpOptimWrapper",
            "dtype": "bfloat16",
            "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
        },
    },
}
LENGTHS = {"epochs": {"by_epoch": True, "max_epochs": 5}, "iterations": {"by_epoch": False, "max_iters": 50}}


class Mixing(nn.Module):
    def forward(self, batch):
        return plain.mixed(*batch)


class Model(BaseModel):
    def __init__(self, net, mixes):
        super().__init__({"augments": [Mixing()] if mixes else []})
        self.net = net()

    def forward(self, images, labels, mode="tensor"):
        scores = self.net(images)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else scores


class Losses(Hook):
    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].item())


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", CONFIGS)
def test_engine_goes_the_way_of_the_plain_loop(name, length, tmp_path):
    config = dict(CONFIGS[name])
    losses = Losses()
    runner = Runner(
        model={"type": Model, "net": config.pop("net"), "mixes": config.pop("mixes", False)},
        work_dir=tmp_path,
        train_dataloader={
            "dataset": TensorDataset(*plain.data()),
            "batch_size": plain.BATCH_SIZE,
            "shuffle": True,
            "collate_fn": "default_collate",
        },
        train_cfg=LENGTHS[length],
        randomness={"seed": plain.SEED},
        default_hooks={"checkpoint": None, "summary": None},
        custom_hooks=[losses],
        log_level="WARNING",
        **config,
    )
    model = runner.train()
    expected_losses, expected_weights = plain.LOOPS[name]()
    assert losses.losses == expected_losses
    weights = {key.removeprefix("net."): value for key, value in model.state_dict().items()}
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_plain_loop_is_that_of_old(name):
    """Keys, seeding and formulas are as they were; see plain_loops.py where they are meant to change."""
    losses, _ = plain.LOOPS[name]()
    recorded = json.loads(plain.LOSSES.read_text(encoding="utf-8"))
    # Processors round sums in bfloat16 their own way, which the steps carry on.
    tolerance = 1e-2 if name == "bfloat16" else 1e-4
    assert losses == pytest.approx(recorded[name], rel=tolerance)
    assert recorded.keys() == plain.LOOPS.keys() == CONFIGS.keys()
