"""What a run is and where it stands: facts that others ask a runner for, read from their owners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .base_loop import BaseTrainLoop
    from .environment import Environment

__all__ = ["RunFacts"]


class RunFacts(ABC):
    """The facts of a run, for :class:`Runner`, which holds their owners."""

    env: Environment

    by_epoch: bool
    """Whether training counts epochs."""

    @property
    @abstractmethod
    def train_loop(self) -> BaseTrainLoop | None:
        """The training loop, or None."""

    def _of_train_loop(self, name: str, default: int) -> int:
        # A user's loop may be any BaseLoop, and need not know it.
        value: int = getattr(self.train_loop, name, default)
        return value

    @property
    def epoch(self) -> int:
        """Epochs that are finished; 0 without training."""
        loop = self.__dict__.get("train_loop")  # one that nobody has asked for yet has not begun
        return 0 if loop is None else loop.epoch

    @property
    def iter(self) -> int:
        """Iterations that are finished; 0 without training."""
        loop = self.__dict__.get("train_loop")  # one that nobody has asked for yet has not begun
        return 0 if loop is None else loop.iter

    @property
    def max_epochs(self) -> int:
        """Epochs of the whole run; 1 without training."""
        return self._of_train_loop("max_epochs", 1)

    @property
    def max_iters(self) -> int:
        """Iterations of the whole run; 1 without training."""
        return self._of_train_loop("max_iters", 1)

    @property
    def val_interval(self) -> int:
        """Epochs, or iterations, from one validation to the next; 1 without training."""
        return self._of_train_loop("val_interval", 1)

    @property
    def val_begin(self) -> int:
        """The first epoch, or iteration, after which a validation may follow; 1 without training."""
        return self._of_train_loop("val_begin", 1)

    @property
    def work_dir(self) -> str:
        """Where checkpoints, logs and results go."""
        return str(self.env.work_dir)

    @property
    def log_dir(self) -> str:
        """Where the log of this process goes: a folder of the work directory, called after the time."""
        return str(self.env.work_dir / self.env.timestamp)

    @property
    def timestamp(self) -> str:
        """When the runner was made: ``YYYYmmdd_HHMMSS``."""
        return self.env.timestamp

    @property
    def seed(self) -> int:
        """From which all randomness of the run follows."""
        return self.env.seed

    @property
    def deterministic(self) -> bool:
        """Whether torch must use deterministic algorithms."""
        return self.env.deterministic

    @property
    def sample_seeding(self) -> bool:
        """Whether each sample's augmentation follows from the seed and its place in the stream."""
        return self.env.sample_seeding

    @property
    def running_streams(self) -> bool:
        """Whether the steps draw from generators that run on from one step to the next."""
        return self.env.running_streams

    @property
    def device(self) -> torch.device:
        """Where the model was put."""
        return self.env.device

    @property
    def launcher(self) -> str:
        """What started the processes."""
        return self.env.launcher

    @property
    def rank(self) -> int:
        """This process's number among those of the run."""
        return self.env.rank

    @property
    def world_size(self) -> int:
        """The number of processes of the run."""
        return self.env.world_size

    @property
    def distributed(self) -> bool:
        """Whether the run has several processes."""
        return self.env.world_size > 1
