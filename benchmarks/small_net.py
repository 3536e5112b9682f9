"""The whole step of a small residual network, beside the loop by hand: by default, and with what makes it faster.

Three stages of 16, 32 and 64 channels, images of 3 x 32 x 32 as bytes that are normalised in the step, batches of 16,
SGD with momentum. Both sides take the same; by hand it is written as one does: torch's default optimizer, gradients
set to none, ``(x.float() - mean) / std``. By default, a run is promised to be no slower; compiled and in channels-last
at least 1.4 times faster.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import measure
from mainspring import BaseModel, Hook, Runner
from measure import MILLI, Taken

BATCH, BATCHES = 16, 32
MEAN, STD = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
SGD: dict[str, Any] = {"lr": 0.01, "momentum": 0.9}


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Network(nn.Module):
    """The network, always with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        channels = ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64))
        self.stages = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in channels))
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        return self.head(self.stages(self.stem(images)).mean((2, 3)))


class Classifier(BaseModel):
    """The network as a model of ours."""

    def __init__(self) -> None:
        super().__init__({"type": "ImgDataPreprocessor", "mean": MEAN, "std": STD})
        self.network = Network()

    def forward(self, images: torch.Tensor, labels: torch.Tensor, mode: str) -> Any:
        """Return the loss."""
        return {"loss": F.cross_entropy(self.network(images), labels)}


def data() -> DataLoader[Any]:
    """Return images of random bytes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH * BATCHES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return DataLoader(TensorDataset(images, torch.arange(len(images)) % 10), batch_size=BATCH, shuffle=True)


class Clock:
    """Measures a stretch of steps, behind some that warm up."""

    def __init__(self, warm_up: int, steps: int) -> None:
        self.first, self.last = warm_up, warm_up + steps
        self.calls = 0
        self.begin = self.end = Taken(0.0, 0.0)

    def tick(self) -> None:
        """Say that a step begins."""
        if self.calls == self.first:
            self.begin = Taken.now()
        if self.calls == self.last:
            self.end = Taken.now()
        self.calls += 1

    def per_step(self) -> Taken:
        """Return what a step took."""
        return self.end.since(self.begin, self.last - self.first)


def by_hand(clock: Clock, channels_last: bool = False, compile: bool = False) -> None:  # noqa: A002
    """Train as one writes it without an engine."""
    model: nn.Module = Network()
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if compile:
        model.compile()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    loader = data()
    for images, labels in islice((batch for epoch in cycle((loader,)) for batch in epoch), clock.last + 1):
        clock.tick()
        images = (images.float() - mean) / std
        if channels_last:
            images = images.to(memory_format=torch.channels_last)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Tick(Hook):
    """Reads the clock as a step begins; within the model it would be compiled."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Read it."""
        self.clock.tick()


def by_mainspring(clock: Clock, **options: Any) -> None:
    """Train with a Runner by default, or with options."""
    with tempfile.TemporaryDirectory() as folder:
        Runner(
            model=Classifier(),
            work_dir=folder,
            train_dataloader=data(),
            train_cfg={"by_epoch": False, "max_iters": clock.last + 1},
            optim_wrapper={"optimizer": {"type": "SGD", **SGD}},
            default_hooks={"logger": {"type": "LoggerHook", "interval": 50}},
            custom_hooks=[Tick(clock)],
            randomness={"seed": 0},
            resume="auto",
            log_level="WARNING",
            **options,
        ).train()


CONTENDERS: dict[str, tuple[Callable[..., None], dict[str, Any], str]] = {
    "by hand": (by_hand, {}, ""),
    "by hand, channels-last": (by_hand, {"channels_last": True}, ""),
    "by hand, channels-last, compiled": (by_hand, {"channels_last": True, "compile": True}, ""),
    "by hand, compiled": (by_hand, {"compile": True}, ""),
    "mainspring": (by_mainspring, {}, "1.00"),
    "mainspring, channels-last": (by_mainspring, {"env_cfg": {"channels_last": True}}, ""),
    "mainspring, compiled": (by_mainspring, {"compile": True}, ""),
    "mainspring, channels-last, compiled": (
        by_mainspring,
        {"env_cfg": {"channels_last": True}, "compile": True},
        "0.71",
    ),
}
"""By name, what trains, its arguments, and the ratio to the first that is promised."""


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=3))
    report = measure.Report("small_net", options)
    warm_up, steps = (1, 2) if options.short else (10, 60)
    compiles = not options.short and measure.can_compile()

    def once(train: Callable[..., None], arguments: dict[str, Any]) -> Taken:
        clock = Clock(warm_up, steps)
        train(clock, **arguments)
        return clock.per_step()

    asked = {
        name: lambda train=train, arguments=arguments: once(train, arguments)
        for name, (train, arguments, _) in CONTENDERS.items()
        if compiles or not arguments.get("compile")
    }
    found: dict[str, list[Taken]] = measure.in_turn(asked, options.rounds)
    report.keep("steps", found)
    table = measure.Table("ms a step (least / median)", "CPU", "wall", "ratio of CPU to by hand", "promised")
    for name, many in found.items():
        figures = [measure.low_and_middle(of(many), MILLI, 2) for of in (measure.cpu, measure.wall)]
        ratio = "" if name == "by hand" else measure.ratio(measure.cpu(many), measure.cpu(found["by hand"]))
        table.add(name, *figures, ratio, CONTENDERS[name][2])
    report.say(table)
    report.close()


if __name__ == "__main__":
    main()
