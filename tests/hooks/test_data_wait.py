from __future__ import annotations

import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from mainspring.hooks import LoggerHook
from mainspring.hooks.data_wait import DataWait
from mainspring.logging import MessageHub


class Hub:
    """A message hub, to which iterations of given times come."""

    def __init__(self):
        self.hub = MessageHub("waiting")
        self.wait = DataWait()
        self.done = 0

    def iterate(self, count, seconds, waited, loader=None):
        for _ in range(count):
            self.hub.update_scalar("train/time", seconds)
            self.hub.update_scalar("train/data_time", waited)
        self.done += count
        return self.wait.hint(self.hub, loader, self.done)


def test_the_hint_says_how_much_and_comes_once():
    run = Hub()
    assert run.iterate(10, 5.0, 5.0) is None
    assert run.iterate(49, 0.02, 0.015) is None
    hint = run.iterate(1, 0.02, 0.015)
    assert hint.startswith("Training waits for data 75% of the time: 15.0 of 20.0 ms an iteration, over 50 iterations.")
    assert run.iterate(1000, 0.02, 0.02) is None


@pytest.mark.parametrize(
    ("seconds", "waited"),
    [(0.02, 0.01), (0.02, 0.001), (0.0011, 0.0009)],  # half, little, and too short to gain anything
)
def test_no_hint(seconds, waited):
    run = Hub()
    assert [run.iterate(10, seconds, waited) for _ in range(20)] == [None] * 20


def test_slow_first_iterations_do_not_count():
    run = Hub()
    run.iterate(10, 100.0, 100.0)
    assert run.iterate(100, 0.02, 0.001) is None


def test_what_was_trained_before_a_resume_does_not_count():
    run = Hub()
    run.iterate(1000, 10.0, 10.0)
    run.wait, run.done = DataWait(), 0
    run.iterate(10, 0.02, 0.001)
    assert run.iterate(100, 0.02, 0.001) is None
    assert "over 200 iterations" in run.iterate(100, 0.02, 0.039)


def test_without_times_there_is_no_hint():
    assert DataWait().hint(MessageHub("empty"), None, 100) is None


@pytest.mark.parametrize(
    ("options", "words", "others"),
    [
        ({}, ["num_workers=4 and persistent_workers=True"], ["spare"]),
        ({"num_workers": 2}, ["num_workers is 2, and there are 8 cores", "with persistent_workers=True"], []),
        ({"num_workers": 8, "persistent_workers": True}, ["cheaper"], ["num_workers", "persistent_workers"]),
    ],
)
def test_the_cure_fits_the_loader(monkeypatch, options, words, others):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(8), raising=False)
    run = Hub()
    run.iterate(10, 0.02, 0.02)
    hint = run.iterate(50, 0.02, 0.02, DataLoader([1, 2], **options))
    assert all(word in hint for word in words)
    assert not any(word in hint for word in others)
    assert "uint8" in hint


def test_a_run_logs_it_once(make_runner, make_loader):
    loader = make_loader(2 * 80, 2)
    read = loader.collate_fn
    loader.collate_fn = lambda samples: time.sleep(0.003) or read(samples)
    runner = make_runner(
        train_dataloader=loader,
        train_cfg={"max_epochs": 2},
        default_hooks={"logger": LoggerHook(interval=10), "checkpoint": None, "summary": None},
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
        log_level="INFO",
    )
    runner.train()
    text = Path(runner.logger.log_file).read_text()
    assert text.count("Training waits for data") == 1
    assert "WARNING - Training waits for data" in text
