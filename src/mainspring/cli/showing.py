"""The commands of ``config``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Config
from .options import ReadOptions
from .running import read_config

__all__ = ["diff", "explain", "show"]


def show(path: Path, options: ReadOptions, language: str) -> None:
    """Print a configuration whole."""
    cfg = read_config(path, options)
    if language == "py":
        print(cfg.pretty_text, end="")
        return
    print(Config(cfg.to_dict(), filename=f"shown.{language}").dump(), end="")


def diff(first: Path, second: Path) -> None:
    """Print in what two configurations differ."""
    text = Config.diff(read_config(first, ReadOptions()), read_config(second, ReadOptions()))
    if text:
        print(text)


def explain(path: Path, keys: Sequence[str], options: ReadOptions) -> None:
    """Print values, and where they come from."""
    cfg = read_config(path, options)
    for key in keys or list(_leaves(cfg.to_dict())):
        value: Any = cfg.to_dict()
        origin = cfg.origin(key)  # which says so where there is no such key
        for part in key.split("."):
            value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
        print(f"{key} = {value!r}  ({origin or 'of unknown origin'})")


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"
