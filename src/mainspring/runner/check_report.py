"""What a check has found out about a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .findings import Finding

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["CheckReport", "NotTriedError", "PassFigures", "Stage"]

_MARKS = {"ok": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "dim")}


class NotTriedError(Exception):
    """A stage is left out, for the reason that this says."""


@dataclass(frozen=True)
class Stage:
    """One thing that was tried."""

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    text: str = ""
    """What was found, what went wrong, or why it was not tried."""
    error: Exception | None = field(default=None, compare=False, repr=False)
    """What was raised, with its traceback."""


@dataclass(frozen=True)
class PassFigures:
    """What some batches of one loader told. Times are in seconds."""

    batch: Sequence[tuple[str, str]]
    """The parts of a batch: where they stand in it, and what they are."""
    batches: int | None
    """How many a whole pass has; None where the loader does not know."""
    tried: int
    """How many were drawn."""
    first_batch: float
    """Until the first batch was there, with the start of worker processes."""
    data_time: float
    """Waiting for a later batch, the median."""
    first_step: float
    step_time: float
    """A later step, the median."""

    def duration(self, batches: int) -> float:
        """Return how long a pass of so many batches takes; workers start in each, what is slow at first only once."""
        return self.first_batch + max(0, batches - 1) * self.data_time + batches * self.step_time


@dataclass(frozen=True)
class CheckReport:
    """What a check has found out.

    >>> report = CheckReport("cpu", [Stage("train", "failed", "ValueError: the loss is nan")])
    >>> report.ok
    False
    >>> print(report)
    ✗  train  ValueError: the loss is nan
    <BLANKLINE>
    On cpu. Not ready to run: train failed.
    """

    device: str
    stages: Sequence[Stage]
    findings: Sequence[Finding] = ()
    """What was found by reading the configuration."""
    notes: Sequence[str] = ()
    """In what the check differs from the run."""
    passes: dict[str, PassFigures] = field(default_factory=dict)
    """Of each loader, by ``train``, ``val``, ``test``; of several sets of data with their names, as ``val.clean``."""
    parameters: int | None = None
    trainable_parameters: int | None = None
    host_memory: int | None = None
    """The most that the process had so far, in bytes, worker processes not counted."""
    device_memory: int | None = None
    """The most that was allocated on the device in the check, in bytes; None where torch does not count it."""
    checkpoint_size: int | None = None
    """Bytes of one checkpoint."""
    iterations: int | None = None
    """Iterations of training that are left."""
    duration: float | None = None
    """Seconds that the training is expected to take, with its validations."""

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> list[Stage]:
        """The stages that failed."""
        return [stage for stage in self.stages if stage.outcome == "failed"]

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        Console(file=out, width=120, color_system=None, legacy_windows=False).print(self.__rich__())
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def __rich__(self) -> RenderableType:
        """Return what a terminal shows."""
        from rich.console import Group
        from rich.text import Text

        stages = _grid()
        for stage in self.stages:
            mark, style = _MARKS[stage.outcome]
            text_style = style if stage.outcome == "skipped" else ""
            stages.add_row(Text(mark, style), Text(stage.name, text_style), Text(stage.text, text_style))
        parts: list[RenderableType] = [stages, ""]
        for mode, figures in self.passes.items():
            parts += [f"A batch of {mode}:", _batch_table(figures), ""]
        facts = self._facts()
        if facts:
            table = _grid()
            for name, value in facts:
                table.add_row(Text(name), Text(value))
            parts += [table, ""]
        parts += [Text(f"Note: {note}") for note in self.notes]
        parts.append(Text(self._verdict()))
        return Group(*parts)

    def _facts(self) -> list[tuple[str, str]]:
        facts = []
        if self.parameters is not None:
            facts.append(("parameters", f"{self.parameters:,}, of them {self.trainable_parameters:,} trained"))
        for mode, one in self.passes.items():
            later = f"; then {_time(one.data_time)} and {_time(one.step_time)}" if one.tried > 1 else ""
            facts.append(
                (f"time of {mode}", f"first batch {_time(one.first_batch)}, step {_time(one.first_step)}{later}")
            )
        if self.host_memory is not None:
            facts.append(("memory of the process", f"{_size(self.host_memory)} at most, without data workers"))
        if self.device_memory is not None:
            facts.append((f"memory of {self.device}", f"{_size(self.device_memory)} at most"))
        if self.checkpoint_size is not None:
            facts.append(("a checkpoint", _size(self.checkpoint_size)))
        if self.duration is not None:
            facts.append(("expected duration", f"about {_time(self.duration)} for {self.iterations:,} iterations"))
        return facts

    def _verdict(self) -> str:
        if self.ok:
            return f"On {self.device}. Ready to run."
        return f"On {self.device}. Not ready to run: {', '.join(stage.name for stage in self.failed)} failed."


def _grid() -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    return table


def _batch_table(figures: PassFigures) -> Any:
    from rich.padding import Padding
    from rich.text import Text

    table = _grid()
    for where, what in figures.batch:
        table.add_row(Text(where), Text(what))
    return Padding(table, (0, 0, 0, 2))


def _time(seconds: float) -> str:
    """Return a time as a person says it.

    >>> _time(0.00042), _time(0.5), _time(75), _time(90000)
    ('0.42 ms', '500 ms', '1:15', '25:00:00')
    """
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _size(count: int) -> str:
    """Return a number of bytes as a person says it.

    >>> _size(999), _size(123_456_789)
    ('999 bytes', '123 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
