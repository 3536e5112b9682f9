"""What can happen around a run, and when."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ..utils import did_you_mean

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["Hook", "Priority", "get_priority"]

DataBatch = Any


class Priority(IntEnum):
    """When a hook runs within a stage: the lower the number, the earlier."""

    HIGHEST = 0
    VERY_HIGH = 10
    HIGH = 30
    ABOVE_NORMAL = 40
    NORMAL = 50
    BELOW_NORMAL = 60
    LOW = 70
    VERY_LOW = 90
    LOWEST = 100


def get_priority(priority: int | str | Priority) -> int:
    """Return a priority as a number from 0 to 100.

    Raises:
        TypeError: It is neither a number nor a string.
        ValueError: There is no such name, or the number is out of range.

    >>> get_priority("VERY_LOW"), get_priority(42)
    (90, 42)
    """
    if isinstance(priority, str):
        name = priority.upper()
        if name not in Priority.__members__:
            raise ValueError(
                f"There is no priority {priority!r}.{did_you_mean(priority, Priority.__members__)}"
                f" The names are: {', '.join(Priority.__members__)}."
            )
        return int(Priority[name])
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise TypeError(f"A priority is a number from 0 to 100 or a name such as 'NORMAL', but it is {priority!r}.")
    if not 0 <= priority <= 100:
        raise ValueError(f"A priority lies between 0 and 100, but it is {priority}.")
    return int(priority)


class Hook:
    """Something that acts at stages of a run. A subclass overrides the stages at which it acts.

    Around a run come ``before_run`` and ``after_run``; around a loop ``before_train`` and ``after_train``, and so for
    ``val`` and ``test``; around an epoch ``before_train_epoch`` and so on; around an iteration
    ``before_train_iter`` and so on; and ``before_save_checkpoint`` and ``after_load_checkpoint``. What is the same
    for all three loops can go into ``_before_epoch``, ``_after_epoch``, ``_before_iter`` and ``_after_iter``, which the
    loop's own stages call unless they are overridden.

    In ``after_train_epoch`` and ``after_train_iter``, ``runner.epoch`` and ``runner.iter`` still count what is finished
    without the one that is ending.

    A hook may save a checkpoint at any stage. A run that goes on from one saved in ``before_train_iter`` begins with
    this stage; from one saved in ``after_train_iter``, ``after_train_epoch`` or ``after_val_epoch``, with what follows
    it, so that the hook that saves comes behind those that change the run there: a warning names them if it does not.
    Behind a loss within the model's ``train_step`` nothing can be saved exactly; another warning says so.

    Attributes:
        priority: The order within a stage; see :class:`Priority`.
        stages: All stages, in the order of a run.
        idle_at: Stages at which this hook, though it has a method for them, has nothing to do in this run, so that it
            is not called. It is set before the first of them comes, in ``before_run`` at best.
    """

    priority: int | str | Priority = "NORMAL"

    idle_at: Collection[str] = ()

    stages: tuple[str, ...] = (
        "before_run", "after_load_checkpoint", "before_train", "before_train_epoch", "before_train_iter",
        "after_train_iter", "after_train_epoch", "before_val", "before_val_epoch", "before_val_iter",
        "after_val_iter", "after_val_epoch", "after_val", "before_save_checkpoint", "after_train",
        "before_test", "before_test_epoch", "before_test_iter", "after_test_iter", "after_test_epoch",
        "after_test", "after_run",
    )  # fmt: skip

    def before_run(self, runner: Runner) -> None:
        """Act before a run: everything is built, no checkpoint is loaded yet."""

    def after_run(self, runner: Runner) -> None:
        """Act at the end of a run that was not interrupted."""

    def before_train(self, runner: Runner) -> None:
        """Act before training: a checkpoint, if there is one, is loaded."""

    def after_train(self, runner: Runner) -> None:
        """Act after training."""

    def before_val(self, runner: Runner) -> None:
        """Act before a validation."""

    def after_val(self, runner: Runner) -> None:
        """Act after a validation."""

    def before_test(self, runner: Runner) -> None:
        """Act before a test."""

    def after_test(self, runner: Runner) -> None:
        """Act after a test."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Act before a checkpoint is written; what is added to it is saved with it."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Act after a checkpoint was read, before its parts are loaded."""

    def before_train_epoch(self, runner: Runner) -> None:
        """Act before an epoch of training."""
        self._before_epoch(runner, mode="train")

    def before_val_epoch(self, runner: Runner) -> None:
        """Act before the pass over the validation data."""
        self._before_epoch(runner, mode="val")

    def before_test_epoch(self, runner: Runner) -> None:
        """Act before the pass over the test data."""
        self._before_epoch(runner, mode="test")

    def after_train_epoch(self, runner: Runner) -> None:
        """Act after an epoch of training."""
        self._after_epoch(runner, mode="train")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Act after the pass over the validation data; ``metrics`` are its results by name."""
        self._after_epoch(runner, mode="val")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Act after the pass over the test data; ``metrics`` are its results by name."""
        self._after_epoch(runner, mode="test")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: DataBatch = None) -> None:
        """Act before an iteration of training."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="train")

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: DataBatch = None) -> None:
        """Act before a batch of validation."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="val")

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: DataBatch = None) -> None:
        """Act before a batch of test."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="test")

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DataBatch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Act after an iteration of training; ``outputs`` is what ``train_step`` returned, on the device."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="train")

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DataBatch = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Act after a batch of validation; ``outputs`` are its predictions."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="val")

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DataBatch = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Act after a batch of test; ``outputs`` are its predictions."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="test")

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        """Act before every pass over data."""

    def _after_epoch(self, runner: Runner, mode: str = "train") -> None:
        """Act after every pass over data."""

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch: DataBatch = None, mode: str = "train") -> None:
        """Act before every iteration."""

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DataBatch = None,
        outputs: Any = None,
        mode: str = "train",
    ) -> None:
        """Act after every iteration."""

    def before_stop(self, runner: Runner) -> None:
        """Act when a signal ends the training, between two iterations or within a validation, which is abandoned.

        With ``env_cfg=dict(on_usr1='save')`` it is also called when SIGUSR1 asks for a checkpoint, and training goes
        on.

        Hooks are called in the order of their priorities. One that has changed the model for the length of a validation
        changes it back here; the hook that saves checkpoints, behind it, saves one.
        """

    def close(self) -> None:
        """Release what the hook holds; called when a run is over, however it ended."""

    def state_dict(self) -> dict[str, Any]:
        """Return what of this hook must survive a stop; nothing by default.

        What is returned comes back in its types: tensors, NumPy's arrays and numbers, numbers, strings, None, paths,
        and dicts, lists, tuples, sets, deques, counters and the like of these. Anything else is an error when it is
        saved. See :func:`mainspring.checkpoint.to_plain`.

        Of several hooks of one class, each gets back its own: they are told apart by their priority and their public
        attributes, as these were when they were registered.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""

    def every_n_epochs(self, runner: Runner, n: int, start: int = 0) -> bool:
        """Whether the epoch that is ending is the ``n``-th since ``start``; never for ``n`` below 1."""
        return n > 0 and runner.epoch + 1 >= start and (runner.epoch + 1 - start) % n == 0

    def every_n_inner_iters(self, batch_idx: int, n: int) -> bool:
        """Whether the batch is an ``n``-th of its epoch; never for ``n`` below 1."""
        return n > 0 and (batch_idx + 1) % n == 0

    def every_n_train_iters(self, runner: Runner, n: int, start: int = 0) -> bool:
        """Whether the iteration that is ending is the ``n``-th since ``start``; never for ``n`` below 1."""
        return n > 0 and runner.iter + 1 >= start and (runner.iter + 1 - start) % n == 0

    def end_of_epoch(self, dataloader: Any, batch_idx: int) -> bool:
        """Whether the batch is the last of its data loader."""
        return bool(batch_idx + 1 == len(dataloader))

    def is_last_train_epoch(self, runner: Runner) -> bool:
        """Whether the epoch that is running is the last of the run."""
        return runner.epoch + 1 == runner.max_epochs

    def is_last_train_iter(self, runner: Runner) -> bool:
        """Whether the iteration that is running is the last of the run."""
        return runner.iter + 1 == runner.max_iters
