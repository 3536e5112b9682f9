"""What tests of whole runs share: a small model, small data, and a runner around them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mainspring import BaseModel, Runner
from mainspring.logging import MMLogger

torch.set_num_threads(1)
# A busy machine is no failure, and a red run must be red again.
settings.register_profile("mainspring", deadline=None, derandomize=True)
settings.load_profile("mainspring")


@pytest.fixture(autouse=True)
def loggers_of_before() -> Iterator[None]:
    """Forget the loggers of a test behind it: the newest is "current", and may be a quiet one."""
    before = dict(MMLogger._instance_dict)
    yield
    MMLogger._instance_dict.clear()
    MMLogger._instance_dict.update(before)


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let logged tensors wait as those on an accelerator do: on the CPU they are read at once."""
    for user in ("logging.history_buffer", "optim.bad_numbers"):
        monkeypatch.setattr(f"mainspring.{user}.number_at_hand", lambda scalar: None)


class Net(BaseModel):
    """Classifies vectors of 6 numbers into 3 classes; dropout makes it depend on the step's randomness."""

    def __init__(self, dropout: float = 0.0, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor | None = None, mode: str = "tensor") -> Any:
        scores = self.layers(inputs)
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels)}
        return (scores, labels) if mode == "predict" else scores


def vectors(count: int = 20) -> TensorDataset:
    generator = torch.Generator().manual_seed(7)
    return TensorDataset(torch.randn(count, 6, generator=generator), torch.arange(count) % 3)


def loader(count: int = 20, batch_size: int = 4, **options: Any) -> DataLoader[Any]:
    return DataLoader(vectors(count), batch_size=batch_size, **options)


@pytest.fixture
def net() -> type[Net]:
    return Net


@pytest.fixture
def make_loader() -> Any:
    return loader


@pytest.fixture
def make_runner(tmp_path: Path) -> Any:
    """Return a function that makes a runner in ``tmp_path`` from a few arguments, the others by default."""

    def make(**changes: Any) -> Runner:
        torch.manual_seed(0)
        arguments: dict[str, Any] = {
            "model": Net(),
            "work_dir": tmp_path / "run",
            "train_dataloader": loader(shuffle=True),
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
            "val_dataloader": loader(8),
            "val_cfg": {},
            "val_evaluator": {"type": "Accuracy"},
            "randomness": {"seed": 3},
            "log_level": "WARNING",
        }
        arguments.update(changes)
        return Runner(**{name: value for name, value in arguments.items() if value is not ...})

    return make
