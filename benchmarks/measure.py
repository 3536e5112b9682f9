"""What the benchmarks share: rounds in turn, CPU and wall time, tables, and the figures as JSON.

Contenders are measured in rounds, each in its turn (A B A B), in one process or in fresh ones. Of a contender the least
and the median of its rounds are told: the least is what the work costs, and the median how far other work of the
machine has disturbed it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MICRO, MILLI = 1e6, 1e3
HERE = Path(__file__).parent


class Taken(NamedTuple):
    """Seconds that something took."""

    cpu: float
    """Of all threads of the process."""
    wall: float

    @classmethod
    def now(cls) -> Taken:
        """Return what both clocks show."""
        return cls(time.process_time(), time.perf_counter())

    def since(self, begin: Taken, parts: float = 1) -> Taken:
        """Return the time from ``begin`` to this, for each of so many parts."""
        return Taken((self.cpu - begin.cpu) / parts, (self.wall - begin.wall) / parts)


def taken(work: Callable[[], Any], parts: float = 1) -> Taken:
    """Return how long a call takes, for each of so many parts."""
    begin = Taken.now()
    work()
    return Taken.now().since(begin, parts)


def in_turn(contenders: Mapping[str, Callable[[], Taken]], rounds: int) -> dict[str, list[Taken]]:
    """Return the times of each contender; a round asks all of them, every other round in the opposite order.

    Args:
        contenders: Each does its work once, and returns what it took.
        rounds: How often. Ahead of several comes one that does not count.
    """
    found: dict[str, list[Taken]] = {name: [] for name in contenders}
    for number in range(-1 if rounds > 1 else 0, rounds):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            one = contenders[name]()
            if number >= 0:
                found[name].append(one)
    return found


def in_fresh_process(script: str, *arguments: Any, python_options: Sequence[str] = ()) -> Any:
    """Run a Python program, and return what it prints last, which is JSON.

    Args:
        script: Its file.
        arguments: Its arguments; a container is handed over as JSON.
        python_options: Of the interpreter.

    Raises:
        RuntimeError: It failed; the message is the end of what it wrote.
    """
    told = [json.dumps(one) if isinstance(one, (dict, list, tuple)) else str(one) for one in arguments]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *python_options, script, *told],
        capture_output=True,
        text=True,
        env={**os.environ, **threads},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(script).name} {' '.join(told)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def low_and_middle(values: Iterable[float], scale: float = 1, digits: int = 1) -> str:
    """Return the least and the median of some numbers, for a table."""
    scaled = [scale * value for value in values]
    return f"{min(scaled):,.{digits}f} / {statistics.median(scaled):,.{digits}f}"


def above(ones: Sequence[Taken], others: Sequence[Taken], digits: int = 1) -> str:
    """Return how many microseconds of CPU one contender takes above another: of the least, and the median."""
    least = min(one.cpu for one in ones) - min(other.cpu for other in others)
    middle = statistics.median(one.cpu - other.cpu for one, other in zip(ones, others, strict=True))
    return f"{MICRO * least:,.{digits}f} / {MICRO * middle:,.{digits}f}"


def ratio(ones: Sequence[float], others: Sequence[float]) -> str:
    """Return the ratio of two contenders: of the least of each, and the median of the rounds' ratios."""
    of_rounds = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{min(ones) / min(others):.2f} / {statistics.median(of_rounds):.2f}"


def cpu(many: Iterable[Taken]) -> list[float]:
    """Return the CPU times."""
    return [one.cpu for one in many]


def wall(many: Iterable[Taken]) -> list[float]:
    """Return the wall-clock times."""
    return [one.wall for one in many]


def peak_megabytes() -> float:
    """Return the most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux includes the process that started this one
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def machine() -> str:
    """Describe the machine, and how busy it was."""
    import torch

    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores{load}; {versions}, {threads}"


def can_compile() -> bool:
    """Whether ``torch.compile`` finds what it needs; where not, say that rows are left out."""
    import torch

    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception as error:  # whatever it is, this machine does without
        print(f"torch.compile fails here, and its rows are left out: {type(error).__name__}\n")
        return False
    return True


class Table:
    """A table, which is told in Markdown.

    Args:
        columns: The heads of the columns; the first names the rows.
    """

    def __init__(self, *columns: str) -> None:
        self.columns = columns
        self.rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        """Add a row; cells that are missing at its end are empty."""
        self.rows.append((*cells, *[""] * (len(self.columns) - len(cells))))

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        told = []
        for line in lines:
            first, *others = zip(line, widths, strict=True)
            told.append(f"| {first[0]:<{first[1]}} | " + " | ".join(f"{c:>{width}}" for c, width in others) + " |")
        told.insert(1, "|" + "-" * (widths[0] + 2) + "|" + "|".join("-" * (w + 1) + ":" for w in widths[1:]) + "|")
        return "\n".join(told)


class Report:
    """Prints what a benchmark finds, and keeps the figures of every round.

    Args:
        name: Of the benchmark.
        options: As from :func:`options`.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        self.json: Path | None = options.json
        self.told: list[str] = []
        self.figures: dict[str, Any] = {}
        self.machine = machine()
        print(f"{name}: {self.machine}\n")

    def say(self, text: Table | str) -> None:
        """Print a table, or a paragraph."""
        self.told.append(str(text))
        print(f"{text}\n", flush=True)

    def keep(self, what: str, figures: Any) -> None:
        """Keep figures for the JSON file."""
        self.figures[what] = figures

    def close(self) -> None:
        """Write the JSON file, if there is to be one."""
        if self.json is not None:
            content = {"benchmark": self.name, "machine": self.machine, "text": self.told, "figures": self.figures}
            self.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def parser(doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return the options that all benchmarks have.

    Args:
        doc: The docstring of the benchmark.
        rounds: How many it makes where nothing is said.
    """
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help=f"rounds ({rounds})")
    made.add_argument("--short", action="store_true", help="take seconds, and see only that it runs")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round there")
    return made


def options(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the options; the short form makes one round. torch takes one thread."""
    import torch

    torch.set_num_threads(1)
    found = made.parse_args()
    if found.short:
        found.rounds = 1
    return found
