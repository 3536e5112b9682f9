"""A small project: parts in a module, configurations that name them, and a way to call the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainspring.cli import main

PARTS = """
import torch
from torch import nn
from torch.nn import functional as F

from mainspring import DATASETS, MODELS, BaseModel


@DATASETS.register_module(force=True)
class Vectors(torch.utils.data.Dataset):
    def __init__(self, count=20, broken=False):
        self.count, self.broken = count, broken

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.broken:
            raise RuntimeError("vector 3 is torn")
        return torch.randn(6, generator=torch.Generator().manual_seed(index)), index % 3


@MODELS.register_module(force=True)
class Classifier(BaseModel):
    def __init__(self, width=8, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 3))

    def forward(self, inputs, labels, mode):
        scores = self.layers(inputs)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else (scores, labels)
"""
BASE = """
custom_imports = dict(imports=['parts_of_cli_tests'], allow_failed_imports=False)
default_scope = 'mmengine'
model = dict(type='Classifier', width=8)
train_dataloader = dict(
    dataset=dict(type='Vectors', count=20), batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True), collate_fn=dict(type='default_collate'))
val_dataloader = dict(
    dataset=dict(type='Vectors', count=8), batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate'))
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(summary=None)
randomness = dict(seed=3)
env_cfg = dict(device='cpu')
log_level = 'INFO'
resume = False
"""
PROGRAM = """
import torch
from mainspring import Runner
from parts_of_cli_tests import Classifier, Vectors

def make_runner(work_dir='work_dirs/program', max_epochs=2, resume=False, load_from=None, optimizer=None):
    loader = torch.utils.data.DataLoader(Vectors(), batch_size=4)
    return Runner(
        Classifier(), work_dir, loader, loader, train_cfg=dict(max_epochs=max_epochs), val_cfg=dict(), resume=resume,
        val_evaluator=dict(type='Accuracy'), load_from=load_from, env_cfg=dict(device='cpu'),
        optim_wrapper=dict(optimizer={**dict(type='SGD', lr=0.1), **(optimizer or {})}),
        default_hooks=dict(summary=None),
    )

if __name__ == '__main__':
    make_runner().train()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current directory of the test, which holds the project."""
    (tmp_path / "parts_of_cli_tests.py").write_text(PARTS)
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "mine.py").write_text("_base_ = 'base.py'\nmodel = dict(width=12)\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    for name in ("parts_of_cli_tests", "program"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.fixture
def call(project: Path, capfd: Any) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command in this process: its exit code, and what it printed."""

    def run(*tokens: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(token) for token in tokens])
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture
def shell(project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command in a process of its own."""

    def run(*tokens: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mainspring", *map(str, tokens)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)

    return run
