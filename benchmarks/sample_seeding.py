"""What the seeding of a sample costs in the process that reads it: a pass over the data with it, beside one without.

The data set returns a number at once, so that what is left is the loader. At most 12 microseconds a sample are
promised.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from mainspring.dataset import pass_over, resumable

SAMPLES = 20_000
PROMISED = 12.0


class Numbers(Dataset[int]):
    """Returns the index."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> int:
        return index


def seconds_of_a_pass(seeded: bool, batch_size: int) -> float:
    """Return the CPU seconds of a pass."""
    loader = DataLoader(Numbers(), batch_size=batch_size, shuffle=True, collate_fn=len)
    ours = resumable(loader, 0, seeded)
    begin = time.process_time()
    for _ in pass_over(ours, 0, seed=0, sample_seeding=seeded):
        pass
    return time.process_time() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    print("microseconds a sample        without        with   seeding   (minimum / median of the difference)")
    for batch_size in (8, 64):
        rounds = []
        for number in range(arguments.rounds + 1):
            order = (False, True) if number % 2 else (True, False)
            taken = {seeded: 1e6 * seconds_of_a_pass(seeded, batch_size) / SAMPLES for seeded in order}
            if number:  # the first round warms up
                rounds.append((taken[False], taken[True]))
        without, with_ = min(a for a, _ in rounds), min(b for _, b in rounds)
        difference = [b - a for a, b in rounds]
        print(
            f"batches of {batch_size:<17d} {without:7.2f}  {with_:10.2f}   {with_ - without:5.2f} /"
            f" {statistics.median(difference):5.2f}   (promised: {PROMISED:g})"
        )
        figures[f"batches of {batch_size}"] = {"rounds": rounds, "seeding_microseconds": with_ - without}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
