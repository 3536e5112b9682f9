"""A run that is stopped within a validation, whatever that evaluates, ends with the bits of an undisturbed one."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mainspring import BaseModel, Hook
from mainspring.hooks import CheckpointHook
from mainspring.visualization import read_scalars


class StoppedError(Exception):
    pass


class Stop(Hook):
    """Breaks the run off in the validation after an epoch, when so many batches of it are done."""

    priority = "LOWEST"

    def __init__(self, epoch, batches):
        self.epoch, self.batches = epoch, batches
        self.seen = 0

    def before_val_epoch(self, runner):
        self.seen = 0

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen += 1
        if (runner.epoch, self.seen) == (self.epoch, self.batches):
            raise StoppedError


class Chance(BaseModel):
    """Its predictions and its losses depend on all generators."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3))

    def forward(self, inputs, labels, mode):
        scores = self.layers(inputs + 0.3 * torch.randn_like(inputs) + 0.1 * random.random())
        return (scores, labels) if mode == "predict" else {"loss": F.cross_entropy(scores, labels)}


def config(count, seed, shuffle=False, workers=0):
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(torch.randn(count, 6, generator=generator), torch.arange(count) % 3)
    order = {"shuffle": shuffle, "num_workers": workers}
    return {"dataset": data, "batch_size": 8, "collate_fn": "default_collate", **order}


def arguments(work_dir, hooks=(), workers=0, **options):
    return {
        "model": {"type": Chance},
        "work_dir": work_dir,
        "train_dataloader": config(40, 1, shuffle=True),
        "train_cfg": {"by_epoch": True, "max_epochs": 4},
        "val_dataloader": {"clean": config(24, 2, workers=workers), "noisy": config(30, 3)},
        "val_cfg": {
            "with_loss": True,
            "intervals": {"noisy": 2},
            "sanity_batches": 1,
            "dtype": "bfloat16",
            **options,
        },
        "param_scheduler": {"type": "ReduceOnPlateauLR", "monitor": "noisy/loss", "patience": 0},
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "save_best": ["raw/noisy/loss", "clean/loss"]},
            "logger": {"type": "LoggerHook", "interval": 2},
        },
        "custom_hooks": [{"type": "EMAHook", "momentum": 0.1, "evaluate": "both"}, *hooks],
    }


def outcome(runner):
    (checkpoints,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    histories = runner.message_hub.state_dict()["log_scalars"]
    records = read_scalars(runner.visualizer.backends[0].scalars_path)
    return {
        "weights": [p.tolist() for p in runner.model.state_dict().values()],
        "optimizer": str(runner.optim_wrapper.state_dict()),
        "schedules": [schedule.state_dict() for schedule in runner.param_schedulers],
        "histories": {name: str(history) for name, history in histories.items() if not name.endswith("time")},
        "records": [{k: v for k, v in one.items() if not k.endswith("time") and k != "eta"} for one in records],
        "best": checkpoints.best,
    }


# Of a validation after an even epoch: 3 batches of one set, 4 of the other, and again with the other weights.
@pytest.mark.parametrize(("epoch", "batches"), [(1, 2), (2, 3), (2, 5), (2, 9), (4, 14), (3, 6)])
def test_a_stop_anywhere_in_a_validation(make_runner, tmp_path, epoch, batches):
    whole = make_runner(**arguments(tmp_path / "whole"))
    whole.train()
    stopped = make_runner(**arguments(tmp_path / "run", hooks=[Stop(epoch, batches)]))
    with pytest.raises(StoppedError):
        stopped.train()
    # What reads the data and whether training begins with a trial may change.
    runner = make_runner(**arguments(tmp_path / "run", workers=1, sanity_batches=0), resume="auto")
    runner.train()
    expected, found = outcome(whole), outcome(runner)
    assert len([one for one in expected["records"] if "raw/noisy/loss" in one]) == 2
    for part in expected:
        assert found[part] == expected[part], part
