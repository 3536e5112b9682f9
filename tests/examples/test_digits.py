"""The demo, as a person runs it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]


def run(work_dir: Path, *arguments: str) -> str:
    command = [sys.executable, ROOT / "examples/digits/train.py", "--work-dir", work_dir, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=work_dir.parent)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def digests(work_dir: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(work_dir.glob("*.pth"))}


def test_it_trains_says_when_it_is_finished_and_trains_on(tmp_path: Path) -> None:
    work_dir = tmp_path / "digits"

    first = run(work_dir, "--epochs", "3")
    accuracy = re.search(r"best accuracy/top1 │ (\d+\.\d+)", first)
    assert accuracy is not None
    assert float(accuracy[1]) > 80
    for name in ("epoch_3.pth", "last_checkpoint", "curves.png", "vis_data/scalars.jsonl"):
        assert (work_dir / name).is_file(), name
    assert list(work_dir.glob("best_accuracy_top1_epoch_*.pth"))
    assert not (work_dir / "epoch_1.pth").exists()  # two are kept

    before = digests(work_dir)
    again = run(work_dir, "--epochs", "3")
    assert "This run is finished already: 3 of 3 epochs are done" in again
    assert digests(work_dir) == before

    more = run(work_dir, "--epochs", "4")
    assert "epochs 4 to 4" in more
    assert (work_dir / "epoch_4.pth").is_file()


def test_stopped_within_an_epoch_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    import torch

    run(tmp_path / "whole", "--epochs", "3")
    script = (
        "import signal, sys; sys.path.insert(0, sys.argv[1]); import train\n"
        "from mainspring import Hook\n"
        "class Stop(Hook):\n"
        "    priority = 'LOWEST'\n"
        "    def before_train_iter(self, runner, batch_idx, data_batch=None):\n"
        "        if runner.epoch == 2 and batch_idx == 4: signal.raise_signal(signal.SIGINT)\n"
        "make = train.Runner\n"
        "train.Runner = lambda **options: make(**options, custom_hooks=[Stop()])\n"
        "sys.argv[1:] = ['--epochs', '3', '--work-dir', sys.argv[2]]\n"
        "train.main()\n"
    )
    broken = subprocess.run(
        [sys.executable, "-c", script, ROOT / "examples/digits", tmp_path / "broken"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert broken.returncode == 130, broken.stderr
    (saved,) = (tmp_path / "broken").glob("iter_*.pth")
    assert broken.stdout.rstrip().endswith(f"goes on from broken/{saved.name}")
    run(tmp_path / "broken", "--epochs", "3")

    weights = [torch.load(tmp_path / name / "epoch_3.pth")["state_dict"] for name in ("whole", "broken")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
