"""The example with two optimizers, as a person runs it."""

from __future__ import annotations

import json
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
# The step of a model with one optimizer must not be what runs; and a run may be killed where it hurts.
SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import mainspring, train

def step(self, data, optim_wrapper):
    raise AssertionError("the step of a model with one optimizer")

class Kill(mainspring.Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 150:
            runner.checkpoint_writer.wait()
            os.kill(os.getpid(), signal.SIGKILL)

mainspring.BaseModel.train_step = step
make, hooks = train.Runner, [Kill()] if sys.argv[2] == "kill" else []
train.Runner = lambda custom_hooks, **options: make(**options, custom_hooks=[*custom_hooks, *hooks])
sys.argv[1:] = sys.argv[3:]
train.main()
"""


def run(work_dir: Path, *arguments: str, kill: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, ROOT / "examples/gan", "kill" if kill else "run", "--work-dir", work_dir]
    finished = subprocess.run(
        [*command, "--epochs", "3", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=work_dir.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == (-signal.SIGKILL if kill else 0), finished.stderr
    return finished


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / "iter_192.pth")["state_dict"]


@pytest.mark.parametrize("options", [(), ("--precision", "bfloat16", "--accumulate", "3")])
def test_killed_within_an_epoch_it_ends_with_the_same_weights(tmp_path: Path, options: tuple[str, ...]) -> None:
    whole = run(tmp_path / "whole", *options).stdout
    run(tmp_path / "killed", *options, kill=True)
    assert not (tmp_path / "killed/iter_192.pth").exists()
    rest = run(tmp_path / "killed", *options).stdout
    assert "Resumed from 'killed/iter_100.pth': epoch 1, iteration 100" in rest

    ours, theirs = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert {name.partition(".")[0] for name in ours} == {"generator", "discriminator"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    results = [re.search(r"last samples/good +│ (\d+\.\d+)", told) for told in (whole, rest)]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0][1] == results[1][1]
    assert (tmp_path / "killed/samples.png").read_bytes().startswith(b"\x89PNG")

    lines = (tmp_path / "killed/vis_data/scalars.jsonl").read_text().splitlines()
    scalars = set().union(*map(json.loads, lines))
    assert {"generator.lr", "discriminator.lr", "discriminator.grad_norm", "loss_generator", "samples/modes"} <= scalars
