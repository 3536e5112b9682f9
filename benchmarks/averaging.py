"""An update of an exponential moving average of the weights, beside loops over the parameters.

With 160 vectors of 64 elements, it is promised to take at most 0.2 of the time of the loop that one writes,
``average.lerp_(weight, momentum)`` for each parameter of both models; with the weights of ResNet-50, no longer than it.
On the CPU the small vectors are averaged in one piece; what remains is the time of a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

import measure
from mainspring.model import ExponentialMovingAverage
from measure import MICRO, Taken, taken
from optimizers import shapes

MOMENTUM = 0.001
Update = Callable[[], None]


def model_of(all_shapes: Iterable[tuple[int, ...]]) -> nn.Module:
    """Return a module with parameters of these shapes."""
    model = nn.Module()
    model.members = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in all_shapes])
    return model


def loop(model: nn.Module) -> Update:
    """Return an update by a loop, as one writes it."""
    average = model_of(parameter.shape for parameter in model.parameters()).requires_grad_(False)

    @torch.no_grad()
    def update() -> None:
        for own, theirs in zip(average.parameters(), model.parameters(), strict=True):
            own.lerp_(theirs, MOMENTUM)

    return update


def two_steps(model: nn.Module) -> Update:
    """Return an update by a loop with two operations for a parameter, as papers write the formula."""
    average = model_of(parameter.shape for parameter in model.parameters()).requires_grad_(False)

    @torch.no_grad()
    def update() -> None:
        for own, theirs in zip(average.parameters(), model.parameters(), strict=True):
            own.mul_(1 - MOMENTUM).add_(theirs, alpha=MOMENTUM)

    return update


def multi_tensor(model: nn.Module) -> Update:
    """Return an update by torch's own averaged model, with its multi-tensor function."""
    decay = torch.optim.swa_utils.get_ema_multi_avg_fn(1 - MOMENTUM)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=decay)
    return lambda: average.update_parameters(model)


def by_mainspring(model: nn.Module) -> Update:
    """Return ours."""
    average = ExponentialMovingAverage(model, momentum=MOMENTUM)
    return lambda: average.update_parameters(model)


CONTENDERS: dict[str, Callable[[nn.Module], Update]] = {
    "a loop of lerp_": loop,
    "a loop of mul_ and add_": two_steps,
    "torch.optim.swa_utils": multi_tensor,
    "ExponentialMovingAverage": by_mainspring,
}


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=15))
    report = measure.Report("averaging", options)
    short = options.short
    cases = {
        "160 vectors of 64": ([(64,)] * (8 if short else 160), 1 if short else 200, "0.20"),
        "ResNet-50": (list(shapes((1, 1, 1, 1), 8) if short else shapes()), 1 if short else 5, "1.00"),
    }
    for case, (all_shapes, updates, promised) in cases.items():
        model = model_of(all_shapes)

        def once(update: Update, updates: int = updates) -> Taken:
            update()
            return taken(lambda: [update() for _ in range(updates)], updates)

        made = {name: make(model) for name, make in CONTENDERS.items()}
        found = measure.in_turn({name: lambda one=one: once(one) for name, one in made.items()}, options.rounds)
        report.keep(case, found)
        table = measure.Table(f"{case}: us of CPU (least / median)", "an update", "ratio to the loop", "promised")
        baseline = measure.cpu(found["a loop of lerp_"])
        for name, many in found.items():
            ratio = "" if name == "a loop of lerp_" else measure.ratio(measure.cpu(many), baseline)
            told = promised if name == "ExponentialMovingAverage" else ""
            table.add(name, measure.low_and_middle(measure.cpu(many), MICRO), ratio, told)
        report.say(table)
    report.close()


if __name__ == "__main__":
    main()
