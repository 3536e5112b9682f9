"""Schedules against those of torch: the same values, over a thousand random settings for each that has a twin."""

import math
import random

import pytest
import torch
from torch.optim import lr_scheduler as twins

from mainspring.optim.scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    StepLR,
)

SETTINGS = 1000


def sgd():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.3)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    optimizer._opt_called = True  # torch warns of schedules that step before their optimizer
    return optimizer


# Each pair is drawn from a generator of settings; a range of torch's, which counts both its ends, is one step shorter.


def constant(draw):
    factor, length = draw.uniform(0, 1), draw.randint(1, 9)
    yield lambda o: ConstantLR(o, factor=factor, end=length + 1)
    yield lambda o: twins.ConstantLR(o, factor=factor, total_iters=length)


def linear(draw):
    start, stop, length = draw.uniform(0.01, 1), draw.uniform(0, 1), draw.randint(1, 9)
    yield lambda o: LinearLR(o, start_factor=start, end_factor=stop, end=length + 1)
    yield lambda o: twins.LinearLR(o, start_factor=start, end_factor=stop, total_iters=length)


def cosine_down_up_and_down_again(draw):
    length, eta_min = draw.randint(1, 5), draw.uniform(0, 0.05)
    yield lambda o: CosineAnnealingLR(o, T_max=length, eta_min=eta_min)
    yield lambda o: twins.CosineAnnealingLR(o, T_max=length, eta_min=eta_min)


def multi_step(draw):
    milestones, gamma = sorted(draw.choices(range(1, 12), k=draw.randint(0, 4))), draw.uniform(0.01, 1)
    yield lambda o: MultiStepLR(o, milestones=milestones, gamma=gamma)
    yield lambda o: twins.MultiStepLR(o, milestones=milestones, gamma=gamma)


def step(draw):
    size, gamma = draw.randint(1, 6), draw.uniform(0.01, 1)
    yield lambda o: StepLR(o, step_size=size, gamma=gamma)
    yield lambda o: twins.StepLR(o, step_size=size, gamma=gamma)


def exponential(draw):
    gamma = draw.uniform(0.5, 1.1)
    yield lambda o: ExponentialLR(o, gamma=gamma)
    yield lambda o: twins.ExponentialLR(o, gamma=gamma)


def poly(draw):
    length, power = draw.randint(1, 9), draw.uniform(0.2, 3)
    yield lambda o: PolyLR(o, power=power, end=length + 1)
    yield lambda o: twins.PolynomialLR(o, total_iters=length, power=power)


def cosine_restart(draw):
    first, factor, eta_min = draw.randint(1, 4), draw.randint(1, 2), draw.uniform(0, 0.05)
    yield lambda o: CosineRestartLR(o, periods=[first * factor**i for i in range(12)], eta_min=eta_min)
    yield lambda o: twins.CosineAnnealingWarmRestarts(o, T_0=first, T_mult=factor, eta_min=eta_min)


def one_cycle(draw):
    options = {
        "pct_start": draw.uniform(0, 1),
        "anneal_strategy": draw.choice(["cos", "linear"]),
        "div_factor": draw.uniform(1.1, 30),
        "final_div_factor": draw.uniform(1.1, 1e4),
        "three_phase": draw.random() < 0.5,
    }
    if options["three_phase"]:
        options["pct_start"] /= 2
    top = draw.uniform(0.01, 2)
    yield lambda o: OneCycleLR(o, eta_max=top, total_steps=13, **options)
    yield lambda o: twins.OneCycleLR(o, max_lr=top, total_steps=13, cycle_momentum=False, **options)


def warm_up_then_cosine(draw):
    warm, rest = draw.randint(2, 5), draw.randint(8, 12)
    yield lambda o: Both(
        LinearLR(o, start_factor=0.1, end=warm + 1), CosineAnnealingLR(o, begin=warm, T_max=rest, eta_min=0.01)
    )
    yield lambda o: twins.SequentialLR(
        o,
        [
            twins.LinearLR(o, start_factor=0.1, total_iters=warm),
            twins.CosineAnnealingLR(o, T_max=rest, eta_min=0.01),
        ],
        milestones=[warm],
    )


def overlapping(draw):
    gamma, length = draw.uniform(0.5, 1), draw.randint(1, 9)
    yield lambda o: Both(ExponentialLR(o, gamma=gamma), LinearLR(o, start_factor=0.2, end=length + 1))
    yield lambda o: twins.ChainedScheduler(
        [twins.ExponentialLR(o, gamma=gamma), twins.LinearLR(o, start_factor=0.2, total_iters=length)]
    )


class Both:
    def __init__(self, *schedulers):
        self.schedulers = schedulers

    def step(self):
        for scheduler in self.schedulers:
            scheduler.step()


@pytest.mark.parametrize(
    "pair",
    [
        constant,
        linear,
        cosine_down_up_and_down_again,
        multi_step,
        step,
        exponential,
        poly,
        cosine_restart,
        one_cycle,
        warm_up_then_cosine,
        overlapping,
    ],
)
def test_the_values_are_those_of_torch(pair):
    draw = random.Random(pair.__name__)
    for setting in range(SETTINGS):
        traces = []
        for make in pair(draw):
            optimizer = sgd()
            scheduler, trace = make(optimizer), []
            for number in range(13):
                trace += [group["lr"] for group in optimizer.param_groups]
                if number < 12:
                    scheduler.step()
            traces.append(trace)
        ours, theirs = traces
        same = all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(ours, theirs, strict=True))
        assert same, f"setting {setting}: {ours} instead of {theirs}"
