"""Whether a long run gets slower or larger, what an order of ten million items costs, and what an idle hook costs.

- A million iterations of a run by default, but for its silence, whose own step does nothing: the time of an iteration
  and the memory at three places. They should not grow.
- The order of an epoch over 10,000,000 items: the time to its first index and the memory, beside torch's sampler.
- Of a hook that implements no stage of an iteration, at most 0.3 microseconds an iteration are promised.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

import measure
from mainspring import BaseModel, DefaultSampler, Hook, InfiniteSampler, Runner
from measure import MICRO, Taken

PROMISED = 0.3
IDLE_HOOKS = 100
WINDOW = 1000


class Nothing(Dataset[torch.Tensor]):
    """Batches that are there at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.batch = torch.zeros(1)

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        return [self.batch]

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.batch


class DoesNothing(BaseModel):
    """Returns a loss at once, and notes the times between windows of iterations."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.loss = torch.zeros(())
        self.places = dict.fromkeys(place + step for place in places for step in (0, WINDOW))
        self.calls = 0
        self.noted: list[tuple[int, Taken, float]] = []

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Never called."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """Return what is logged."""
        self.calls += 1
        if self.calls in self.places:
            self.noted.append((self.calls, Taken.now(), measure.peak_megabytes()))
        return {"loss": self.loss}


class Idle(Hook):
    """Acts at no stage of an iteration."""


def run(iterations: int, places: Sequence[int], hooks: int = 0) -> dict[int, tuple[Taken, float]]:
    """Make a run; return what an iteration takes behind each place, and the memory there."""
    model = DoesNothing(places)
    with tempfile.TemporaryDirectory() as folder:
        Runner(
            model=model,
            work_dir=folder,
            train_dataloader=DataLoader(Nothing(100_000), batch_size=1, shuffle=True, collate_fn=lambda batch: batch),
            train_cfg={"by_epoch": False, "max_iters": iterations},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
            default_hooks={
                "logger": {"type": "LoggerHook", "interval": 50},
                "checkpoint": {"type": "CheckpointHook", "interval": 10**9, "by_epoch": False},
            },
            custom_hooks=[Idle() for _ in range(hooks)],
            randomness={"seed": 0, "sample_seeding": False},
            resume="auto",
            log_level="WARNING",
        ).train()
    noted = {place: (time, megabytes) for place, time, megabytes in model.noted}
    return {
        place: (noted[place + WINDOW][0].since(noted[place][0], WINDOW), noted[place + WINDOW][1]) for place in places
    }


SAMPLERS: dict[str, Callable[[Any], Any]] = {
    "torch's RandomSampler": RandomSampler,
    "DefaultSampler": DefaultSampler,
    "InfiniteSampler": InfiniteSampler,
}


def first_indices(sampler: str, items: int) -> tuple[float, float, float]:
    """Return the CPU seconds to the first index of an order, those of the next 1,000, and the memory that it takes."""
    before = measure.peak_megabytes()
    made = SAMPLERS[sampler](range(items))
    times = [time.process_time()]
    order = iter(made)
    next(order)
    times.append(time.process_time())
    list(islice(order, 1000))
    times.append(time.process_time())
    return times[1] - times[0], times[2] - times[1], measure.peak_megabytes() - before


def figures_of(what: str, *arguments: Any) -> Any:
    """Return the figures of a run, or of a sampler."""
    if what == "run":
        return list(run(*arguments).items())
    return first_indices(what, *arguments)


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=5))
    report = measure.Report("growth", options)
    iterations, items = (4_000, 10_000) if options.short else (1_000_000, 10_000_000)
    places = (iterations // 1000, iterations // 10, iterations - WINDOW)
    asked = figures_of if options.short else partial(measure.in_fresh_process, __file__, "--in-this-process")
    found = asked("run", iterations, places)
    report.keep("long run", found)
    table = measure.Table(f"{WINDOW:,} iterations", "CPU µs an iteration", "ratio", "MB", "MB more")
    (_, ((first, _), first_memory)), *_ = found
    for place, ((spent, _), memory) in found:
        name = f"behind iteration {place:,}"
        table.add(name, f"{MICRO * spent:.1f}", f"{spent / first:.2f}", f"{memory:.1f}", f"{memory - first_memory:.1f}")
    report.say(table)

    table = measure.Table(
        f"an order of {items:,} items", "ms of CPU to the first index", "µs for each of the next", "MB"
    )
    for name in SAMPLERS:
        rounds = [asked(name, items) for _ in range(min(options.rounds, 3))]
        report.keep(name, rounds)
        starts, nexts, memories = zip(*rounds, strict=True)
        figures = (measure.low_and_middle(starts, 1e3, 0), measure.low_and_middle(nexts, 1e3, 2))
        table.add(name, *figures, f"{min(memories):.0f}")
    report.say(table)

    length, begin = (1_000 + 2 * WINDOW, 500) if options.short else (10_000, 2_000)
    hooks: dict[str, list[Taken]] = measure.in_turn(
        {str(count): lambda count=count: run(length, (begin,), count)[begin][0] for count in (0, IDLE_HOOKS)},
        options.rounds,
    )
    report.keep("idle hooks", hooks)
    without, with_ = hooks["0"], hooks[str(IDLE_HOOKS)]
    table = measure.Table("CPU µs an iteration (least / median)", "for each hook", "promised")
    each = [Taken(one.cpu / IDLE_HOOKS, 0) for one in with_], [Taken(one.cpu / IDLE_HOOKS, 0) for one in without]
    table.add(f"{IDLE_HOOKS} hooks that act at no stage", measure.above(*each, digits=3), f"{PROMISED}")
    report.say(table)
    report.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-this-process"]:
        torch.set_num_threads(1)
        print(json.dumps(figures_of(sys.argv[2], *map(json.loads, sys.argv[3:]))))
    else:
        main()
