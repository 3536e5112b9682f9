"""Whether what hooks and schedules watch is what a validation returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook, overrides
from ..hooks.rules import not_returned
from .check_report import NotTriedError

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["check_monitors"]


def check_monitors(runner: Runner, metrics: Sequence[str]) -> str:
    """Find what is watched and never returned, which else the first validation would say.

    Args:
        runner: The run.
        metrics: What a validation returns.

    Returns:
        Who watches what.

    Raises:
        ValueError: A metric is watched that is not returned.
        NotTriedError: There is nothing to find, or nobody can tell.
    """
    returned = list(metrics)
    if any(isinstance(hook, EMAHook) and hook.evaluate == "both" for hook in runner.hooks):
        returned += [f"raw/{metric}" for metric in metrics]
    foreign = [type(hook).__name__ for hook in runner.hooks if _may_add_metrics(hook)]
    watchers = list(_watchers(runner))
    for name, metric in watchers:
        if metric not in returned and metric != "auto":
            if foreign:
                raise NotTriedError(f"{', '.join(foreign)} may add {metric!r}, which {name} watches")
            raise ValueError(not_returned(metric, returned, name))
    if not watchers:
        raise NotTriedError("no metric is watched")
    return ", ".join(f"{name}: {metric}" for name, metric in watchers)


def _may_add_metrics(hook: Hook) -> bool:
    """Whether a hook is the user's, and gets the metrics: it may put some of its own to them."""
    return overrides(hook, "after_val_epoch") and not type(hook).__module__.startswith("mainspring.")


def _watchers(runner: Runner) -> Iterator[tuple[str, str]]:
    """Yield who watches a metric, and which."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            yield from (("save_best", metric) for metric in hook.metrics)
        elif isinstance(hook, EarlyStoppingHook):
            yield "EarlyStoppingHook", hook.monitor
    for schedule in runner.schedules if "optim_wrapper" in vars(runner) else ():
        if getattr(schedule, "need_val_args", False):  # a schedule may be anybody's
            yield type(schedule).__name__, str(getattr(schedule, "monitor", "auto"))
