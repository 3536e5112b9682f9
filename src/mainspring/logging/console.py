"""The one console of the process, shared by log lines and a live display."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["get_console", "live_display_active", "set_live_display"]

_live = False


@cache
def get_console() -> Console:
    """Return the console that everything for the person at the terminal goes through.

    It writes to what ``sys.stdout`` is at the time. A live display is started on it; log lines are printed
    on it too, and so appear above the display.
    """
    from rich.console import Console

    return Console(highlight=False)


def set_live_display(active: bool) -> None:
    """Say whether a live display runs on the console: set when it has started, unset when it has stopped.

    While it runs, log records with the attribute ``live``, as from ``logger.info(text, extra={"live":
    True})``, are left out on the console, because the display shows the same. They go to the log file as
    ever.
    """
    global _live
    _live = active


def live_display_active() -> bool:
    """Return whether a live display runs on the console."""
    return _live


def _leave_display_to_parent() -> None:
    """Make a forked process (a worker of a data loader) print plainly, and not draw the display once more."""
    get_console.cache_clear()  # the console's lock may have been held while the process forked
    if not live_display_active():
        return
    from rich.file_proxy import FileProxy

    set_live_display(False)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, FileProxy):
            setattr(sys, name, stream.rich_proxied_file)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_leave_display_to_parent)
