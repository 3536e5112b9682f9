"""Schedules that go by the results of validations."""

import copy
import inspect
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as twins

from mainspring import BaseMetric
from mainspring.hooks import Hook
from mainspring.logging import MMLogger
from mainspring.optim import OptimWrapper
from mainspring.optim import scheduler as schedulers
from mainspring.optim.scheduler import (
    INF,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    PolyLR,
    ReduceOnPlateauLR,
    ReduceOnPlateauMomentum,
    ReduceOnPlateauParamScheduler,
    StepLR,
)
from mainspring.registry import PARAM_SCHEDULERS

LRS = (0.1, 0.3, 0.1)


def sgd(*lrs):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs or (0.1,)]
    return torch.optim.SGD(groups, lr=0.1)


def lrs(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def judge(scheduler, *losses):
    """Let an epoch and a validation pass for each loss; return the first group's values after each."""
    trace = []
    for loss in losses:
        scheduler.step()
        scheduler.step({"loss": loss})
        trace.append(scheduler.get_last_value()[0])
    return trace


def reloaded(scheduler, make, optimizer=None):
    """Make a scheduler anew, as another process does, and load the state: through JSON, so that it must be plain."""
    again = make(sgd() if optimizer is None else optimizer)
    again.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
    return again


# Numbers that often repeat, as those of a plateau do.
scores = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-2, 2), st.sampled_from([math.nan, math.inf, -math.inf, 1.0, 0.9999])
)
options = st.fixed_dictionaries(
    {
        "rule": st.sampled_from(["less", "greater"]),
        "factor": st.sampled_from([0.0, 0.1, 0.5, 0.7, 0.999]),
        "patience": st.integers(0, 3),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1, 0.5]),
        "threshold_rule": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
        "min_value": st.one_of(st.sampled_from([0.0, 1e-3, 0.05]), st.just([0.02, 0.2, 0.07])),
        "eps": st.sampled_from([0.0, 1e-8, 1e-2]),
    }
)


class TestAsTorch:
    @given(given_options=options, metrics=st.lists(scores, max_size=25))
    @settings(max_examples=1000)
    def test_of_any_metrics_and_settings(self, given_options, metrics):
        ours, theirs = sgd(*LRS), sgd(*LRS)
        scheduler = ReduceOnPlateauLR(ours, **given_options)
        renamed = {"rule": "mode", "threshold_rule": "threshold_mode", "min_value": "min_lr"}
        twin_options = {renamed.get(name, name): value for name, value in given_options.items()}
        twin_options["mode"] = {"less": "min", "greater": "max"}[given_options["rule"]]
        twin = twins.ReduceLROnPlateau(theirs, **twin_options)
        for metric in metrics:
            scheduler.step()
            scheduler.step({"loss": metric})
            twin.step(metric)
            assert lrs(ours) == lrs(theirs)
            assert scheduler.get_last_value() == twin.get_last_lr()
            for count in ("best", "num_bad_epochs", "cooldown_counter"):
                assert getattr(scheduler, count) == getattr(twin, count)

    def test_of_the_defaults(self):
        ours = inspect.signature(ReduceOnPlateauLR).parameters
        theirs = inspect.signature(twins.ReduceLROnPlateau).parameters
        for name in ("factor", "patience", "threshold", "cooldown", "eps"):
            assert ours[name].default == theirs[name].default


class TestWhatItGoesBy:
    def test_which_validations_matter(self):
        """Those after epochs ``begin`` to ``end - 1``, as many as are finished then."""
        scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=0, begin=2, end=5)
        assert judge(scheduler, 1, 1, 1, 1, 1, 1) == [0.1, 0.1, 0.05, 0.025, 0.025, 0.025]
        assert scheduler.last_step == 2

    def test_validations_more_rarely_than_epochs(self):
        scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=0, begin=3)
        seen = []
        for epoch in range(1, 9):
            scheduler.step()
            if epoch % 2 == 0:
                scheduler.step({"loss": 1.0})
                seen.append((epoch, scheduler.last_step, scheduler.get_last_value()[0]))
        assert seen == [(2, -1, 0.1), (4, 0, 0.1), (6, 1, 0.05), (8, 2, 0.025)]

    def test_iterations(self):
        scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=0, begin=100, by_epoch=False)
        for iteration in range(1, 201):
            scheduler.step()
            if iteration % 50 == 0:
                scheduler.step({"loss": 1.0})
        assert scheduler.last_step == 2
        assert scheduler.get_last_value() == [0.025]

    def test_from_epochs_to_iterations(self):
        scheduler = PARAM_SCHEDULERS.build(
            {"type": "ReduceOnPlateauLR", "begin": 2, "end": 4, "patience": 3, "convert_to_iter_based": True},
            default_args={"optimizer": sgd(), "epoch_length": 10},
        )
        assert (scheduler.begin, scheduler.end, scheduler.by_epoch, scheduler.patience) == (20, 40, False, 3)

    @pytest.mark.parametrize("value", [torch.tensor(1.0), np.float32(1), np.array(1.0), 1])
    def test_numbers_of_any_kind_leave_a_plain_state(self, value):
        scheduler = ReduceOnPlateauLR(sgd(), patience=0)
        judge(scheduler, value)
        assert type(scheduler.best) is float
        json.dumps(scheduler.state_dict())

    def test_the_metric_is_not_there(self):
        scheduler = ReduceOnPlateauLR(sgd(), monitor="val_los", begin=5)
        message = (
            r"ReduceOnPlateauLR.monitor is 'val_los', which .* Did you mean 'val_loss'\? It returned: acc, val_loss"
        )
        with pytest.raises(KeyError, match=message):
            scheduler.step({"acc": 1, "val_loss": 2})

    def test_after_the_end_nothing_is_looked_at(self):
        scheduler = ReduceOnPlateauLR(sgd(), end=1)
        judge(scheduler, 1.0)
        scheduler.step({"other": 1.0})
        assert scheduler.last_step == -1

    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            (0.5, "ReduceOnPlateauLR.step: metrics must be a dict, but it is 0.5"),
            ({"loss": "low"}, "'loss', which must be a number to be compared, but .* returned 'low'"),
            ({"loss": torch.ones(2)}, "must be a number"),
            ({"loss": None}, "must be a number"),
        ],
    )
    def test_no_number(self, metrics, message):
        with pytest.raises(TypeError, match=message):
            ReduceOnPlateauLR(sgd()).step(metrics)


class TestWithOthers:
    """Its reductions are a factor of the product."""

    others = (
        lambda o: LinearLR(o, 0.1, end=9),
        lambda o: ExponentialLR(o, gamma=0.9),
        lambda o: StepLR(o, 4),
        lambda o: CosineAnnealingLR(o, T_max=40),
    )

    @given(
        chosen=st.lists(st.sampled_from(others), min_size=1, max_size=2),
        first=st.booleans(),
        losses=st.lists(st.integers(0, 3), max_size=20),
    )
    def test_they_multiply_in_any_order(self, chosen, first, losses):
        together, apart, alone = sgd(0.1, 0.4), sgd(0.1, 0.4), sgd(1.0)
        plateau = {"factor": 0.5, "patience": 1, "eps": 0}
        own = [ReduceOnPlateauLR(together, **plateau)] if first else []
        mixed = [make(together) for make in chosen]
        own = own or [ReduceOnPlateauLR(together, **plateau)]
        separate = [make(apart) for make in chosen]
        factor = ReduceOnPlateauLR(alone, **plateau)
        for loss in losses:
            for scheduler in (*mixed, *separate, *own, factor):
                scheduler.step()
            for scheduler in (*own, factor):
                scheduler.step({"loss": loss})
            assert lrs(together) == pytest.approx([lr * lrs(alone)[0] for lr in lrs(apart)], rel=1e-12)

    def test_a_warm_up_by_iterations(self):
        optimizer = sgd(1.0)
        warm_up = LinearLR(optimizer, 0.25, end=4, by_epoch=False)
        plateau = ReduceOnPlateauLR(optimizer, factor=0.5, patience=0)
        seen = []
        for _ in range(4):
            for _ in range(2):
                seen.append(lrs(optimizer)[0])
                warm_up.step()
            plateau.step()
            plateau.step({"loss": 1.0})
        assert seen == [0.25, 0.5, 0.75, 1.0, 0.5, 0.5, 0.25, 0.25]

    def test_another_plateau(self):
        """Each judges its own metric."""
        optimizer = sgd(1.0)
        one = ReduceOnPlateauLR(optimizer, factor=0.5, patience=0)
        other = ReduceOnPlateauLR(optimizer, monitor="acc", rule="greater", factor=0.1, patience=0)
        for metrics in ({"loss": 1, "acc": 1}, {"loss": 1, "acc": 2}, {"loss": 0, "acc": 2}):
            one.step(metrics)
            other.step(metrics)
        assert lrs(optimizer) == pytest.approx([0.05])

    def test_what_was_reduced_before_the_others_reached_zero_is_not_forgotten(self):
        optimizer = sgd(1.0)
        to_zero = PolyLR(optimizer, end=5)
        plateau = ReduceOnPlateauLR(optimizer, factor=0.5, patience=0)
        for loss in (1, 1, 0, 0, 0):
            to_zero.step()
            plateau.step()
            plateau.step({"loss": loss})
        assert lrs(optimizer) == [0.0]  # from which the second plateau could reduce nothing
        longer = sgd(1.0)
        again = [PolyLR(longer, end=11), ReduceOnPlateauLR(longer, factor=0.5, patience=0)]
        for scheduler, saved in zip(again, (to_zero, plateau), strict=True):
            scheduler.load_state_dict(saved.state_dict())
        assert lrs(longer) == pytest.approx([0.5 * 0.5])

    def test_groups_that_were_added_are_not_reduced_for_what_was_before(self):
        optimizer = sgd(1.0)
        plateau = ReduceOnPlateauLR(optimizer, factor=0.5, patience=0)
        judge(plateau, 1, 1)
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0})
        judge(plateau, 0)
        assert lrs(optimizer) == [0.5, 1.0]
        judge(plateau, 0)
        assert lrs(optimizer) == [0.25, 0.5]

    def test_groups_that_were_added_have_no_least_value_of_their_own(self):
        optimizer = sgd(1.0, 1.0)
        plateau = ReduceOnPlateauLR(optimizer, patience=0, min_value=[0.1, 0.2])
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0})
        with pytest.raises(ValueError, match="min_value has 2 values, but the optimizer has 3 parameter groups now"):
            judge(plateau, 1, 1)

    def test_groups_of_one_value_that_end_at_different_ones(self):
        optimizer = sgd(1.0, 1.0)
        judge(ReduceOnPlateauLR(optimizer, factor=0.1, patience=0, min_value=[0.5, 0.0]), 1, 1)
        assert lrs(optimizer) == [0.5, 0.1]


class TestTheState:
    @given(
        given_options=options,
        begin=st.integers(0, 4),
        warm_up=st.integers(1, 12),
        metrics=st.lists(scores, min_size=1, max_size=16),
        data=st.data(),
    )
    @settings(max_examples=80)
    def test_a_resumed_run_has_the_same_bits(self, given_options, begin, warm_up, metrics, data):
        def make(optimizer):
            return [
                LinearLR(optimizer, 0.1, end=warm_up + 1, by_epoch=False),
                ReduceOnPlateauLR(optimizer, begin=begin, **given_options),
            ]

        def part(parts, losses):
            for loss in losses:
                parts[0].step()
                parts[0].step()
                parts[1].step()
                parts[1].step({"loss": loss})

        cut = data.draw(st.integers(0, len(metrics)))
        straight, stopped, on = sgd(*LRS), sgd(*LRS), sgd(*LRS)
        expected, first = make(straight), make(stopped)
        part(expected, metrics)
        part(first, metrics[:cut])
        second = make(on)
        on.load_state_dict(copy.deepcopy(stopped.state_dict()))
        for scheduler, saved in zip(second, first, strict=True):
            scheduler.load_state_dict(json.loads(json.dumps(saved.state_dict())))
        assert lrs(on) == lrs(stopped)
        part(second, metrics[cut:])
        assert lrs(on) == lrs(straight)
        assert [s.state_dict() for s in second] == [s.state_dict() for s in expected]

    def test_it_is_saved_between_an_epoch_and_its_validation(self):
        def make(optimizer):
            return ReduceOnPlateauLR(optimizer, factor=0.5, patience=0, begin=1)

        scheduler = make(sgd())
        judge(scheduler, 1, 1)
        scheduler.step()
        again = reloaded(scheduler, make)
        again.step({"loss": 1})
        assert again.get_last_value() == [0.025]

    def test_what_a_subclass_remembers_is_in_it(self):
        class Noting(ReduceOnPlateauLR):
            def _get_value(self):
                self.reduced_at = [*getattr(self, "reduced_at", []), self.last_step]
                return super()._get_value()

        scheduler = Noting(sgd(), patience=0)
        judge(scheduler, 1, 1, 0, 0)
        assert reloaded(scheduler, lambda o: Noting(o, patience=0)).reduced_at == [1, 3]

    def test_a_changed_learning_rate_holds_and_stays_reduced(self):
        def make(optimizer):
            return ReduceOnPlateauLR(optimizer, factor=0.5, patience=0)

        scheduler = make(sgd(0.1))
        judge(scheduler, 1, 1, 1)
        again = reloaded(scheduler, make, sgd(0.8))
        assert again.get_last_value() == pytest.approx([0.2])
        assert judge(again, 1) == pytest.approx([0.1])

    def test_changed_settings_hold(self):
        scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=3)
        judge(scheduler, 1, 1, 1)
        again = reloaded(scheduler, lambda o: ReduceOnPlateauLR(o, factor=0.1, patience=2))
        assert judge(again, 1) == pytest.approx([0.01])
        again = reloaded(scheduler, lambda o: ReduceOnPlateauLR(o, factor=0.1, patience=4, min_value=0.05))
        assert judge(again, 1, 1) == [0.1, 0.1]
        assert judge(again, 1) == [0.05]

    @pytest.mark.parametrize("change", [{"monitor": "acc"}, {"rule": "greater"}])
    def test_the_best_of_another_metric_is_none_to_beat(self, change):
        scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=1, cooldown=4)
        judge(scheduler, 3, 3, 3)
        scheduler.num_bad_epochs = 1
        again = reloaded(scheduler, lambda o: ReduceOnPlateauLR(o, patience=1, cooldown=4, **change))
        assert (again.best, again.num_bad_epochs) == (ReduceOnPlateauLR(sgd(), **change).best, 0)
        assert again.cooldown_counter == 4
        assert again.get_last_value() == [0.05]

    def test_it_takes_the_place_of_another_schedule_or_gives_it(self):
        steps = StepLR(sgd(), 2)
        for _ in range(3):
            steps.step()
        plateau = reloaded(steps, lambda o: ReduceOnPlateauLR(o, factor=0.5, patience=0, begin=4))
        assert plateau.last_step == -1
        assert judge(plateau, 1, 1) == [0.1, 0.05]
        assert reloaded(plateau, lambda o: StepLR(o, 3)).get_last_value() == pytest.approx([0.1 * 0.1])

    @pytest.mark.parametrize("state", [{}, {"last_epoch": 3}, {"best": 1.0, "last_step": 3, "monitor": "x"}])
    def test_no_scheduler_s_state(self, state):
        with pytest.raises(KeyError, match=r"A state for ReduceOnPlateauLR needs .*_global_step, but this one has"):
            ReduceOnPlateauLR(sgd()).load_state_dict(state)

    def test_another_unit(self):
        state = ReduceOnPlateauLR(sgd()).state_dict()
        with pytest.raises(ValueError, match=r"counts epochs, but this .* counts iterations.*Set by_epoch=True"):
            ReduceOnPlateauLR(sgd(), by_epoch=False).load_state_dict(state)


# What MMEngine 0.10.7 saves, at the end of the fourth epoch and before its validation, of ReduceOnPlateauLR(factor=0.5,
# patience=0) whose validations returned 1.0 each.
FOREIGN = {
    "_global_step": 4,
    "_last_value": [0.025],
    "begin": 0,
    "best": 1.0,
    "by_epoch": True,
    "cooldown": 0,
    "cooldown_counter": 0,
    "end": 5,
    "eps": 1e-08,
    "factor": 0.5,
    "last_step": 2,
    "min_values": [0.0],
    "monitor": "loss",
    "num_bad_epochs": 0,
    "param_name": "lr",
    "patience": 0,
    "rule": "less",
    "rule_worse": 1000000000,
    "threshold": 0.0001,
    "threshold_rule": "rel",
    "verbose": False,
}


class TestStatesOfMMEngine:
    def test_it_goes_on(self):
        scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=0)
        scheduler.load_state_dict({**FOREIGN, "best": torch.tensor(1.0)})
        assert (scheduler.last_step, scheduler.best, scheduler.get_last_value()) == (2, 1.0, [0.025])
        json.dumps(scheduler.state_dict())
        scheduler.step({"loss": 1.0})
        assert judge(scheduler, 0.5) == [0.0125]

    def test_of_an_iteration_run_where_no_epochs_are_counted(self):
        """There ``_global_step`` stays 0, however many validations there were, and ``end`` is 1."""
        scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=0, end=1)
        scheduler.load_state_dict({**FOREIGN, "_global_step": 0, "end": 1, "last_step": 7})
        scheduler.step({"loss": 1.0})
        assert scheduler.get_last_value() == [0.0125]

    def test_after_a_warm_up(self):
        optimizer = sgd(0.1)
        warm_up, plateau = LinearLR(optimizer, 0.1, end=3, by_epoch=False), ReduceOnPlateauLR(optimizer)
        warm_up.load_state_dict({"last_step": 2, "_global_step": 8, "by_epoch": False})
        plateau.load_state_dict(FOREIGN)
        assert lrs(optimizer) == [0.025]

    def test_of_another_metric(self):
        scheduler = ReduceOnPlateauLR(sgd(), monitor="acc", rule="greater")
        scheduler.load_state_dict(FOREIGN)
        assert (scheduler.best, scheduler.get_last_value()) == (-math.inf, [0.025])

    def test_in_a_warm_up_nothing_was_reduced_yet(self):
        optimizer = sgd(0.1)
        warm_up, plateau = LinearLR(optimizer, 0.1, end=30, by_epoch=False), ReduceOnPlateauLR(optimizer)
        warm_up.load_state_dict({"last_step": 8, "_global_step": 8, "by_epoch": False})
        before = lrs(optimizer)
        plateau.load_state_dict({**FOREIGN, "patience": 10, "_last_value": [0.03]})
        assert lrs(optimizer) == before
        assert plateau.best == 1.0

    def test_what_cannot_be_told_is_said(self, capsys):
        MMLogger.new_instance("plateau")
        optimizer = sgd(0.1)
        _, plateau = CosineAnnealingLR(optimizer, T_max=5), ReduceOnPlateauLR(optimizer)
        plateau.load_state_dict(FOREIGN)
        assert "does not tell what this schedule has reduced from what CosineAnnealingLR has" in capsys.readouterr().out
        assert lrs(optimizer) == [0.025]

    def test_more_values_than_groups(self):
        """An optimizer wrapper of MMEngine may add one for the settings of all."""
        scheduler = ReduceOnPlateauLR(sgd(0.1, 0.2))
        scheduler.load_state_dict({**FOREIGN, "_last_value": [0.05, 0.1, 0.05]})
        assert scheduler.get_last_value() == [0.05, 0.1]


class TestLastStep:
    def test_it_goes_on_from_what_the_groups_hold(self):
        optimizer = sgd(1.0, 2.0)
        judge(ReduceOnPlateauLR(optimizer, factor=0.5, patience=0), 1, 1, 1)
        fresh = sgd(1.0, 2.0)
        fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        again = ReduceOnPlateauLR(fresh, factor=0.5, patience=0, last_step=2)
        assert again.last_step == 2
        assert lrs(fresh) == lrs(optimizer) == [0.25, 0.5]
        judge(again, 1, 1)
        assert lrs(fresh) == [0.125, 0.25]
        assert [group["initial_lr"] for group in fresh.param_groups] == [1.0, 2.0]

    def test_beside_others_nothing_can_be_told(self):
        optimizer = sgd()
        warm_up = LinearLR(optimizer)
        with pytest.raises(ValueError, match="last_step is given, but LinearLR changes 'lr' too"):
            ReduceOnPlateauLR(optimizer, last_step=3)
        warm_up.step()  # the one that failed takes no part

    def test_nothing_to_go_on_from(self):
        with pytest.raises(KeyError, match="last_step is given, but group 0 has no 'initial_lr'"):
            ReduceOnPlateauLR(sgd(), last_step=2)


@pytest.mark.parametrize("kind", ["ParamScheduler", "LR", "Momentum"])
def test_names_and_arguments(kind):
    cls = getattr(schedulers, f"ReduceOnPlateau{kind}")
    assert PARAM_SCHEDULERS.get(f"ReduceOnPlateau{kind}") is cls
    first = ["optimizer", "param_name"] if kind == "ParamScheduler" else ["optimizer"]
    parameters = inspect.signature(cls).parameters
    assert list(parameters)[: len(first)] == first
    assert {name: parameter.default for name, parameter in parameters.items() if name not in first} == {
        "monitor": "loss",
        "rule": "less",
        "factor": 0.1,
        "patience": 10,
        "threshold": 1e-4,
        "threshold_rule": "rel",
        "cooldown": 0,
        "min_value": 0.0,
        "eps": 1e-8,
        "begin": 0,
        "end": INF,
        "last_step": -1,
        "by_epoch": True,
        "verbose": False,
        "unit": None,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rule": "min"}, ValueError, "ReduceOnPlateauLR.rule must be 'less' or 'greater', but it is 'min'"),
        ({"threshold_rule": "x"}, ValueError, "ReduceOnPlateauLR.threshold_rule must be 'rel' or 'abs'"),
        ({"factor": 1.0}, ValueError, "ReduceOnPlateauLR.factor must be less than 1, but it is 1.0"),
        ({"factor": -0.1}, ValueError, "ReduceOnPlateauLR.factor must be a finite number of at least 0"),
        ({"patience": 1.5}, ValueError, "ReduceOnPlateauLR.patience must be a whole number"),
        ({"cooldown": -1}, ValueError, "ReduceOnPlateauLR.cooldown must be at least 0"),
        ({"threshold": -1}, ValueError, "ReduceOnPlateauLR.threshold must be a finite number of at least 0"),
        ({"threshold": 1}, ValueError, "ReduceOnPlateauLR.threshold must be less than 1 with threshold_rule='rel'"),
        ({"min_value": [0.1, 0.2]}, ValueError, "min_value has 2 values, but the optimizer has 1 parameter groups"),
        ({"min_value": ["0"]}, TypeError, r"ReduceOnPlateauLR.min_value\[0\] must be a number"),
        ({"eps": "0"}, TypeError, "ReduceOnPlateauLR.eps must be a number"),
        ({"monitor": None}, TypeError, "ReduceOnPlateauLR.monitor must be a string, but it is None"),
        ({"begin": 3, "end": 3}, ValueError, "ReduceOnPlateauLR.end must be larger than begin"),
    ],
)
def test_impossible_arguments(arguments, error, message):
    optimizer = sgd()
    with pytest.raises(error, match=message):
        ReduceOnPlateauLR(optimizer, **arguments)
    StepLR(optimizer, 1).step()
    assert lrs(optimizer) == pytest.approx([0.01])


def test_no_optimizer():
    with pytest.raises(TypeError, match=r"ReduceOnPlateauLR\.optimizer must be an optimizer or an OptimWrapper"):
        ReduceOnPlateauLR(torch.nn.Linear(1, 1))


def test_the_momentum_of_adam_and_a_wrapper():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], betas=(0.8, 0.99))
    judge(ReduceOnPlateauMomentum(OptimWrapper(optimizer), factor=0.5, patience=0), 1, 1)
    assert optimizer.param_groups[0]["betas"] == (0.4, 0.99)


def test_any_parameter():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, weight_decay=0.2)
    judge(ReduceOnPlateauParamScheduler(optimizer, "weight_decay", factor=0.5, patience=0), 1, 1)
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_verbose_says_each_reduction(capsys):
    MMLogger.new_instance("verbose plateau", log_level="INFO")
    scheduler = ReduceOnPlateauLR(sgd(), factor=0.5, patience=1, verbose=True)
    capsys.readouterr()
    judge(scheduler, 1, 1)
    assert capsys.readouterr().out == ""
    judge(scheduler, 1)
    assert "ReduceOnPlateauLR: lr of group 0 is now 5.0000e-02." in capsys.readouterr().out


# In runs.


class Loss(BaseMetric):
    """The mean loss, so that it goes by the weights."""

    def process(self, data_batch, data_samples):
        scores, labels = data_samples
        self.results.append(torch.nn.functional.cross_entropy(scores, labels).item())

    def compute_metrics(self, results):
        return {"loss": sum(results) / len(results)}


class Record(Hook):
    """Writes down the learning rate of each iteration."""

    def __init__(self):
        self.lrs = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.lrs[runner.iter] = runner.optim_wrapper.param_groups[0]["lr"]


WARM_UP = {"type": "LinearLR", "start_factor": 0.1, "end": 12, "by_epoch": False}
PLATEAU = {"type": "ReduceOnPlateauLR", "factor": 0.5, "patience": 0, "threshold": 0.05}
BY_EPOCH = {
    "train_cfg": {"max_epochs": 5},
    "param_scheduler": [WARM_UP, PLATEAU],
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "loss"}},
}
WITHIN_EPOCHS = {
    **BY_EPOCH,
    "param_scheduler": [PLATEAU, WARM_UP],
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 4, "by_epoch": False}},
}
BY_ITERATION = {
    "train_cfg": {"by_epoch": False, "max_iters": 25, "val_interval": 4},
    "param_scheduler": [WARM_UP, {**PLATEAU, "by_epoch": False, "begin": 8}],
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 5, "by_epoch": False, "save_best": "loss"}},
}


@pytest.fixture
def make(make_runner, net):
    """Return a function that makes a runner with a plateau, and with a hook that records the learning rates."""

    def make_one(**changes):
        record = Record()
        arguments = {
            "model": {"type": net, "dropout": 0.3},
            "val_evaluator": Loss(),
            "custom_hooks": [record],
            **changes,
        }
        return make_runner(**arguments), record

    return make_one


@pytest.mark.parametrize("changes", [BY_EPOCH, WITHIN_EPOCHS, BY_ITERATION], ids=["epochs", "within epochs", "iters"])
def test_a_run_that_goes_on_from_any_checkpoint_has_the_same_bits(make, tmp_path, changes):
    whole, expected = make(**changes)
    whole.train()
    plateau = next(s for s in whole.param_schedulers if isinstance(s, ReduceOnPlateauLR))
    assert len(expected.lrs) == whole.iter == 25
    assert plateau.get_last_value()[0] < 0.05, "it must have reduced more than once, for the test to be one"

    files = sorted(Path(whole.work_dir).glob("*.pth"))
    assert len(files) > 5
    for file in files:
        again, seen = make(**changes, work_dir=tmp_path / file.stem, load_from=file, resume=True)
        again.train()
        assert seen.lrs == {number: lr for number, lr in expected.lrs.items() if number in seen.lrs}, file.name
        assert [s.state_dict() for s in again.param_schedulers] == [s.state_dict() for s in whole.param_schedulers]
        assert all(
            torch.equal(value, again.model.state_dict()[name]) for name, value in whole.model.state_dict().items()
        )


def test_a_run_goes_on_with_another_learning_rate(make, tmp_path, make_runner):
    whole, before = make(**BY_EPOCH)
    whole.train()
    changed, after = make(
        **BY_EPOCH,
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.2}},
        work_dir=tmp_path / "changed",
        load_from=Path(whole.work_dir) / "epoch_4.pth",
        resume=True,
    )
    changed.train()
    assert list(after.lrs) == [20, 21, 22, 23, 24]
    reduced = before.lrs[19] / 0.1
    assert reduced < 1
    # The validation behind the fourth epoch comes first, and sees the same weights.
    assert after.lrs == {number: pytest.approx(2 * before.lrs[number]) for number in after.lrs}


def test_only_validations_of_the_training_count(make):
    runner, _ = make(train_cfg={"max_epochs": 1}, param_scheduler=PLATEAU)
    runner.val()
    assert runner.param_schedulers[0].best == math.inf
    runner.train()
    state = runner.param_schedulers[0].state_dict()
    runner.val()
    assert runner.param_schedulers[0].state_dict() == state


def test_without_validations_a_run_does_not_begin(make):
    nothing = dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator"))
    runner, _ = make(param_scheduler=[WARM_UP, PLATEAU], **nothing)
    with pytest.raises(
        ValueError, match=r"param_scheduler\[1\] \(ReduceOnPlateauLR\) goes by the results of validations"
    ):
        runner.train()


def test_a_metric_that_is_missing_ends_the_run_at_the_first_validation(make):
    runner, _ = make(param_scheduler={**PLATEAU, "monitor": "los", "begin": 1})
    with pytest.raises(KeyError, match=r"ReduceOnPlateauLR.monitor is 'los'.*Did you mean 'loss'\? It returned: loss"):
        runner.train()
    assert runner.iter == 5


class Own:
    """A schedule of a user's, which writes down what it is given."""

    by_epoch = True
    need_val_args = True

    def __init__(self):
        self.seen = []

    def step(self, metrics=None):
        self.seen.append(metrics if metrics is None else list(metrics))

    def state_dict(self):
        return {}


def test_a_user_s_own_schedule_may_go_by_results_too(make):
    own = Own()
    make(param_scheduler=[WARM_UP, own])[0].train()
    assert own.seen == [None, ["loss"]] * 2
