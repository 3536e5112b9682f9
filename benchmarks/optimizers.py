"""The optimizer's part of a step over ResNet-50's 161 parameters, beside torch's default for the same optimizer.

What a Runner's ``optim_wrapper=dict(optimizer=dict(type=...))`` makes is promised to take at most 0.45 of the time for
SGD with momentum, and 0.25 for AdamW. All variants update the same parameters from the same gradients, each with a
state of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import measure
from mainspring.optim import build_optim_wrapper
from measure import MILLI, Taken, taken

CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "SGD, momentum": ("SGD", {"lr": 1e-6, "momentum": 0.9}, 0.45),
    "AdamW": ("AdamW", {"lr": 1e-6}, 0.25),
}
"""By name, the optimizer, its options, and the ratio that is promised."""
VARIANTS: dict[str, dict[str, Any]] = {
    "torch": {},
    "torch, foreach": {"foreach": True},
    "torch, fused": {"fused": True},
}


def shapes(depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64) -> Iterator[tuple[int, ...]]:
    """Return the shapes of ResNet-50's parameters (He et al., "Deep residual learning", 2016)."""

    def conv(inputs: int, outputs: int, side: int) -> Iterator[tuple[int, ...]]:
        yield from ((outputs, inputs, side, side), (outputs,), (outputs,))  # with its batch normalisation

    yield from conv(3, width, 7)
    channels = width
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        for block in range(depth):
            yield from conv(channels, inner, 1)
            yield from conv(inner, inner, 3)
            yield from conv(inner, 4 * inner, 1)
            if block == 0:
                yield from conv(channels, 4 * inner, 1)
            channels = 4 * inner
    yield from ((1000, channels), (1000,))


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=15))
    report = measure.Report("optimizers", options)
    all_shapes = list(shapes((1, 1, 1, 1), 8) if options.short else shapes())
    model = nn.Module()
    model.parameters_of_it = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in all_shapes])
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    size = sum(parameter.numel() for parameter in model.parameters())
    for case, (kind, arguments, promised) in CASES.items():
        steps = {
            name: getattr(torch.optim, kind)(model.parameters(), **arguments, **more).step
            for name, more in VARIANTS.items()
        }
        steps["mainspring"] = build_optim_wrapper(model, {"optimizer": {"type": kind, **arguments}}).step
        found: dict[str, list[Taken]] = measure.in_turn(
            {name: lambda step=step: taken(step) for name, step in steps.items()},
            options.rounds,
        )
        report.keep(case, found)
        table = measure.Table(f"{case}: ms of CPU (least / median)", "a step", "ratio to torch's default", "promised")
        for name, many in found.items():
            ratio = measure.ratio(measure.cpu(many), measure.cpu(found["torch"]))
            told = f"{promised}" if name == "mainspring" else ""
            table.add(name, measure.low_and_middle(measure.cpu(many), MILLI), "" if name == "torch" else ratio, told)
        report.say(table)
    report.say(f"{len(all_shapes)} tensors, {size:,} numbers.")
    report.close()


if __name__ == "__main__":
    main()
