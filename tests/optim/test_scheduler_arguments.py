"""How schedulers are made, and what they refuse."""

import inspect

import numpy as np
import pytest
import torch

from mainspring.optim import scheduler as schedulers
from mainspring.optim.scheduler import (
    INF,
    WSDLR,
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    LinearMomentum,
    LinearParamScheduler,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    StepLR,
)
from mainspring.registry import PARAM_SCHEDULERS

FORMULAS = {
    "Constant": {"factor": 1 / 3},
    "Linear": {"start_factor": 1 / 3, "end_factor": 1.0},
    "CosineAnnealing": {"T_max": None, "eta_min": None, "eta_min_ratio": None},
    "MultiStep": {"milestones": inspect.Parameter.empty, "gamma": 0.1},
    "Step": {"step_size": inspect.Parameter.empty, "gamma": 0.1},
    "Exponential": {"gamma": inspect.Parameter.empty},
    "Poly": {"eta_min": 0, "power": 1.0},
    "CosineRestart": {
        "periods": inspect.Parameter.empty,
        "restart_weights": (1,),
        "eta_min": None,
        "eta_min_ratio": None,
    },
    "OneCycle": {
        "eta_max": 0,
        "total_steps": None,
        "pct_start": 0.3,
        "anneal_strategy": "cos",
        "div_factor": 25.0,
        "final_div_factor": 1e4,
        "three_phase": False,
    },
    "WSD": {"warmup": 0, "decay": None, "shape": "1-sqrt", "end_factor": 0.0},
}
COMMON = {"begin": 0, "end": INF, "last_step": -1, "by_epoch": True, "verbose": False, "unit": None}


def sgd(**options):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, **options)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("kind", ["ParamScheduler", "LR", "Momentum"])
def test_names_and_arguments(formula, kind):
    cls = getattr(schedulers, formula + kind)
    assert PARAM_SCHEDULERS.get(formula + kind) is cls
    parameters = dict(inspect.signature(cls).parameters)
    first = ["optimizer", "param_name"] if kind == "ParamScheduler" else ["optimizer"]
    assert list(parameters)[: len(first)] == first
    defaults = {name: parameter.default for name, parameter in parameters.items() if name not in first}
    assert defaults == {**FORMULAS[formula], **COMMON}


def test_from_a_config():
    optimizer = sgd()
    built = PARAM_SCHEDULERS.build(
        {"type": "MultiStepLR", "milestones": [2], "gamma": 0.5}, default_args={"optimizer": optimizer}
    )
    assert isinstance(built, MultiStepLR)
    assert built.optimizer is optimizer


def test_a_misspelt_key_names_the_right_one():
    with pytest.raises(TypeError, match="T_max"):
        PARAM_SCHEDULERS.build({"type": "CosineAnnealingLR", "Tmax": 3}, default_args={"optimizer": sgd()})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LinearLR(sgd(), begin=5, end=5), ValueError, "LinearLR.end must be larger than begin.*write end=6"),
        (lambda: CosineAnnealingLR(sgd(), begin=5, end=2), ValueError, "begin is 5 and end is 2"),
        (lambda: LinearLR(sgd(), begin=-1), ValueError, "LinearLR.begin must be at least 0, but it is -1"),
        (lambda: LinearLR(sgd(), end=2.5), ValueError, r"end must be a whole number.* with int\(2.5\)"),
        (lambda: LinearLR(sgd(), end="9"), TypeError, r"LinearLR.end must be a number, but it is '9' \(str\)"),
        (lambda: LinearLR(sgd(), end=True), TypeError, "LinearLR.end must be a number, but it is True"),
        (lambda: LinearLR(sgd(), end=float("inf")), ValueError, "LinearLR.end must be a finite number"),
        (lambda: LinearLR(sgd(), last_step=-2), ValueError, "LinearLR.last_step must be at least -1"),
        (lambda: LinearLR(sgd(), by_epoch=1), TypeError, "LinearLR.by_epoch must be True or False"),
        (lambda: LinearLR(sgd(), verbose=None), TypeError, "LinearLR.verbose must be True or False"),
        (lambda: LinearLR(sgd(), 1.5), ValueError, "LinearLR.start_factor must be between 0 and 1, but it is 1.5"),
        (lambda: LinearLR(sgd(), end_factor=-1), ValueError, "LinearLR.end_factor must be between 0 and 1"),
        (lambda: ConstantLR(sgd(), 2), ValueError, "ConstantLR.factor must be between 0 and 1, but it is 2"),
        (lambda: ConstantLR(sgd(), None), TypeError, "ConstantLR.factor must be a number, but it is None"),
        (lambda: CosineAnnealingLR(sgd(), 0), ValueError, "CosineAnnealingLR.T_max must be positive.*Leave it out"),
        (lambda: CosineAnnealingLR(sgd(), "9"), TypeError, "CosineAnnealingLR.T_max must be a number"),
        (
            lambda: CosineAnnealingLR(sgd(), 9, eta_min=0.1, eta_min_ratio=0.5),
            ValueError,
            "eta_min is 0.1 and eta_min_ratio is 0.5. Leave out one",
        ),
        (lambda: CosineAnnealingLR(sgd(), 9, eta_min=float("nan")), ValueError, "eta_min must be a finite number"),
        (lambda: MultiStepLR(sgd(), [8, 3]), ValueError, r"must ascend, but they are \[8, 3\].*milestones=\[3, 8\]"),
        (lambda: MultiStepLR(sgd(), 8), TypeError, r"MultiStepLR.milestones must be a list of steps, but it is 8"),
        (lambda: MultiStepLR(sgd(), [1, -2]), ValueError, r"milestones\[1\] must be at least 0, but it is -2"),
        (lambda: MultiStepLR(sgd(), [1], gamma=-0.1), ValueError, "gamma must be a finite number of at least 0"),
        (lambda: StepLR(sgd(), 0), ValueError, "StepLR.step_size must be at least 1, but it is 0"),
        (lambda: ExponentialLR(sgd(), "0.9"), TypeError, "ExponentialLR.gamma must be a number"),
        (lambda: PolyLR(sgd(), power=-1), ValueError, "PolyLR.power must be a finite number of at least 0"),
        (lambda: CosineRestartLR(sgd(), [3]), ValueError, "takes either eta_min or eta_min_ratio.*write eta_min=0"),
        (lambda: CosineRestartLR(sgd(), [3], eta_min=0, eta_min_ratio=0.1), ValueError, "eta_min_ratio is 0.1"),
        (lambda: CosineRestartLR(sgd(), [], eta_min=0), ValueError, "periods must name the length of a period"),
        (lambda: CosineRestartLR(sgd(), 3, eta_min=0), TypeError, "CosineRestartLR.periods"),
        (lambda: CosineRestartLR(sgd(), [3, 1.5], eta_min=0), ValueError, r"periods\[1\] must be a whole number"),
        (
            lambda: CosineRestartLR(sgd(), [3, 4, 5], [1, 0.5], eta_min=0),
            ValueError,
            "restart_weights has 2 weights, but there are 3 periods",
        ),
        (lambda: OneCycleLR(sgd(), 1.0, 0), ValueError, "OneCycleLR.total_steps must be at least 1, but it is 0"),
        (lambda: OneCycleLR(sgd(), 1.0, 9, pct_start=2), ValueError, "pct_start must be between 0 and 1"),
        (lambda: OneCycleLR(sgd(), 1.0, 9, anneal_strategy="cosine"), ValueError, "must be 'cos' or 'linear'"),
        (lambda: OneCycleLR(sgd(), 1.0, 9, div_factor=0), ValueError, "neither may be 0"),
        (lambda: WSDLR(sgd(), 3, 8, end=10), ValueError, "warmup is 3 and decay is 8, together more than the 10 steps"),
        (
            lambda: WSDLR(sgd(), shape="sqrt"),
            ValueError,
            "shape must be 'linear', 'cosine', '1-sqrt', but it is 'sqrt'",
        ),
        (lambda: WSDLR(sgd(), end_factor=2), ValueError, "end_factor must be between 0 and 1"),
        (lambda: StepLR(sgd(), 2, unit="updates"), ValueError, "unit must be 'epoch', 'iter', 'update' or None"),
        (lambda: StepLR(sgd(), 2, by_epoch=False, unit="epoch"), ValueError, "unit is 'epoch', but by_epoch is False"),
        (lambda: LinearLR([sgd()]), TypeError, "LinearLR.optimizer must be an optimizer or an OptimWrapper"),
        (lambda: LinearParamScheduler(sgd(), 3), TypeError, "LinearParamScheduler.param_name must be a string"),
        (
            lambda: LinearParamScheduler(sgd(), "momentun"),
            KeyError,
            "Group 0 of SGD has no 'momentun' to schedule. Did you mean 'momentum'",
        ),
        (
            lambda: LinearParamScheduler(torch.optim.Adam([torch.zeros(1)]), "betas"),
            TypeError,
            "'betas' of group 0 must be a number.*the first, as 'momentum'",
        ),
        (
            lambda: LinearMomentum(torch.optim.Adagrad([torch.zeros(1)])),
            ValueError,
            "Group 0 of Adagrad has no 'momentum' to schedule. It has: lr",
        ),
    ],
)
def test_errors_name_the_argument_and_the_cure(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_scheduler_that_is_refused_leaves_the_optimizer_alone():
    optimizer = sgd()
    with pytest.raises(ValueError):
        LinearLR(optimizer, begin=5, end=5)
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert ConstantLR(optimizer, 0.5).get_last_value() == [0.5]


def test_numbers_as_configs_compute_them():
    scheduler = LinearLR(sgd(), np.float32(0.5), begin=np.int64(2), end=30 * 0.1 + 3)
    assert (scheduler.begin, scheduler.end) == (2, 6)
    assert all(type(value) is int for value in (scheduler.begin, scheduler.end))
    assert type(scheduler.start_factor) is float


class TestConversion:
    def test_every_length_is_converted(self):
        cosine = CosineAnnealingLR.build_iter_from_epoch(sgd(), T_max=3, begin=1, end=4, epoch_length=10)
        assert (cosine.T_max, cosine.begin, cosine.end, cosine.by_epoch) == (30, 10, 40, False)
        assert CosineAnnealingLR.build_iter_from_epoch(sgd(), begin=1, end=4, epoch_length=10).T_max == 30
        steps = MultiStepLR.build_iter_from_epoch(sgd(), milestones=[2, 3], epoch_length=5)
        assert (steps.milestones, steps.end) == ([10, 15], INF)
        assert StepLR.build_iter_from_epoch(sgd(), step_size=2, epoch_length=5).step_size == 10
        assert LinearParamScheduler.build_iter_from_epoch(sgd(), "lr", 0.5, begin=0.5, epoch_length=5).begin == 2

    def test_through_a_config(self):
        config = {"type": "LinearLR", "start_factor": 0.5, "end": 1, "convert_to_iter_based": True}
        optimizer = sgd()
        built = PARAM_SCHEDULERS.build(config, default_args={"optimizer": optimizer, "epoch_length": 3})
        trace = []
        for _ in range(4):
            trace += built.get_last_value()
            built.step()
        assert trace == [0.5, 0.75, 1, 1]

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"by_epoch": False, "epoch_length": 5}, ValueError, "StepLR.by_epoch is False.*convert_to_iter_based"),
            ({}, ValueError, r"StepLR.epoch_length is missing.*len\(dataloader\)"),
            ({"epoch_length": 0}, ValueError, "StepLR.epoch_length must be at least 1"),
            ({"epoch_length": "5"}, TypeError, "StepLR.epoch_length must be a number"),
        ],
    )
    def test_errors(self, options, error, message):
        with pytest.raises(error, match=message):
            StepLR.build_iter_from_epoch(sgd(), step_size=2, **options)

    def test_a_length_is_given_by_name(self):
        with pytest.raises(TypeError, match="step_size"):
            StepLR.build_iter_from_epoch(sgd(), 2, epoch_length=5)
        with pytest.raises(ValueError, match=r"StepLR.step_size must be a whole number, but it is 1.5"):
            StepLR.build_iter_from_epoch(sgd(), step_size=0.3, epoch_length=5)
