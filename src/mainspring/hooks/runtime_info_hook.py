"""What every other part may want to know of a run: where it is, its losses, its metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..optim import OptimWrapper
from ..registry import HOOKS
from ..utils import display_path
from .hook import Hook
from .results import numbers_in

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["RuntimeInfoHook"]


@HOOKS.register_module()
class RuntimeInfoHook(Hook):
    """Puts epoch, iteration, their maxima, learning rate, losses and metrics into the message hub."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._enter_iteration: Callable[[int], None] = _nothing

    def before_run(self, runner: Runner) -> None:
        """Record what does not change in a run."""
        hub = runner.message_hub
        hub.update_info("experiment_name", runner.experiment_name)
        hub.update_info("seed", runner.seed)

    def before_train(self, runner: Runner) -> None:
        """Record where the run begins and ends."""
        hub = runner.message_hub
        hub.update_info("loop_stage", "train")
        hub.update_info("epoch", runner.epoch)
        hub.update_info("iter", runner.iter)
        hub.update_info("max_epochs", runner.max_epochs)
        hub.update_info("max_iters", runner.max_iters)
        wrapper: Any = runner.optim_wrapper  # anybody's, which need not ask
        self._enter_iteration = wrapper.enter_iteration if isinstance(wrapper, OptimWrapper) else _nothing
        dataset = runner.train_dataloader.dataset
        hub.update_info("dataset_meta", getattr(dataset, "metainfo", None))
        if runner.iter < runner.max_iters:
            runner.logger.info(_opening(runner))

    def after_train(self, runner: Runner) -> None:
        """Forget the stage."""
        runner.message_hub.pop_info("loop_stage", None)

    def before_train_epoch(self, runner: Runner) -> None:
        """Record the epoch."""
        runner.message_hub.update_info("epoch", runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Record the iteration and the learning rates it will use; the optimizer wrapper learns the iteration too."""
        hub, iteration, optim_wrapper = runner.message_hub, runner.iter, runner.optim_wrapper
        hub.update_info("iter", iteration)
        self._enter_iteration(iteration)
        for name, values in optim_wrapper.get_lr().items():
            hub.update_scalar("train/" + name, values[0])

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Record the losses, without reading them."""
        if outputs is None:
            return
        if not isinstance(outputs, Mapping):
            raise TypeError(
                f"train_step of {runner.model_name} returned an object of type {type(outputs).__name__}, but a"
                " dict of the scalars to log is expected, such as {'loss': loss}, or None."
            )
        hub = runner.message_hub
        for name, value in outputs.items():
            hub.update_scalar("train/" + name, value)

    def before_val(self, runner: Runner) -> None:
        """Record the stage."""
        runner.message_hub.update_info("last_loop_stage", runner.message_hub.get_info("loop_stage"))
        runner.message_hub.update_info("loop_stage", "val")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Record the results."""
        self._record(runner, metrics, "val")

    def after_val(self, runner: Runner) -> None:
        """Return to the stage from which the validation was called."""
        hub = runner.message_hub
        stage = hub.get_info("last_loop_stage")
        hub.pop_info("last_loop_stage", None)
        hub.pop_info("loop_stage", None)
        if stage is not None:
            hub.update_info("loop_stage", stage)

    def before_test(self, runner: Runner) -> None:
        """Record the stage."""
        runner.message_hub.update_info("loop_stage", "test")

    def after_test(self, runner: Runner) -> None:
        """Forget the stage."""
        runner.message_hub.pop_info("loop_stage", None)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Record the results."""
        self._record(runner, metrics, "test")

    def _record(self, runner: Runner, metrics: dict[str, Any] | None, mode: str) -> None:
        numbers = numbers_in(metrics)
        for name, value in (metrics or {}).items():
            if name in numbers:
                runner.message_hub.update_scalar(f"{mode}/{name}", numbers[name])
            else:
                runner.message_hub.update_info(f"{mode}/{name}", value)


def _nothing(iteration: int) -> None:
    """Take the place of ``enter_iteration`` where the optimizer wrapper has none."""


def _opening(runner: Runner) -> str:
    parameters = sum(p.numel() for p in runner.model.parameters())
    trainable = sum(p.numel() for p in runner.model.parameters() if p.requires_grad)
    size = f"{parameters:,} parameters" + (f", {trainable:,} of them trainable" if trainable < parameters else "")
    by_epoch = runner.by_epoch
    done, length = (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
    unit = "epochs" if by_epoch else "iterations"
    span = f"{length} {unit}" if done == 0 else f"{unit} {done + 1} to {length}"
    where = display_path(runner.work_dir)
    return f"Training {runner.model_name} ({size}) on {runner.device}, {span}, seed {runner.seed}, in {where}"
