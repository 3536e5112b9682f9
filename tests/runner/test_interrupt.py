"""Ctrl-C at awkward moments: a process group that is interrupted as a terminal does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mainspring.runner.interrupt import Interrupt

PROGRAM = '''
import os, signal, sys, threading, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from mainspring import BaseModel, Hook, Runner

case, work_dir = sys.argv[1:]
torch.set_num_threads(1)

class Net(BaseModel):
    def __init__(self, size):
        super().__init__()
        self.linear, self.ballast = nn.Linear(4, 2), nn.Parameter(torch.zeros(size))
    def forward(self, x, y, mode):
        z = self.linear(x)
        return {"loss": nn.functional.cross_entropy(z, y)} if mode == "loss" else (z, y)

def press():
    os.killpg(0, signal.SIGINT)

def press_after(seconds):
    threading.Timer(seconds, press).start()

class Saving(Hook):
    """Presses when the temporary file of a checkpoint has begun to grow."""
    def before_save_checkpoint(self, runner, checkpoint):
        def watch():
            while not any(f.stat().st_size for f in runner.env.work_dir.glob(".*.tmp")):
                time.sleep(0.0005)
            press()
        threading.Thread(target=watch, daemon=True).start()

class StartingWorkers(Hook):
    priority = "LOWEST"
    def before_val_epoch(self, runner):
        press_after(0.002 * (1 + runner.epoch))

class InWorkers(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 2: press()

class Swallowed(Hook):
    """What happens where Python drops exceptions: the press comes, and nobody hears of it."""
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        try:
            press(); time.sleep(1)
        except KeyboardInterrupt:
            pass

class TurnedIntoAnother(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        try:
            press(); time.sleep(1)
        except KeyboardInterrupt as error:
            raise RuntimeError("unexpected pos") from error

class Twice(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        press_after(0.0); press_after(0.01); time.sleep(1)
    def close(self):
        press(); time.sleep(0.1)

hook = globals()[case]()
data = TensorDataset(torch.randn(32, 4), torch.arange(32) % 2)
workers = 2 if "Workers" in case else 0
Runner(
    model=Net(20_000_000 if case == "Saving" else 4), work_dir=work_dir, custom_hooks=[hook],
    train_dataloader=DataLoader(data, batch_size=4, num_workers=workers), train_cfg=dict(max_epochs=3),
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)), default_hooks=dict(summary=None),
    val_dataloader=DataLoader(data, batch_size=4, num_workers=workers), val_cfg=dict(),
    val_evaluator=dict(type="Accuracy"),
).train()
print("ENDED")
'''


def is_gone(group: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


@pytest.mark.parametrize("case", ["Saving", "StartingWorkers", "InWorkers", "Swallowed", "TurnedIntoAnother", "Twice"])
def test_it_ends_in_order(tmp_path: Path, case: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, program, case, tmp_path / "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    output, errors = process.communicate(timeout=120)

    assert process.returncode == 130, errors
    last = output.rstrip().splitlines()[-1]
    assert "WARNING - Stopped by Ctrl-C after iteration" in last
    assert "Traceback" not in output
    if case != "StartingWorkers":  # Python itself says which exceptions it dropped while it forked
        assert "Traceback" not in errors
    # Nobody of the group is left. A worker that was being forked may be unknown to its parent; torch's workers look
    # every 5 seconds whether theirs is alive.
    assert is_gone(process.pid, within=20 if case == "StartingWorkers" else 1)


def test_the_handler_is_that_of_before_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
    assert interrupt.pressed
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_leaves_the_handler_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run() -> None:
        with Interrupt():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
