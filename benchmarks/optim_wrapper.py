"""What a step costs in the optimizer wrapper, above ``loss.backward(); optimizer.step(); optimizer.zero_grad()``.

Without mixed precision and clipping it is promised to be less than 10 microseconds. Both sides have the same optimizer
and the same loss, a sum over the parameters, which is computed outside of what is measured. The wrapper leaves out
torch's marks for profilers while nobody profiles, and so may take less than the three calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import measure
from mainspring.optim import OptimWrapper
from measure import MICRO, Taken

PROMISED = "< 10"
CASES: dict[str, tuple[int, str, dict[str, Any]]] = {
    "SGD, 4 tensors": (4, "SGD", {"momentum": 0.9}),
    "SGD, fused, 4 tensors": (4, "SGD", {"momentum": 0.9, "fused": True}),
    "AdamW, fused, 4 tensors": (4, "AdamW", {"fused": True}),
    "SGD, 160 tensors": (160, "SGD", {"momentum": 0.9}),
    "SGD, fused, 160 tensors": (160, "SGD", {"momentum": 0.9, "fused": True}),
    "AdamW, fused, 160 tensors": (160, "AdamW", {"fused": True}),
}
"""By name, how many tensors of 64 elements, and the optimizer with its options."""


def once(parameters: list[nn.Parameter], step: Callable[[torch.Tensor], None], steps: int) -> Taken:
    """Return what a step takes, of so many."""
    total = Taken(0.0, 0.0)
    for _ in range(steps):
        loss = torch.stack(parameters).sum()
        begin = Taken.now()
        step(loss)
        taken = Taken.now().since(begin)
        total = Taken(total.cpu + taken.cpu, total.wall + taken.wall)
    return Taken(total.cpu / steps, total.wall / steps)


def three_calls(optimizer: torch.optim.Optimizer) -> Callable[[torch.Tensor], None]:
    """Return a step by hand."""

    def step(loss: torch.Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=15))
    report = measure.Report("optim_wrapper", options)
    steps = 2 if options.short else 300
    table = measure.Table("us of CPU a step (least / median)", "three calls", "OptimWrapper", "above them", "promised")
    for case, (count, kind, arguments) in CASES.items():
        parameters = [nn.Parameter(torch.randn(64)) for _ in range(count)]
        made = [getattr(torch.optim, kind)(parameters, lr=1e-6, **arguments) for _ in range(2)]
        contenders = {"three calls": three_calls(made[0]), "OptimWrapper": OptimWrapper(made[1]).update_params}
        found = measure.in_turn(
            {
                name: lambda step=step, parameters=parameters: once(parameters, step, steps)
                for name, step in contenders.items()
            },
            options.rounds,
        )
        report.keep(case, found)
        figures = [measure.low_and_middle(measure.cpu(many), MICRO) for many in found.values()]
        table.add(case, *figures, measure.above(found["OptimWrapper"], found["three calls"]), PROMISED)
    report.say(table)
    report.close()


if __name__ == "__main__":
    main()
