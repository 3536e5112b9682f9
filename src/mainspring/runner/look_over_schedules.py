"""What looks wrong with the schedules of a run: numbers that do not fit its length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..optim.several import describes_several
from ..registry import PARAM_SCHEDULERS
from .build import counts_epochs, is_own_loop
from .findings import Findings
from .look_over_parts import look_over_part

__all__ = ["look_over_schedules"]

_LENGTHS = ("end", "T_max", "step_size", "total_steps")
"""Arguments that are numbers of epochs or iterations."""
_ADDED = ("optimizer", "end")
_OF_CONVERSION = ("convert_to_iter_based", "epoch_length")


def look_over_schedules(found: Findings, given: Mapping[str, Any]) -> None:
    """Look over ``param_scheduler``."""
    for path, schedule in _placed(given.get("param_scheduler"), given.get("optim_wrapper")):
        if isinstance(schedule, Mapping):
            own = {key: schedule[key] for key in schedule if key not in _OF_CONVERSION}
            kind = look_over_part(found, own, path, PARAM_SCHEDULERS, _added(own))
            length = _length(given.get("train_cfg"))
            if kind is not None and length is not None and not getattr(kind, "need_val_args", False):
                _look_over_numbers(found, schedule, path, *length)


def _placed(given: Any, optim_wrapper: Any) -> Iterator[tuple[str, Any]]:
    """Yield the schedules, each with its place."""
    if isinstance(given, (list, tuple)):
        yield from ((f"param_scheduler[{index}]", one) for index, one in enumerate(given))
    elif isinstance(given, Mapping) and "type" not in given:
        for name, some in given.items() if describes_several(optim_wrapper) else ():
            each = some if isinstance(some, (list, tuple)) else [some]
            yield from ((f"param_scheduler[{name!r}][{index}]", one) for index, one in enumerate(each))
    elif given is not None:
        yield "param_scheduler[0]", given


def _added(schedule: Mapping[str, Any]) -> list[str]:
    kind = schedule.get("type")
    kind = PARAM_SCHEDULERS.get(kind) if isinstance(kind, str) else kind
    return ["optimizer"] if getattr(kind, "need_val_args", False) else list(_ADDED)


def _length(train_cfg: Any) -> tuple[int, bool] | None:
    """Return how long training is, and whether in epochs; None where nobody can tell."""
    if not isinstance(train_cfg, Mapping) or ("type" in train_cfg and not is_own_loop(train_cfg["type"])):
        return None
    by_epoch = counts_epochs(train_cfg)
    length = train_cfg.get("max_epochs" if by_epoch else "max_iters")
    return (length, by_epoch) if isinstance(length, int) and length > 0 else None


def _look_over_numbers(found: Findings, schedule: Mapping[str, Any], path: str, length: int, by_epoch: bool) -> None:
    """Compare the numbers of a schedule with the length of training."""
    unit = schedule.get("unit") or ("epoch" if schedule.get("by_epoch", True) else "iter")
    training = f"{length} {'epochs' if by_epoch else 'iterations'}"
    if unit == "epoch" and not by_epoch:
        if not schedule.get("convert_to_iter_based"):
            found.warn(
                path,
                f"it counts epochs, but training counts iterations ({length} of them), so it never advances. Write it"
                " with by_epoch=False, in iterations.",
            )
        return
    milestones = _numbers(schedule.get("milestones"))
    begin = max(_numbers(schedule.get("begin")), default=0)
    lengths = {name: schedule[name] for name in _LENGTHS if _numbers(schedule.get(name))}
    if unit == ("epoch" if by_epoch else "iter"):
        late = [step for step in milestones if begin + step >= length]
        far = {name: step for name, step in lengths.items() if step > 10 * length}
        if by_epoch and far:
            name, step = next(iter(far.items()))
            found.warn(
                f"{path}.{name}",
                f"it counts epochs, of which training has {training}, but it is {step}. If iterations were meant, write"
                " by_epoch=False.",
            )
        elif late:
            found.warn(
                f"{path}.milestones",
                f"{', '.join(map(str, late))} {'lies' if len(late) == 1 else 'lie'} past the end of training, which has"
                f" {training}, so that nothing happens there. Leave out what has no effect, or train longer.",
            )
        elif begin >= length:
            found.warn(
                f"{path}.begin", f"it is {begin}, but training has only {training}, so that the schedule never acts."
            )
    elif unit == "iter" and by_epoch:
        last = max([*milestones, *(step for name, step in lengths.items() if name != "step_size")], default=None)
        if last is not None and 1 < last <= length and (milestones or last == length):
            found.warn(
                path,
                f"with by_epoch=False it counts iterations, and is over after {last} of them, while training has"
                f" {training}. If epochs were meant, write by_epoch=True.",
            )


def _numbers(value: Any) -> list[int | float]:
    several = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in several if isinstance(one, int | float) and not isinstance(one, bool)]
