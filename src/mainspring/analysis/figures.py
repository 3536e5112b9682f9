"""Numbers and tables as a person reads them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_text", "short", "table"]


def short(number: float) -> str:
    """Return a number with its thousands, millions, and so on as a letter.

    >>> short(142), short(4616), short(25_557_032), short(4.1e9)
    ('142', '4.616K', '25.557M', '4.1G')
    """
    for letter, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3f}".rstrip("0").rstrip(".") + letter
    return f"{number:g}"


def table(first: str, *others: str) -> Table:
    """Return an empty table: one column of names, and columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=True)
    made.add_column(first, no_wrap=True)
    for name in others:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def as_text(shown: Any) -> str:
    """Return as plain text what a terminal would show, however wide."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=1000, color_system=None, legacy_windows=False).print(shown)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
