"""The place at which a loop goes on, whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dataset import ResumableLoader, place_of
from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["PlaceHook"]


@HOOKS.register_module()
class PlaceHook(Hook):
    """Brings loops that a user wrote to where the run stands when it goes on after a stop.

    The loops of this library go there themselves. One that iterates over ``self.dataloader`` in its own ``run`` or
    ``run_epoch`` begins, by this hook, with the batch behind those that are used up; and a validation that was due
    when the run stopped is made up for. Hooks that read the training data at their stages take nothing from the loop,
    whoever wrote that. The runner always registers it.
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._epoch = 0
        self._first_iter = 0

    def before_train(self, runner: Runner) -> None:
        """Let hooks that read the data at their stages leave alone what the loop reads."""
        loader = runner.train_dataloader
        if isinstance(loader, ResumableLoader):
            loader.is_aside = lambda: bool(runner.running_stages)

    def before_train_epoch(self, runner: Runner) -> None:
        """Make up for a validation, and seek in the data."""
        if runner.epoch != self._epoch:
            self._epoch, self._first_iter = runner.epoch, runner.iter
        loop: Any = runner.train_loop
        if getattr(loop, "uses_rest_of_pass", False):  # a user's loop may be any
            return
        if hasattr(loop, "make_up_validation"):
            loop.make_up_validation()
        loader = runner.train_dataloader
        number, done = self._epoch, runner.iter - self._first_iter
        if not runner.by_epoch:
            number, done = place_of(loader, runner.iter)
        if isinstance(loader, ResumableLoader):
            if not loader.is_being_read:  # else the loop began before it knew its place, and drops what is used
                loader.seek(number, done)
        elif done:
            runner.logger.warning(
                f"{type(loop).__name__} iterates over train_dataloader itself, and {type(loader).__name__} over"
                f" {type(loader.dataset).__name__} cannot begin within a pass: unless the loop drops them, the {done}"
                " batches that were used before the run stopped are trained on once more. To go on exactly, iterate"
                " over self.rest_of_pass() of BaseTrainLoop."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch that was begun last, and at which iteration that was."""
        return {"epoch": self._epoch, "first_iter": self._first_iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self._epoch, self._first_iter = state_dict["epoch"], state_dict["first_iter"]
