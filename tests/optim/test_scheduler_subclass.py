"""A user's own schedulers."""

import copy
import inspect
import json
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mainspring.optim.scheduler import (
    INF,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRSchedulerMixin,
    MomentumSchedulerMixin,
    StepLR,
    _ParamScheduler,
)


class Decay(_ParamScheduler):
    """From its last value to the next, as most are written."""

    def _get_value(self):
        if self.last_step == 0:
            return [group[self.param_name] for group in self.optimizer.param_groups]
        return [0.5 * group[self.param_name] for group in self.optimizer.param_groups]


class Climb(_ParamScheduler):
    """From 0, by adding."""

    def __init__(self, optimizer, param_name, begin=0, end=INF, last_step=-1, by_epoch=True, verbose=False):
        self.total_iters = end - begin
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self):
        if self.last_step == 0:
            return [0.0] * len(self.base_values)
        return [
            group[self.param_name] + base / self.total_iters
            for group, base in zip(self.optimizer.param_groups, self.base_values, strict=True)
        ]


class Wave(_ParamScheduler):
    """From its base values."""

    def _get_value(self):
        return [base * (2 + math.sin(self.last_step)) for base in self.base_values]


class Patient(_ParamScheduler):
    """With a memory of its own."""

    def __init__(self, optimizer, param_name, patience=2, **kwargs):
        self.patience = patience
        self.waited = 0
        self.drops = []
        super().__init__(optimizer, param_name, **kwargs)

    def _get_value(self):
        self.waited += 1
        self.newest = self.last_step
        factor = 1.0
        if self.waited > self.patience:
            self.waited = 0
            self.drops.append(self.last_step)
            factor = 0.5
        return [factor * group[self.param_name] for group in self.optimizer.param_groups]


class ClimbLR(LRSchedulerMixin, Climb):
    pass


class DecayMomentum(MomentumSchedulerMixin, Decay):
    pass


class FlooredCosineLR(CosineAnnealingLR):
    def _get_value(self):
        return [max(value, 0.25) for value in super()._get_value()]


OWN = [Decay, Climb, Wave, Patient]


def sgd(*lrs):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs or (1.0,)]
    return torch.optim.SGD(groups, lr=0.1)


def lrs(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def run(optimizer, schedulers, steps):
    trace = []
    for _ in range(steps):
        trace.append(lrs(optimizer)[0])
        for scheduler in schedulers:
            scheduler.step()
    return trace


class TestAlone:
    def test_it_goes_on_from_its_last_value(self):
        optimizer = sgd()
        assert run(optimizer, [Decay(optimizer, "lr", begin=1, end=4)], 6) == [1, 1, 0.5, 0.25, 0.25, 0.25]

    def test_it_may_begin_at_zero(self):
        optimizer = sgd(1.0, 2.0)
        scheduler = ClimbLR(optimizer, end=4)
        assert run(optimizer, [scheduler], 4) == [0, 0.25, 0.5, 0.75]
        assert lrs(optimizer) == scheduler.get_last_value() == [0.75, 1.5]

    def test_values_are_written_as_they_are(self):
        optimizer = sgd(0.1)
        assert run(optimizer, [Wave(optimizer, "lr")], 9) == [0.1 * (2 + math.sin(step)) for step in range(9)]

    def test_on_one_of_ours(self):
        optimizer = sgd()
        scheduler = FlooredCosineLR(optimizer, T_max=4)
        assert run(optimizer, [scheduler], 5) == pytest.approx([1, 0.8535533906, 0.5, 0.25, 0.25])

    def test_of_adam_s_momentum(self):
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], betas=(0.8, 0.9))
        DecayMomentum(optimizer).step()
        assert optimizer.param_groups[0]["betas"] == (0.4, 0.9)

    def test_it_sees_floats_where_the_group_holds_a_tensor(self):
        seen = []

        class Looks(Decay):
            def _get_value(self):
                seen.extend(type(group["lr"]) for group in self.optimizer.param_groups)
                return super()._get_value()

        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(1.0))
        tensor = optimizer.param_groups[0]["lr"]
        Looks(optimizer, "lr").step()
        assert seen == [float, float]
        assert optimizer.param_groups[0]["lr"] is tensor
        assert tensor.item() == 0.5

    def test_a_group_that_is_added_takes_part(self):
        optimizer = sgd()
        scheduler = Decay(optimizer, "lr")
        scheduler.step()
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 8.0})
        scheduler.step()
        assert lrs(optimizer) == [0.25, 4.0]


class TestWithOthers:
    def test_a_warm_up_of_its_own_then_cosine(self):
        optimizer = sgd()
        schedulers = [ClimbLR(optimizer, end=2), CosineAnnealingLR(optimizer, begin=2, T_max=2, eta_min=0.1)]
        assert run(optimizer, schedulers, 5) == pytest.approx([0, 0.5, 0.5, 0.3, 0.1])

    @given(
        own=st.sampled_from([Decay, Patient]),
        begin=st.integers(0, 6),
        length=st.integers(1, 9),
        first=st.booleans(),
    )
    @settings(max_examples=40, deadline=None)
    def test_overlapping_ones_multiply(self, own, begin, length, first):
        def mine(optimizer):
            return own(optimizer, "lr", begin=begin, end=begin + length)

        def ours(optimizer):
            return [LinearLR(optimizer, 0.2, end=7), StepLR(optimizer, 4, gamma=0.3)]

        alone, others, both = sgd(), sgd(), sgd()
        expected = [a * b for a, b in zip(run(alone, [mine(alone)], 16), run(others, ours(others), 16), strict=True)]
        schedulers = [mine(both), *ours(both)] if first else [*ours(both), mine(both)]
        assert run(both, schedulers, 16) == pytest.approx(expected)

    def test_it_sees_its_own_value_and_not_what_later_ones_make_of_it(self):
        seen = []

        class Looks(Decay):
            def _get_value(self):
                seen.append(self.optimizer.param_groups[0]["lr"])
                return super()._get_value()

        optimizer = sgd()
        schedulers = [ConstantLR(optimizer, 0.5), Looks(optimizer, "lr"), ExponentialLR(optimizer, gamma=0.1)]
        run(optimizer, schedulers, 2)
        assert seen == [0.5, 0.5, 0.25]
        assert lrs(optimizer) == pytest.approx([0.125 * 0.01])

    def test_where_zero_entered_its_value_stands(self):
        optimizer = sgd()
        schedulers = [ConstantLR(optimizer, 0.0, end=3), Wave(optimizer, "lr", end=2)]
        trace = run(optimizer, schedulers, 4)
        assert trace == [2, 2 + math.sin(1), 2 + math.sin(1), 2 + math.sin(1)]


class TestResume:
    @staticmethod
    def resumed(make, optimizer, schedulers, state=None):
        fresh = sgd(*(group["initial_lr"] for group in optimizer.param_groups))
        again = make(fresh)
        fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for scheduler, saved in zip(again, schedulers, strict=True):
            kept = json.loads(json.dumps(saved.state_dict()))
            scheduler.load_state_dict({key: kept[key] for key in state or kept})
        return fresh, again

    @given(
        own=st.lists(st.tuples(st.sampled_from(OWN), st.integers(0, 5)), min_size=1, max_size=2),
        before=st.integers(0, 12),
        with_ours=st.booleans(),
        foreign=st.booleans(),
    )
    @example(own=[(Patient, 0)], before=2, with_ours=False, foreign=False)  # what it waited is as at the beginning
    @settings(max_examples=60, deadline=None)
    def test_it_goes_on_with_the_same_bits(self, own, before, with_ours, foreign):
        def make(optimizer):
            front = [LinearLR(optimizer, 0.3, end=3)] if with_ours and not foreign else []
            mine = [each(optimizer, "lr", begin=begin, end=begin + 8) for each, begin in own]
            return [*front, *mine, *([ExponentialLR(optimizer, gamma=0.9)] if with_ours else [])]

        straight, stopped = sgd(0.1, 0.7), sgd(0.1, 0.7)
        expected, first = make(straight), make(stopped)
        run(straight, expected, before)
        run(stopped, first, before)
        # MMEngine's states say how far, and not with what effect.
        state = ("last_step", "_global_step") if foreign and len(own) == 1 else None
        on, again = self.resumed(make, stopped, first, state)
        assert lrs(on) == lrs(stopped)
        assert run(on, again, 8) == run(straight, expected, 8)
        assert lrs(on) == lrs(straight)

    def test_what_it_remembers_comes_back_and_its_settings_do_not(self):
        def make(patience):
            optimizer = sgd()
            return optimizer, Patient(optimizer, "lr", patience=patience)

        optimizer, scheduler = make(2)
        run(optimizer, [scheduler], 7)
        state = scheduler.state_dict()
        _, again = make(5)
        again.load_state_dict(state)
        assert (again.waited, again.drops, again.newest) == (scheduler.waited, [2, 5], 7)
        assert again.patience == 5
        scheduler.drops.append("later")
        assert again.drops == [2, 5]
        assert "later" not in state["_recursion"]["attributes"]["drops"]

    def test_another_learning_rate_scales_it(self):
        optimizer = sgd(1.0)
        scheduler = Decay(optimizer, "lr")
        run(optimizer, [scheduler], 2)
        fresh = sgd(10.0)
        again = Decay(fresh, "lr")
        again.load_state_dict(scheduler.state_dict())
        assert lrs(fresh) == [2.5]

    def test_an_older_state_goes_back(self):
        optimizer = sgd()
        scheduler = Decay(optimizer, "lr")
        run(optimizer, [scheduler], 5)
        scheduler.load_state_dict({"last_step": 2, "_global_step": 2})
        assert lrs(optimizer) == [0.25]

    def test_from_a_last_step(self):
        optimizer = sgd()
        optimizer.param_groups[0]["initial_lr"] = 1.0
        scheduler = Decay(optimizer, "lr", last_step=2)
        assert (scheduler.last_step, lrs(optimizer)) == (3, [0.125])


class TestMistakes:
    def test_neither_method(self):
        with pytest.raises(NotImplementedError, match="_ParamScheduler must define _value_at"):
            _ParamScheduler(sgd(), "lr")

    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            (None, TypeError, "must return a list with one number for each parameter group, but it returned None"),
            ([1.0], ValueError, "one number for each of the 2 parameter groups, but it returned 1"),
        ],
    )
    def test_what_it_returns(self, returned, error, message):
        class Wrong(_ParamScheduler):
            def _get_value(self):
                return returned

        with pytest.raises(error, match=rf"Wrong\._get_value\(\) must return.*{message.split('must return')[-1]}"):
            Wrong(sgd(1.0, 2.0), "lr")

    def test_one_that_failed_takes_no_part(self):
        class Broken(_ParamScheduler):
            def _get_value(self):
                self.optimizer.param_groups[0]["lr"] = 99.0
                raise RuntimeError("broken")

        optimizer = sgd()
        scheduler = ExponentialLR(optimizer, gamma=0.5)
        with pytest.raises(RuntimeError, match="broken"):
            Broken(optimizer, "lr")
        assert lrs(optimizer) == [1.0]
        scheduler.step()
        assert lrs(optimizer) == [0.5]

    def test_its_signature_is_its_own(self):
        class Tuned(CosineAnnealingLR):
            def __init__(self, optimizer, sharpness, **kwargs):
                self.sharpness = sharpness
                super().__init__(optimizer, **kwargs)

        assert list(inspect.signature(Tuned).parameters) == ["optimizer", "sharpness", "kwargs"]
        assert list(inspect.signature(ClimbLR).parameters) == [
            "optimizer",
            "begin",
            "end",
            "last_step",
            "by_epoch",
            "verbose",
        ]
