"""What it costs to keep ten boxes, their scores and their labels in an ``InstanceData``, beside a plain dict.

Each piece of work is done as often as ``--count`` says, with all results kept, and told for one of them. The dict holds
the same tensors and three entries of metainfo, and is worked on by comprehensions, as one would by hand; it checks no
lengths, and its metainfo is shared by all. MMEngine's column is there where it is installed: but for reading a field,
which takes no time to speak of, ours is promised to be faster.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch

import measure
from measure import MICRO, Taken, taken

METAINFO = {"path": "images/000012.png", "img_shape": (480, 640), "scale": 1.5}
FIELDS = {"boxes": torch.rand(10, 4), "scores": torch.rand(10), "labels": torch.arange(10)}
MASK = FIELDS["scores"] > FIELDS["scores"].median()
PLACES = torch.tensor([7, 1, 4])

Work = dict[str, Callable[[], Any]]


def with_dicts() -> Work:
    """Return the pieces of work by name, done with plain dicts."""
    whole = {**METAINFO, **FIELDS}
    parts = [_taken_from(whole, part) for part in (slice(3), slice(3, 5), slice(5, None))]
    return {
        "make": lambda: {**METAINFO, **FIELDS},
        "read a field": lambda: whole["boxes"],
        "copy": whole.copy,
        "convert to float64": lambda: {
            name: value.to(torch.float64) if isinstance(value, torch.Tensor) else value for name, value in whole.items()
        },
        "one instance": lambda: _taken_from(whole, slice(3, 4)),
        "a slice": lambda: _taken_from(whole, slice(2, 7)),
        "a list of places": lambda: _taken_from(whole, [7, 1, 4]),
        "a tensor of places": lambda: _taken_from(whole, PLACES),
        "a mask": lambda: _taken_from(whole, MASK),
        "join three": lambda: {
            name: torch.cat([part[name] for part in parts]) if isinstance(value, torch.Tensor) else value
            for name, value in parts[0].items()
        },
    }


def _taken_from(whole: dict[str, Any], index: Any) -> dict[str, Any]:
    return {name: value[index] if isinstance(value, torch.Tensor) else value for name, value in whole.items()}


def with_elements(kind: Any) -> Work:
    """Return the pieces of work by name, done with the ``InstanceData`` of an engine."""
    whole = kind(metainfo=METAINFO, **FIELDS)
    parts = [whole[:3], whole[3:5], whole[5:]]
    return {
        "make": lambda: kind(metainfo=METAINFO, **FIELDS),
        "read a field": lambda: whole.boxes,
        "copy": whole.clone,
        "convert to float64": lambda: whole.to(torch.float64),
        "one instance": lambda: whole[3],
        "a slice": lambda: whole[2:7],
        "a list of places": lambda: whole[[7, 1, 4]],
        "a tensor of places": lambda: whole[PLACES],
        "a mask": lambda: whole[MASK],
        "join three": lambda: kind.cat(parts),
    }


def of_many(work: Callable[[], Any], count: int) -> Taken:
    """Return what a piece of work takes, done so many times; what comes of it is kept until the end."""
    kept: list[Any] = []
    return taken(lambda: kept.extend(work() for _ in range(count)), count)


def main() -> None:
    """Measure and print."""
    parser = measure.parser(__doc__, rounds=5)
    parser.add_argument("--count", type=int, default=10_000, help="how many elements (10000)")
    options = measure.options(parser)
    report = measure.Report("structures", options)
    gc.freeze()  # a collection that looks at all of torch's objects would fall upon whoever is measured just then
    count = 20 if options.short else options.count
    contenders = {"dict": with_dicts()}
    for engine in ("mainspring", "mmengine"):
        if importlib.util.find_spec(engine):
            contenders[engine] = with_elements(importlib.import_module(f"{engine}.structures").InstanceData)
    columns = [f"ours / {name}" for name in contenders if name != "mainspring"]
    table = measure.Table("CPU µs each (least / median)", *contenders, *columns)
    for what in contenders["dict"]:
        found = measure.in_turn(
            {name: lambda piece=work[what]: of_many(piece, count) for name, work in contenders.items()}, options.rounds
        )
        report.keep(what, found)
        figures = [measure.low_and_middle(measure.cpu(many), MICRO, 2) for many in found.values()]
        ours = measure.cpu(found["mainspring"])
        ratios = [measure.ratio(ours, measure.cpu(many)) for name, many in found.items() if name != "mainspring"]
        table.add(what, *figures, *ratios)
    gc.unfreeze()
    report.say(table)
    report.close()


if __name__ == "__main__":
    main()
