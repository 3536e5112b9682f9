"""What a person sees when a run has ended."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoint import weights_digest
from ..dist import is_main_process
from ..registry import HOOKS
from ..utils import display_path
from ..visualization import LocalVisBackend, plot_curves
from .checkpoint_files import bytes_of
from .checkpoint_hook import CheckpointHook
from .hook import Hook
from .results import numbers_in

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["SummaryHook"]

_QUICKLY_READ = 2**30
"""Bytes of weights that a digest is made of in a second or two."""


@HOOKS.register_module()
class SummaryHook(Hook):
    """Ends a training run with a table: the best and the last result, and where things lie.

    The first 16 digits of :func:`~mainspring.checkpoint.weights_digest` tell whether two runs ended with the same bits.

    Args:
        curves: The name of the picture of the curves, drawn into the work directory; None for no picture.
    """

    priority = "LOWEST"

    def __init__(self, curves: str | None = "curves.png") -> None:
        self.curves = curves
        self._trained = False
        self._metrics: dict[str, float] = {}

    def after_train(self, runner: Runner) -> None:
        """Remember that there is something to sum up."""
        self._trained = True

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the results."""
        self._metrics = numbers_in(metrics)

    def after_run(self, runner: Runner) -> None:
        """Write the table."""
        if self._trained and is_main_process():
            runner.logger.info("Done.\n" + _as_text(self._rows(runner)))
        self._trained = False

    def state_dict(self) -> dict[str, Any]:
        """Return the last results."""
        return {"metrics": dict(self._metrics)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self._metrics = dict(state_dict["metrics"])

    def _rows(self, runner: Runner) -> list[tuple[str, str]]:
        rows: list[tuple[str, str]] = []
        checkpoints = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        for hook in checkpoints:
            for name, entry in hook.best.items():
                rows.append((f"best {name}", f"{entry['score']:.4f} at {entry['unit']} {entry['number']}"))
                rows.append(("best checkpoint", display_path(hook.directory(runner) / entry["file"])))
        rows += [(f"last {name}", f"{value:.4f}") for name, value in self._metrics.items()]
        for hook in checkpoints:
            if hook.kept:
                rows.append(("last checkpoint", display_path(hook.directory(runner) / hook.kept[-1])))
        weights = runner.model.state_dict()
        if bytes_of(weights) <= _QUICKLY_READ:
            rows.append(("sha256 of weights", weights_digest(weights)[:16]))
        if runner.logger.log_file is not None:
            rows.append(("log", display_path(Path(runner.logger.log_file))))
        for backend in runner.visualizer.backends:
            if isinstance(backend, LocalVisBackend):
                rows.append(("scalars", display_path(backend.scalars_path)))
                rows += self._curves_row(runner, backend.scalars_path)
        return rows

    def _curves_row(self, runner: Runner, scalars: Path) -> list[tuple[str, str]]:
        if self.curves is None or not scalars.is_file():
            return []
        picture = Path(runner.work_dir) / self.curves
        try:
            plot_curves(scalars, picture)
        except (ImportError, ValueError, OSError) as error:  # no matplotlib, nothing to draw, or no room
            return [("curves", str(error))]
        return [("curves", display_path(picture))]


def _as_text(rows: list[tuple[str, str]]) -> str:
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ROUNDED, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as it is: brackets are no markup
    text = io.StringIO()
    Console(file=text, width=100, force_terminal=False).print(table)
    return text.getvalue().rstrip()
