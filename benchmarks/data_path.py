"""What it costs to bring images to the model: floats made in the workers, or bytes that are normalised afterwards.

Images of 3 x 224 x 224 in batches of 256, with 0, 1 and 2 workers:

- ``floats``: the data set returns normalised floats, which the worker stacks.
- ``bytes, stacked``: it returns uint8, which the worker stacks (``default_collate``), and ``ImgDataPreprocessor``
  normalises in the training process.
- ``bytes, a list``: the same with ``pseudo_collate``, the default; from a worker its tensors come as one block.

Then the normalisation of a batch alone, in several ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

import measure
from mainspring import ImgDataPreprocessor, default_collate, pseudo_collate
from measure import MICRO, Taken, taken

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MEANS, STDS = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))


class Images(Dataset[Any]):
    """Images out of memory: what they cost beside is their way to the model."""

    def __init__(self, count: int, side: int, floats: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(256, (64, 3, side, side), dtype=torch.uint8, generator=generator)
        self.count = count
        self.floats = floats

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        image = self.images[index % 64]
        return (image.float() - MEANS) / STDS if self.floats else image.clone()


def stack(samples: list[Any]) -> Any:
    """Collate images of one size."""
    return [default_collate(samples)]


def put_in_a_list(samples: list[Any]) -> Any:
    """Collate images of any sizes."""
    return [pseudo_collate(samples)]


LAYOUTS: dict[str, tuple[bool, Callable[[list[Any]], Any]]] = {
    "floats": (True, stack),
    "bytes, stacked": (False, stack),
    "bytes, a list": (False, put_in_a_list),
}
"""By name, whether the data set normalises, and how the batch is made."""


def read(layout: str, side: int, batch_size: int, batches: int, workers: int) -> Taken:
    """Return what an image takes in the training process; wall time is that of the whole path.

    The clock starts when each worker has brought its first batch: their start is none of an image's.
    """
    floats, collate = LAYOUTS[layout]
    first = max(workers, 1)
    images = Images((first + batches) * batch_size, side, floats)
    data = DataLoader(images, batch_size, num_workers=workers, collate_fn=collate)
    preprocessor = torch.nn.Identity() if floats else ImgDataPreprocessor(MEAN, STD)
    begin = Taken.now()
    with torch.no_grad():
        for number, batch in enumerate(data, start=1):
            preprocessor(batch)
            if number == first:
                begin = Taken.now()
    return Taken.now().since(begin, batches * batch_size)


def sent(layout: str, side: int) -> int:
    """Return the bytes of an image on its way to the training process."""
    image = Images(1, side, LAYOUTS[layout][0])[0]
    return int(image.numel() * image.element_size())


def normalisations(batch: torch.Tensor, compiled: bool) -> dict[str, Callable[[], Any]]:
    """Return ways to normalise a batch."""
    kept = torch.empty(batch.shape)
    scale, shift = 1 / STDS, -MEANS / STDS
    preprocessor = ImgDataPreprocessor(MEAN, STD)

    def naive(images: torch.Tensor) -> torch.Tensor:
        return (images.float() - MEANS) / STDS

    ways: dict[str, Callable[[], Any]] = {
        "`(x.float() - mean) / std`": lambda: naive(batch),
        "into a kept buffer: `copy_`, `mul_`, `add_`": lambda: kept.copy_(batch).mul_(scale).add_(shift),
        "`ImgDataPreprocessor`": lambda: preprocessor([batch]),
    }
    if compiled:
        fast = torch.compile(naive)
        ways["`torch.compile` of the first"] = lambda: fast(batch)
    return ways


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=3))
    report = measure.Report("data_path", options)
    side, batch_size, batches = (32, 16, 2) if options.short else (224, 256, 4)
    table = measure.Table("an image (least / median)", "bytes sent", "µs, wall", "µs of CPU, training process")
    for workers in (0, 1, 2):
        asked = {
            name: lambda name=name, workers=workers: read(name, side, batch_size, batches, workers) for name in LAYOUTS
        }
        found: dict[str, list[Taken]] = measure.in_turn(asked, options.rounds)
        report.keep(f"{workers} workers", found)
        for name, many in found.items():
            times = (measure.low_and_middle(of(many), MICRO, 0) for of in (measure.wall, measure.cpu))
            table.add(f"{workers} workers: {name}", f"{sent(name, side):,}", *times)
    report.say(table)

    batch = torch.randint(256, (batch_size, 3, side, side), dtype=torch.uint8)
    ways = normalisations(batch, not options.short and measure.can_compile())
    with torch.no_grad():
        alone = measure.in_turn(
            {name: lambda way=way: taken(way, batch_size) for name, way in ways.items()},
            2 * options.rounds,
        )
    report.keep("normalisation", alone)
    table = measure.Table("normalising (least / median)", "CPU µs an image", "ratio to the first")
    first = next(iter(alone.values()))
    for name, many in alone.items():
        ratio = "" if many is first else measure.ratio(measure.cpu(many), measure.cpu(first))
        table.add(name, measure.low_and_middle(measure.cpu(many), MICRO, 0), ratio)
    report.say(table)
    report.close()


if __name__ == "__main__":
    main()
