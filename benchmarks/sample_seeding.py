"""What the seeding of a sample costs in the process that reads it: a pass over the data with it, beside one without.

The data set returns a number at once, so that what is left is the loader. At most 12 microseconds a sample are
promised.
"""

from __future__ import annotations

from collections import deque

from torch.utils.data import DataLoader, Dataset

import measure
from mainspring.dataset import pass_over, resumable
from measure import MICRO, Taken, taken

PROMISED = 12


class Numbers(Dataset[int]):
    """Returns the index."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def a_pass(samples: int, batch_size: int, seeded: bool) -> Taken:
    """Return what a sample takes in a pass over the data."""
    loader = DataLoader(Numbers(samples), batch_size=batch_size, shuffle=True, collate_fn=len)
    ours = resumable(loader, 0, seeded)
    return taken(lambda: deque(pass_over(ours, 0, seed=0, sample_seeding=seeded), maxlen=0), samples)


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=11))
    report = measure.Report("sample_seeding", options)
    samples = 640 if options.short else 20_000
    table = measure.Table("CPU µs a sample (least / median)", "without", "with", "for the seeding", "promised")
    for batch_size in (8, 64):
        asked = {
            name: lambda size=batch_size, seeded=seeded: a_pass(samples, size, seeded)
            for name, seeded in (("without", False), ("with", True))
        }
        found: dict[str, list[Taken]] = measure.in_turn(asked, options.rounds)
        report.keep(f"batches of {batch_size}", found)
        figures = (measure.low_and_middle(measure.cpu(many), MICRO, 2) for many in found.values())
        more = measure.above(found["with"], found["without"], digits=2)
        table.add(f"batches of {batch_size}", *figures, more, f"{PROMISED}")
    report.say(table)
    report.close()


if __name__ == "__main__":
    main()
