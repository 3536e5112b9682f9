"""What the tests of the documentation share: a runner on the CPU that keeps to itself, and a hook that takes notes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mainspring import Hook
from mainspring.utils import seed_generators


class Notes(Hook):
    """Writes down what each training step returned, and what it was given."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.outputs: list[dict[str, torch.Tensor]] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.batches.append(data_batch)
        self.outputs.append({name: value.detach() for name, value in outputs.items()})

    def of(self, name: str) -> list[float]:
        return [float(outputs[name]) for outputs in self.outputs]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    seed_generators(0)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def run(make_runner: Any, notes: Notes) -> Any:
    """Return a function that makes a runner without checkpoints and pictures, which takes notes."""

    def make(**changes: Any) -> Any:
        quiet = {"checkpoint": None, "summary": None}
        runner = make_runner(**{"env_cfg": {"device": "cpu"}, "default_hooks": quiet, **changes})
        runner.register_hook(notes)
        return runner

    return make
