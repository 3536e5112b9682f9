"""Every hook, and an example, with two processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from parallel_programs import torchrun


def test_every_hook_and_what_looks_after_bad_numbers(tmp_path: Path) -> None:
    done = torchrun("all_hooks.py", tmp_path)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for name, first in ranks[0].items():
        assert first["weights"] == ranks[1][name]["weights"], name
    assert ranks[0]["every hook"]["iter"] == ranks[0]["skip"]["iter"] == 12
    assert ranks[0]["rollback"]["iter"] == 10  # an iteration less in each epoch
    assert done.stdout.count("Left out") >= 2
    assert "Going back to" in done.stdout
    files = {path.name for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert {"epoch_1.pth", "epoch_2.pth", "last_checkpoint", "ema.pth"} <= files
    assert len((tmp_path / "run" / "vis_data" / "scalars.jsonl").read_text().splitlines()) == 4


def test_digits(tmp_path: Path) -> None:
    done = torchrun("../../examples/digits/train.py", "--epochs", 2, "--work-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    accuracies = [float(found) for found in re.findall(r"accuracy/top1: ([\d.]+)", done.stdout)]
    assert len(accuracies) == 2  # told by one process
    assert accuracies[-1] > 50
