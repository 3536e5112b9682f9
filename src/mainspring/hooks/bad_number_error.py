"""What a user is told of a bad number: where it came up, what it came from, what is still good, and what helps."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from ..dataset import ResumableLoader
from ..optim.bad_numbers import BadNumber
from ..utils import display_path

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["BadNumberError", "in_words", "losses_at", "name_of_places", "update_counts"]

Place = tuple[int, int]

_ADVICE = """\
What may help:
 - a lower learning rate, or a warm-up: param_scheduler=[dict(type='LinearLR', start_factor=0.01, by_epoch=False, \
end=500), ...];
 - clipping, which makes spikes harmless: optim_wrapper=dict(..., clip_grad=dict(max_norm=1.0));
 - bfloat16, or no lower precision at all, in place of float16;
 - leaving out such steps: default_hooks=dict(bad_numbers=dict(type='BadNumbersHook', policy='skip')); or going back \
to the last checkpoint and leaving out the batch: policy='rollback';
 - torch.autograd.set_detect_anomaly(True), which names the operation behind a bad gradient, and is slow."""


class BadNumberError(ValueError):
    """A loss, a gradient or a weight is not finite.

    Args:
        message: What the user is told.
        iteration: The first iteration in which it was so, counted from 0 as by ``runner.iter``.
        places: Of its batch, or of all batches that the gradient came from: the pass over the data, and the number in
            it, both from 0; empty where they are not known.
    """

    def __init__(self, message: str, iteration: int, places: tuple[Place, ...] = ()) -> None:
        super().__init__(message)
        self.iteration = iteration
        self.places = places

    @classmethod
    def of(
        cls,
        runner: Runner,
        bad: BadNumber,
        first: int,
        losses: dict[str, float],
        places: tuple[Place, ...],
        checkpoint: os.PathLike[str] | None,
        gradients_seen: bool,
    ) -> BadNumberError:
        """Make the error.

        Args:
            runner: The run.
            bad: The number.
            first: The first iteration that had a part in it: of a gradient, the first of its accumulation group.
            losses: The losses of that iteration by name.
            places: See above.
            checkpoint: The newest checkpoint that this run has written.
            gradients_seen: Whether the gradients of each step were looked at too.
        """
        lines = [in_words(bad, first, runner.max_iters), *_losses_in_words(losses)]
        if bad.what == "weights":
            lines.append("The losses were finite, so it was a gradient that was not. It was found before it was saved.")
        elif bad.what == "loss" and not gradients_seen:
            lines.append(
                "If the loss itself can be no reason: gradients are not looked at without clip_grad, and one of the"
                " iteration before may have made the weights so."
            )
        if places:
            lines += _batch_in_words(runner, places)
        if checkpoint is None:
            lines.append("This run has saved no checkpoint yet.")
        else:
            lines.append(
                f"The last checkpoint is good: {display_path(checkpoint)!r}. With resume='auto' the run goes on from"
                " it, but it comes to the same batch again: change something first."
            )
        return cls("\n".join([*lines, _ADVICE]), bad.iteration, places)


def in_words(bad: BadNumber, first: int, max_iters: int) -> str:
    """Return what is wrong in one sentence; iterations are counted from 1, as in log lines.

    >>> in_words(BadNumber(float("nan"), "gradient", 5), 4, 100)
    'The norm of the gradient is nan in iteration 6 of 100, of the group that began with iteration 5.'
    """
    where = f"in iteration {bad.iteration + 1} of {max_iters}"
    if bad.what == "weights":
        return f"Weights are not finite after the update {where}."
    if bad.what == "gradient":
        group = f", of the group that began with iteration {first + 1}" if first < bad.iteration else ""
        return f"The norm of the gradient is {bad.value} {where}{group}."
    return f"The loss is {bad.value} {where}."


def name_of_places(places: tuple[Place, ...]) -> str:
    """Return batches in words, as they are counted in the data: from 0.

    >>> name_of_places(((2, 4), (2, 5)))
    'batch 4 of pass 2 and batch 5 of pass 2'
    """
    return " and ".join(f"batch {number} of pass {number_of_pass}" for number_of_pass, number in places)


def update_counts(runner: Runner) -> dict[str, int]:
    """Return how often each loss was recorded so far; nothing is read from the device."""
    scalars = runner.message_hub.log_scalars
    return {key: buffer.total_updates for key, buffer in scalars.items() if key.startswith("train/") and "loss" in key}


def losses_at(runner: Runner, iteration: int, first: int, done: int, counts: dict[str, int]) -> dict[str, float]:
    """Return the losses of an iteration, as far as it is known which of the recorded values those are.

    Args:
        runner: The run.
        iteration: The iteration.
        first: An iteration at whose beginning :func:`update_counts` was asked.
        done: Iterations that are recorded now.
        counts: What it returned then.
    """
    found: dict[str, float] = {}
    for key, count in update_counts(runner).items():
        values = runner.message_hub.get_scalar(key).data[0]
        back = done - iteration
        if count - counts.get(key, 0) == done - first and 0 < back <= len(values):  # recorded once an iteration
            found[key.removeprefix("train/")] = float(values[-back])
    return found


def _losses_in_words(losses: dict[str, float]) -> list[str]:
    parts = {name: value for name, value in losses.items() if name != "loss"}  # which is their sum
    if not parts and all(math.isfinite(value) for value in losses.values()):
        parts = losses
    bad = [f"{name} is {value}" for name, value in parts.items() if not math.isfinite(value)]
    good = [f"{name} is {value:.4g}" for name, value in parts.items() if math.isfinite(value)]
    lines = [f"Not finite: {', '.join(bad)}."] if bad else []
    return [*lines, f"Finite: {', '.join(good)}."] if good else lines


def _batch_in_words(runner: Runner, places: tuple[Place, ...]) -> list[str]:
    loader = runner.train_dataloader
    line = f"It came from {name_of_places(places)} over the data, counted from 0"
    size = _batch_size(loader)
    if size is not None and len(places) == 1:
        begin = places[0][1] * size
        share = f", of the share of rank {runner.rank}" if runner.world_size > 1 else ""
        line += f": samples {begin} to {begin + size - 1} in the order of that pass{share}"
    lines = [f"{line}."]
    if isinstance(loader, ResumableLoader):
        number_of_pass, number = places[-1]
        lines.append(
            f"To look at it: loader = runner.train_dataloader; loader.seek({number_of_pass}, {number}); batch ="
            " next(iter(loader))"
        )
    return lines


def _batch_size(loader: Any) -> int | None:
    size = loader.batch_size
    if size is None:  # it has a batch sampler of its own, which may know
        size = getattr(loader.batch_sampler, "batch_size", None)
    return size if isinstance(size, int) else None
