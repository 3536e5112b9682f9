"""Two processes with half the batch each come to what one process comes to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parallel_programs import torchrun
from whole_runs import train_all

TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}


def test_two_processes_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    done = torchrun("whole_runs.py", tmp_path)
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in range(2)]
    for name, one in train_all(tmp_path).items():
        for seen in ranks:
            assert seen[name]["metrics"] == pytest.approx(one["metrics"], rel=1e-6, nan_ok=True), name
            for key, weight in one["weights"].items():
                error = (seen[name]["weights"][key] - weight).norm() / weight.norm()
                assert float(error) < TOLERANCES[weight.dtype], (name, key)
