"""Randomness as a function of position."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from ..utils import Stream, mix, seed_generators, step_seeder
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["PositionSeedHook"]


@HOOKS.register_module()
class PositionSeedHook(Hook):
    """Sets the generators of Python, NumPy and torch at each step, epoch and evaluation from where the run stands.

    So dropout, augmentation on the device and noise are the same in a run that was stopped and resumed, and no
    generator's state need be saved. Where samples are not seeded (``randomness=dict(sample_seeding=False)``), the
    batches of an evaluation are not either: it is seeded when it begins. The runner registers it first of all hooks,
    for its own and for users' loops.
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._seed_step: Callable[[int], None] = _nothing
        self._seed_batch: Callable[[int], None] = _nothing

    def before_train(self, runner: Runner) -> None:
        """Look up what does not change in a run."""
        self._seed_step = step_seeder(Stream.STEP, runner.seed, runner.rank, runner.device)

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed what hooks draw when an epoch begins; the order of the data is the loader's affair."""
        seed_generators(mix(Stream.EPOCH, runner.seed, runner.epoch), runner.device)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what the step draws: dropout, mixing, noise."""
        self._seed_step(runner.iter)

    def before_val_epoch(self, runner: Runner) -> None:
        """Seed what hooks draw when a validation begins."""
        self._begin_evaluation(runner)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what the model draws, whatever the data has drawn in this process."""
        self._seed_batch(batch_idx)

    def before_test_epoch(self, runner: Runner) -> None:
        """Seed what hooks draw when a test begins."""
        self._begin_evaluation(runner)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what the model draws, whatever the data has drawn in this process."""
        self._seed_batch(batch_idx)

    def _begin_evaluation(self, runner: Runner) -> None:
        key = (Stream.EVALUATION, runner.seed, runner.rank)
        seed_generators(mix(*key, runner.iter), runner.device)
        # Where samples are not seeded, reading them may draw, and once an evaluation is what the user asked for.
        self._seed_batch = step_seeder(*key, runner.device, runner.iter) if runner.sample_seeding else _nothing


def _nothing(position: int) -> None:
    """Take the place of a seeder where the stage that makes it was not called."""
