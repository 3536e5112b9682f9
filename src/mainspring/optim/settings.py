"""Which settings of an optimizer were changed on purpose between two runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

__all__ = ["changed_settings", "settings_of", "told"]

_PLAIN = (bool, int, float, str, type(None))


def settings_of(groups: Iterable[Mapping[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the settings of each parameter group, as they are without schedules, as far as they are plain values.

    >>> settings_of([{"params": [0], "lr": 0.01, "initial_lr": 0.1, "nesterov": False}], ["lr", "nesterov"])
    [{'lr': 0.1, 'nesterov': False}]
    """
    names = list(names)
    found = []
    for group in groups:
        settings = {name: group.get(f"initial_{name}", group[name]) for name in names if name in group}
        if "betas" in settings and "initial_momentum" in group:
            settings["betas"] = (group["initial_momentum"], *settings["betas"][1:])
        for name, value in settings.items():
            if isinstance(value, torch.Tensor) and value.numel() == 1:
                settings[name] = value.item()
        found.append({name: value for name, value in settings.items() if _is_plain(value)})
    return found


def changed_settings(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> list[dict[str, tuple[Any, Any]]]:
    """Return, for each group, the settings that both name and that differ: (before, now)."""
    return [
        {name: (old[name], new[name]) for name in new if name in old and _differ(old[name], new[name])}
        for old, new in zip(before, now, strict=False)
    ]


def told(changes: Iterable[Mapping[str, tuple[Any, Any]]]) -> str:
    """Return the changes of all groups in words, each of them once."""
    words = {f"{name} from {old!r} to {new!r}": None for group in changes for name, (old, new) in group.items()}
    return ", ".join(words)


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) != list(other)
    return bool(one != other)


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, _PLAIN) for item in value)
    )
