"""The example of segmentation, shortened, as a person runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[2]
# The same program with less data; and it may be killed in the middle of its second epoch.
SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import mainspring, train

class Kill(mainspring.Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 12:
            runner.checkpoint_writer.wait()
            os.kill(os.getpid(), signal.SIGKILL)

def short(*arguments):
    cfg = whole(*arguments)
    cfg.train_dataloader.dataset.count, cfg.train_dataloader.num_workers = 128, kills
    cfg.val_dataloader.dataset.count = 8
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=5)
    cfg.custom_hooks.extend([dict(type=Kill)] * kills)
    return cfg

whole, train.config, kills = train.config, short, int(sys.argv[2] == "kill")
sys.argv[1:] = sys.argv[3:]
train.main()
"""


def run(work_dir: Path, kill: bool = False) -> str:
    command = [sys.executable, "-c", SCRIPT, ROOT / "examples/segmentation", "kill" if kill else "run"]
    finished = subprocess.run(
        [*command, "--work-dir", work_dir, "--epochs", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=work_dir.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == (-signal.SIGKILL if kill else 0), finished.stderr
    return finished.stdout


def test_killed_within_an_epoch_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "killed", kill=True)  # with a worker, which must make no difference
    assert not (tmp_path / "killed/iter_16.pth").exists()
    rest = run(tmp_path / "killed")
    assert "Resumed from 'killed/iter_10.pth': epoch 1, iteration 10" in rest

    ours, theirs = (torch.load(tmp_path / name / "iter_16.pth") for name in ("whole", "killed"))
    for weights in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(ours[weights][name], theirs[weights][name]) for name in ours[weights])
    results = [re.search(r"last IoU/background +│ (\d+\.\d+)", told) for told in (whole, rest)]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0][1] == results[1][1]
    for name in ("whole", "killed"):
        assert (tmp_path / name / "predictions.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_are_new_in_each_epoch_and_those_of_a_seed_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples/segmentation")
    monkeypatch.delitem(sys.modules, "train", raising=False)
    import numpy as np
    from train import DATASETS, MODELS, Shapes

    try:
        np.random.seed(3)
        before = np.random.get_state()[1].copy()
        first, second = Shapes(2, seed=1), Shapes(2, seed=1)
        assert np.array_equal(np.random.get_state()[1], before)
        assert all(
            torch.equal(a, b)
            for one, other in zip(first.fixed, second.fixed, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        drawn = Shapes(2)
        assert not torch.equal(drawn[0][0], drawn[0][0])
        picture, _ = first[0]
        assert (picture.shape, picture.dtype) == ((3, 48, 48), torch.uint8)
        assert set(torch.cat([classes for _, classes in Shapes(40, seed=0).fixed]).unique().tolist()) == {0, 1, 2, 3}
    finally:
        del DATASETS._module_dict["Shapes"], MODELS._module_dict["SmallUNet"]
        monkeypatch.delitem(sys.modules, "train", raising=False)
