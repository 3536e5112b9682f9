"""The same small training by hand, by mainspring and by its peers, with a clock in the user's part of the step.

A Linear(32, 10), batches of 8, SGD with momentum (fused, on all sides), a log line every 50 iterations.
"""

from __future__ import annotations

import cProfile
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from measure import Taken

BATCH, WARM_UP, LOG_EVERY = 8, 200, 50
SGD: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "fused": True}


Train = Callable[[Path, "Clock"], None]
"""Trains in a folder until the clock has seen enough."""
Rows = dict[str, Train]


class Vectors(Dataset[tuple[torch.Tensor, int]]):
    """Vectors of 32 numbers, in 10 classes."""

    def __init__(self, batches: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.vectors = list(torch.randn(1024, 32, generator=generator))
        self.count = batches * BATCH

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.vectors[index % 1024], index % 10


class Clock:
    """Measures a stretch of iterations, behind some that warm up."""

    def __init__(self, iterations: int, profile: cProfile.Profile | None = None) -> None:
        self.calls, self.first, self.last = 0, WARM_UP, WARM_UP + iterations
        self.profile = profile
        self.begin = self.end = Taken(0.0, 0.0)

    def tick(self) -> None:
        """Say that an iteration has come to the user's code."""
        self.calls += 1
        if self.calls == self.first:
            self.begin = Taken.now()
            if self.profile is not None:
                self.profile.enable()
        elif self.calls == self.last:
            if self.profile is not None:
                self.profile.disable()
            self.end = Taken.now()

    def loader(self) -> DataLoader[Any]:
        """Return data for the stretch."""
        return DataLoader(Vectors(self.last + 10), batch_size=BATCH, shuffle=True)

    def per_iteration(self) -> Taken:
        """Return what an iteration took."""
        if self.calls < self.last:
            raise RuntimeError(f"The run ended after {self.calls} of {self.last} iterations.")
        return self.end.since(self.begin, self.last - self.first)


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None


def by_hand(folder: Path, clock: Clock) -> None:
    """Train as one writes it without an engine."""
    model = nn.Linear(32, 10)
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        for index, (x, y) in enumerate(clock.loader()):
            clock.tick()
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (index + 1) % LOG_EVERY == 0:
                print(f"[{index + 1}] loss: {loss.item():.4f}", file=log)


def classifier(base: type, clock: Clock) -> Any:
    """Return a model of mainspring's or MMEngine's kind."""

    class Classifier(base):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 10)

        def forward(self, x: torch.Tensor, y: torch.Tensor, mode: str) -> Any:
            clock.tick()
            return {"loss": F.cross_entropy(self.layer(x), y)}

    return Classifier()


def cycle_of(clock: Clock, by_epoch: bool) -> dict[str, Any]:
    """Return ``train_cfg``."""
    return {"by_epoch": True, "max_epochs": 1} if by_epoch else {"by_epoch": False, "max_iters": clock.last + 5}


def mainspring(by_epoch: bool, slots: dict[str, Any] | None = None, **randomness: Any) -> Train:
    """Return a run of mainspring, by default but for the intervals of log lines and checkpoints."""
    from mainspring import BaseModel, Runner

    def run(folder: Path, clock: Clock) -> None:
        Runner(
            model=classifier(BaseModel, clock),
            work_dir=folder,
            train_dataloader=clock.loader(),
            train_cfg=cycle_of(clock, by_epoch),
            optim_wrapper={"optimizer": {"type": "SGD", **SGD}},
            default_hooks={
                "logger": {"type": "LoggerHook", "interval": LOG_EVERY},
                "checkpoint": {"type": "CheckpointHook", "interval": 10**6, "by_epoch": False},
                **(slots or {}),
            },
            randomness={"seed": 0, **randomness},
            resume="auto",
        ).train()

    return run


def mainspring_rows() -> Rows:
    """Return the runs of mainspring."""
    return {
        "mainspring, epochs": mainspring(True, sample_seeding=False),
        "mainspring, iterations": mainspring(False, sample_seeding=False),
        "mainspring, epochs, samples seeded": mainspring(True),
        "mainspring, iterations, samples seeded": mainspring(False),
        "mainspring, epochs, running streams": mainspring(True, sample_seeding=False, running_streams=True),
    }


def mmengine_rows() -> Rows:
    """Return the runs of MMEngine."""
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    def mmengine(by_epoch: bool) -> Train:
        def run(folder: Path, clock: Clock) -> None:
            Runner(
                model=classifier(BaseModel, clock),
                work_dir=str(folder),
                train_dataloader=clock.loader(),
                train_cfg=cycle_of(clock, by_epoch),
                optim_wrapper={"optimizer": {"type": "SGD", **SGD}},
                default_hooks={
                    "logger": {"type": "LoggerHook", "interval": LOG_EVERY},
                    "checkpoint": {"type": "CheckpointHook", "interval": 10**6, "by_epoch": False},
                },
                log_processor={"by_epoch": by_epoch},
                randomness={"seed": 0},
                experiment_name=folder.name,
            ).train()

        return run

    return {"mmengine, epochs": mmengine(True), "mmengine, iterations": mmengine(False)}


def lightning_rows() -> Rows:
    """Return the runs of Lightning."""
    pl = importlib.import_module("lightning.pytorch" if has("lightning") else "pytorch_lightning")

    def lightning(bare: bool) -> Train:
        def run(folder: Path, clock: Clock) -> None:
            class Classifier(pl.LightningModule):
                def __init__(self) -> None:
                    super().__init__()
                    self.layer = nn.Linear(32, 10)

                def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
                    clock.tick()
                    x, y = batch
                    loss = F.cross_entropy(self.layer(x), y)
                    if not bare:
                        self.log("loss", loss)
                    return loss

                def configure_optimizers(self) -> torch.optim.Optimizer:
                    return torch.optim.SGD(self.parameters(), **SGD)

            everything_off = dict.fromkeys(
                ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
            )
            pl.Trainer(
                default_root_dir=folder,
                max_epochs=1,
                accelerator="cpu",
                log_every_n_steps=LOG_EVERY,
                **(everything_off if bare else {}),
            ).fit(Classifier(), clock.loader())

        return run

    return {"lightning, default": lightning(False), "lightning, all off": lightning(True)}


def fabric_rows() -> Rows:
    """Return the run of Fabric."""
    fabric_package = importlib.import_module("lightning.fabric" if has("lightning") else "lightning_fabric")

    def run(folder: Path, clock: Clock) -> None:
        fabric = fabric_package.Fabric(accelerator="cpu", devices=1)
        fabric.launch()
        model = nn.Linear(32, 10)
        model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), **SGD))
        train(folder, clock, model, optimizer, fabric.setup_dataloaders(clock.loader()), fabric.backward)

    return {"fabric": run}


def accelerate_rows() -> Rows:
    """Return the run of Accelerate."""
    from accelerate import Accelerator

    def run(folder: Path, clock: Clock) -> None:
        accelerator = Accelerator(cpu=True)
        model = nn.Linear(32, 10)
        prepared = accelerator.prepare(model, torch.optim.SGD(model.parameters(), **SGD), clock.loader())
        train(folder, clock, *prepared, accelerator.backward)

    return {"accelerate": run}


def train(folder: Path, clock: Clock, model: Any, optimizer: Any, loader: Any, backward: Callable[[Any], None]) -> None:
    """Train by hand, with parts that a peer has wrapped."""
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        for index, (x, y) in enumerate(loader):
            clock.tick()
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            backward(loss)
            optimizer.step()
            if (index + 1) % LOG_EVERY == 0:
                print(f"[{index + 1}] loss: {loss.item():.4f}", file=log)


def ignite_rows() -> Rows:
    """Return the run of Ignite."""
    from ignite.engine import Engine, Events

    def run(folder: Path, clock: Clock) -> None:
        model = nn.Linear(32, 10)
        optimizer = torch.optim.SGD(model.parameters(), **SGD)

        def step(engine: Any, batch: Any) -> torch.Tensor:
            clock.tick()
            x, y = batch
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        trainer = Engine(step)
        with (folder / "log.txt").open("w", encoding="utf-8") as log:

            def tell(engine: Any) -> None:
                print(f"[{engine.state.iteration}] loss: {engine.state.output.item():.4f}", file=log)

            trainer.add_event_handler(Events.ITERATION_COMPLETED(every=LOG_EVERY), tell)
            trainer.run(clock.loader(), max_epochs=1)

    return {"ignite": run}


ENGINES: dict[str, tuple[tuple[str, ...], Callable[[], Rows]]] = {
    "mainspring": (("mainspring",), mainspring_rows),
    "mmengine": (("mmengine",), mmengine_rows),
    "lightning": (("lightning", "pytorch_lightning"), lightning_rows),
    "fabric": (("lightning", "lightning_fabric"), fabric_rows),
    "accelerate": (("accelerate",), accelerate_rows),
    "ignite": (("ignite",), ignite_rows),
}
"""By engine, the packages one of which it needs, and its rows."""
