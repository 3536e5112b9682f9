"""Signals at awkward moments: a process group that is stopped as a terminal or a job scheduler does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mainspring.runner.signals import Signals, Stopped

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


HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.mark.parametrize("number", HANDLED)
def test_the_handlers_are_those_of_before_again(number: int) -> None:
    before = signal.getsignal(number)
    with Signals(training=True) as signals:
        signal.raise_signal(number)
    assert signals.number == number
    assert signals.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_the_first_signal_in_training_is_heeded_between_two_iterations() -> None:
    with Signals(training=True) as signals:
        signal.raise_signal(signal.SIGTERM)
        assert signals.noted
        signals.check("after_train_iter")
        signals.check("before_save_checkpoint")
        with pytest.raises(Stopped):
            signals.check("before_train_iter")


def test_a_second_ctrl_c_comes_at_once() -> None:
    with Signals(training=True) as signals:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):  # as if that exception had been dropped
            signals.check("after_train_iter")


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_outside_training_the_first_comes_at_once(number: int, error: type[BaseException]) -> None:
    with Signals() as signals, pytest.raises(error):
        signal.raise_signal(number)
    assert signals.at_once


def test_usr1_may_ask_for_a_checkpoint_only() -> None:
    with Signals(training=True, saves_on_usr1=True) as signals:
        signal.raise_signal(signal.SIGUSR1)
        assert signals.number is None
        assert not signals.takes_save("before_val_iter")
        assert signals.takes_save("before_train_iter")
        assert not signals.takes_save("before_train_iter")
        assert not signals.noted


def test_while_the_run_is_closed_ctrl_c_does_nothing() -> None:
    with Signals(training=True) as signals:
        signals.close()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_another_thread_leaves_the_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run() -> None:
        with Signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
