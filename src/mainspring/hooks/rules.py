"""Which scores of a metric are the better ones, and what must be true of a score to be compared at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..utils import did_you_mean

__all__ = ["GREATER", "LESS", "check_rule", "not_returned", "rule_for", "score_of"]

GREATER = ("acc", "top", "AR@", "auc", "precision", "recall", "f1", "mAP", "mDice", "mIoU", "mAcc", "aAcc")
"""Metrics, or parts of their names, of which the greater score is better."""
LESS = ("loss", "error")
"""The same for the less."""


def rule_for(metric: str, owner: str, greater_keys: Sequence[str] = GREATER, less_keys: Sequence[str] = LESS) -> str:
    """Return ``'greater'`` or ``'less'``, as the name of a metric says.

    A name that is one of the keys is known by that; any other by the keys that it contains, in whatever case.

    Args:
        metric: The name.
        owner: Who asks; begins the message.
        greater_keys: Metrics, or parts of their names, of which the greater is better.
        less_keys: The same for the less.

    Raises:
        ValueError: The name says neither, or both.

    >>> rule_for("coco/bbox_mAP", "CheckpointHook"), rule_for("val_loss", "CheckpointHook")
    ('greater', 'less')
    """
    known = (("greater", greater_keys), ("less", less_keys))
    for rule, keys in known:
        if metric in keys:
            return rule
    folded = metric.lower()
    rules = [rule for rule, keys in known if any(key.lower() in folded for key in keys)]
    if len(rules) == 1:  # not both, as in top1_error
        return rules[0]
    raise ValueError(
        f"{owner}: whether a higher or a lower {metric!r} is better cannot be told from its name; say rule='greater' or"
        " rule='less'."
    )


def check_rule(rule: Any, owner: str) -> None:
    """Raise a ``ValueError`` that begins with ``owner`` unless the rule is ``'greater'`` or ``'less'``."""
    if rule not in ("greater", "less"):
        raise ValueError(f"{owner}: rule must be 'greater' or 'less', but it is {rule!r}.")


def score_of(value: Any, metric: str, watcher: str) -> float:
    """Return a result of a validation as a number of Python's.

    Args:
        value: A number of Python, NumPy or torch.
        metric: Its name.
        watcher: Who watches it; begins the message.

    Raises:
        TypeError: It is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{watcher} watches {metric!r}, which must be a number to be compared, but the validation returned"
            f" {value!r} ({type(value).__name__})."
        ) from error


def not_returned(metric: str, metrics: Iterable[str], watcher: str) -> str:
    """Return the message that a validation returned other metrics, but not the one that is watched."""
    metrics = list(metrics)
    return (
        f"{watcher} watches {metric!r}, which the validation did not return.{did_you_mean(metric, metrics)} It"
        f" returned: {', '.join(metrics) or 'nothing'}."
    )
