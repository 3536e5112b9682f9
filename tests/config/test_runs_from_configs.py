"""Whole runs from configuration files: MMEngine's style, trained as they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mainspring import Config, Runner
from mainspring.checkpoint import read_checkpoint, save_checkpoint

PARTS = """
import torch
from torch import nn
from torch.nn import functional as F
from mainspring import BaseModel, Hook
from mainspring.registry import DATASETS, HOOKS, MODELS

@MODELS.register_module(force=True)
class NetOfFile(BaseModel):
    def __init__(self, width, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.layer = nn.Linear(width, 3)
    def forward(self, inputs, labels, mode='tensor'):
        scores = self.layer(inputs)
        if mode == 'loss':
            return {'loss': F.cross_entropy(scores, labels)}
        return (scores, labels) if mode == 'predict' else scores

@DATASETS.register_module(force=True)
class DataOfFile:
    def __init__(self, count, width):
        self.count, self.width = count, width
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        return torch.full((self.width,), index / self.count), index % 3

@HOOKS.register_module(force=True)
class HookOfFile(Hook):
    def __init__(self, note):
        self.note = note
    def after_train_epoch(self, runner):
        runner.logger.info(self.note)
"""
RUNTIME = """
default_scope = 'mmengine'
custom_imports = dict(imports=['parts_of_file'], allow_failed_imports=False)
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1),
    logger=dict(type='LoggerHook', interval=10),
    summary=None,
)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
log_level = 'WARNING'
randomness = dict(seed=1)
"""
SCHEDULE = """
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[1], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
"""
TEXT = """
_base_ = ['_base_/runtime.py', '_base_/schedule.py']
width = {{ $WIDTH_OF_NET:4 }}
model = dict(type='NetOfFile', width=width)
loader = dict(
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='DataOfFile', count=8, width=width),
    collate_fn=dict(type='default_collate'),
)
train_dataloader = loader
val_dataloader = dict(
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset={{_base_.data}},
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy')
custom_hooks = [dict(type='HookOfFile', note='so far')]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=0.01))
work_dir = 'run'
"""
LAZY = """
from mmengine.config import read_base
with read_base():
    from ._base_.runtime import *
    from ._base_.schedule import *
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.hooks import EMAHook
from torch.optim import Adam
from mainspring.evaluator import Accuracy
from parts_of_file import DataOfFile, HookOfFile, NetOfFile

del custom_imports
model = dict(type=NetOfFile, width=4)
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=DataOfFile, count=8, width=4),
    collate_fn=dict(type=default_collate),
)
val_dataloader = dict(
    batch_size=4,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=DataOfFile, count=8, width=4),
    collate_fn=dict(type=default_collate),
)
val_evaluator = [dict(type=Accuracy)]
custom_hooks = [dict(type=HookOfFile, note='so far')]
optim_wrapper.pop('optimizer')
optim_wrapper.optimizer = dict(type=Adam, lr=0.01)
work_dir = 'run'
"""


@pytest.fixture
def files(write, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "parts_of_file", raising=False)
    write(
        {
            "parts_of_file.py": PARTS,
            "_base_/runtime.py": RUNTIME,
            "_base_/schedule.py": SCHEDULE + "data = dict(type='DataOfFile', count=8, width=4)\n",
            "text.py": TEXT,
            "lazy.py": LAZY,
        }
    )


@pytest.mark.parametrize("name", ["text.py", "lazy.py"])
def test_a_run_of_a_file(files, name):
    cfg = Config.fromfile(name)
    cfg.merge_from_dict({"train_cfg.max_epochs": 3})
    before = cfg.to_dict()
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert (runner.epoch, runner.iter) == (3, 6)
    assert type(runner.optim_wrapper.optimizer) is torch.optim.Adam
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.001])
    assert runner.cfg is cfg
    assert cfg.to_dict() == before, "the run changes nothing in it"
    kept = [Path("run", name), Path("run/vis_data/config.py")]
    for file in kept:
        assert Config.fromfile(file) == cfg
    text = read_checkpoint("run/epoch_3.pth")["meta"]["cfg"]
    assert Config.fromstring(text, ".py") == cfg


def test_the_kept_file_makes_the_same_run(files):
    first = Runner.from_cfg(Config.fromfile("lazy.py"))
    first.train()
    cfg = Config.fromfile("run/lazy.py")
    cfg.work_dir = "again"
    second = Runner.from_cfg(cfg)
    second.train()
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_configuration_in_the_work_directory_is_left_alone(files, write):
    text = Path("text.py").read_text().replace("'_base_/", "'../_base_/")
    write({"run/mine.py": text})
    Runner.from_cfg(Config.fromfile("run/mine.py")).train()
    assert Path("run/mine.py").read_text() == text


def test_what_cannot_be_kept_is_told(files):
    cfg = Config.fromfile("text.py")
    cfg.thing = object()
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = Path(runner.log_dir).glob("*.log")
    assert "The configuration is not kept in run/text.py: thing is <object object" in log.read_text()
    assert not Path("run/text.py").exists()


def test_a_run_of_data(files, write):
    __import__("parts_of_file")
    write({"run.yaml": _as_yaml(Config.fromfile("text.py"))})
    runner = Runner.from_cfg(Config.fromfile("run.yaml"))
    runner.train()
    assert runner.epoch == 2
    assert Config.fromfile("run/run.yaml") == Config.fromfile("run.yaml")


def _as_yaml(cfg):
    values = cfg.to_dict()
    del values["custom_imports"]
    return Config(values, filename="x.yaml").dump()


def test_parts_of_a_configuration_are_saved_with_the_state_of_a_hook(tmp_path):
    cfg = Config.fromstring("{part: {type: Net, sizes: [1, {a: 2}]}}", ".yaml")
    save_checkpoint({"state": cfg.part, "name": cfg.part.type}, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert found == {"state": {"type": "Net", "sizes": [1, {"a": 2}]}, "name": "Net"}
    assert (type(found["state"]), type(found["state"]["sizes"][1]), type(found["name"])) == (dict, dict, str)
