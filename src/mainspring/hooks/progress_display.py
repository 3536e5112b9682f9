"""What is drawn on a terminal while a run goes on. Imported where the drawing begins: most of rich is needed here."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from ..logging import set_live_display

__all__ = ["ProgressDisplay"]


class ProgressDisplay:
    """A progress bar with lines of numbers under it, there from its making until :meth:`close`.

    It is drawn by whoever calls :meth:`draw`: no other thread, hence no lock that a data loading process could inherit.
    """

    def __init__(self, console: Console) -> None:
        self._bar = _bar(narrow=console.width < 60)
        self._task: TaskID | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True)
        try:
            self._live.start()
        except BaseException:  # interrupted half-way: it has hidden the cursor, and cannot be stopped in order
            console.show_cursor(True)
            raise
        set_live_display(True)

    def close(self) -> None:
        """Take the display away, and leave the terminal as it was."""
        set_live_display(False)
        self._live.stop()

    def draw(
        self,
        title: str,
        done: int,
        total: int | None,
        rest: str,
        latest: Mapping[str, float],
        results: Mapping[str, float],
    ) -> None:
        """Draw it anew.

        Args:
            title: What stands before the bar.
            done: How many iterations are over.
            total: Of how many; None where nobody knows.
            rest: What stands behind the bar.
            latest: Numbers of the last log line.
            results: Of the last validation.
        """
        if self._task is None:
            self._task = self._bar.add_task(title, rest=rest)
        self._bar.update(self._task, description=title, completed=done, total=total, rest=rest)
        lines = [_pairs(latest)] if latest else []
        if results:
            lines.append(Text("val  ") + _pairs(results))
        self._live.update(Group(self._bar, *lines), refresh=True)


def _bar(narrow: bool) -> Progress:
    columns = [TextColumn("[bold]{task.description}"), MofNCompleteColumn(), TextColumn("{task.fields[rest]}")]
    if not narrow:
        columns.insert(1, BarColumn(bar_width=None))
    return Progress(*columns, expand=not narrow, auto_refresh=False)


def _pairs(numbers: Mapping[str, float]) -> Text:
    pairs = (Text.assemble((name, "dim"), " ", (f"{value:.4g}", "bold")) for name, value in numbers.items())
    return Text("  ").join(pairs)
