"""Stopping and going on."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.optim.scheduler import (
    WSDLR,
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    ExponentialMomentum,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    StepLR,
)

MAKES = [
    lambda o, begin=0, **more: ConstantLR(o, 0.3, begin=begin, end=begin + 5, **more),
    lambda o, begin=0, **more: LinearLR(o, 0.1, 0.9, begin=begin, end=begin + 7, **more),
    lambda o, begin=0, **more: CosineAnnealingLR(o, T_max=9, eta_min=0.007, begin=begin, **more),
    lambda o, begin=0, **more: CosineAnnealingLR(o, T_max=9, eta_min_ratio=0.3, begin=begin, **more),
    lambda o, begin=0, **more: MultiStepLR(o, [2, 2, 5], gamma=0.3, begin=begin, **more),
    lambda o, begin=0, **more: StepLR(o, 3, gamma=0.7, begin=begin, **more),
    lambda o, begin=0, **more: ExponentialLR(o, gamma=0.93, begin=begin, end=begin + 9, **more),
    lambda o, begin=0, **more: PolyLR(o, 0.003, 0.9, begin=begin, end=begin + 11, **more),
    lambda o, begin=0, **more: CosineRestartLR(o, [3, 2, 4], [1, 0.7, 0.3], eta_min=0.007, begin=begin, **more),
    lambda o, begin=0, **more: OneCycleLR(o, 0.7, 11, three_phase=True, begin=begin, **more),
    lambda o, begin=0, **more: WSDLR(o, 2, 5, begin=begin, end=begin + 12, unit="update", **more),
]


def sgd(lr=0.1):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": each} for each in (lr, 3 * lr)]
    return torch.optim.SGD(groups, lr=lr)


def lrs(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def steps(schedulers, count):
    for _ in range(count):
        for scheduler in schedulers:
            scheduler.step()


def resumed(make, optimizer, schedulers, lr=0.1):
    """Build anew, as a new process does, and load what was saved: through JSON, so that it must be plain."""
    fresh = sgd(lr)
    again = make(fresh)
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for scheduler, saved in zip(again, schedulers, strict=True):
        scheduler.load_state_dict(json.loads(json.dumps(saved.state_dict())))
    return fresh, again


@given(
    chosen=st.lists(st.tuples(st.sampled_from(MAKES), st.integers(0, 8)), min_size=1, max_size=3),
    before=st.integers(0, 15),
    after=st.integers(0, 10),
)
@settings(max_examples=80, deadline=None)
def test_a_resumed_run_has_the_same_bits(chosen, before, after):
    def make(optimizer):
        return [each(optimizer, begin) for each, begin in chosen]

    straight = sgd()
    expected = make(straight)
    steps(expected, before + after)
    stopped = sgd()
    first = make(stopped)
    steps(first, before)
    on, second = resumed(make, stopped, first)
    assert lrs(on) == lrs(stopped)
    steps(second, after)
    assert lrs(on) == lrs(straight)
    assert [s.last_step for s in second] == [s.last_step for s in expected]


def longer(before, after, done, lr=0.1):
    """The values of a run with the settings ``before``, stopped, and resumed with ``after``; and of one with
    ``after`` from the start.
    """
    optimizer = sgd()
    schedulers = before(optimizer)
    steps(schedulers, done)
    on, again = resumed(after, optimizer, schedulers, lr)
    straight = sgd(lr)
    expected = after(straight)
    steps(expected, done)
    values = [(lrs(on), lrs(straight))]
    for _ in range(12):
        steps(again, 1)
        steps(expected, 1)
        values.append((lrs(on), lrs(straight)))
    return values


class TestTheConfigWins:
    def test_t_max(self):
        for on, straight in longer(
            lambda o: [CosineAnnealingLR(o, T_max=10)], lambda o: [CosineAnnealingLR(o, T_max=20)], done=8
        ):
            assert on == straight

    def test_a_longer_run_after_the_end_of_the_first(self):
        for on, straight in longer(
            lambda o: [LinearLR(o, 0.1, end=5), PolyLR(o, begin=5, end=10)],
            lambda o: [LinearLR(o, 0.1, end=5), PolyLR(o, begin=5, end=30)],
            done=13,
        ):
            assert on == straight

    def test_a_warm_up_that_was_over_and_is_made_longer(self):
        for on, straight in longer(lambda o: [LinearLR(o, 0.1, end=5)], lambda o: [LinearLR(o, 0.1, end=15)], done=8):
            assert on == straight

    def test_a_begin_that_is_moved(self):
        for done in (3, 8):
            for on, straight in longer(
                lambda o: [ExponentialLR(o, gamma=0.9, begin=2)],
                lambda o: [ExponentialLR(o, gamma=0.9, begin=5)],
                done=done,
            ):
                assert on == straight

    def test_the_end_of_warm_up_stay_decay(self):
        for on, straight in longer(
            lambda o: [WSDLR(o, 2, 4, end=12)], lambda o: [WSDLR(o, 2, 4, shape="linear", end=20)], done=8
        ):
            assert on == straight

    def test_the_learning_rate(self):
        for on, straight in longer(
            lambda o: [ExponentialLR(o, gamma=0.9)], lambda o: [ExponentialLR(o, gamma=0.9)], done=4, lr=0.7
        ):
            assert on == straight

    def test_the_base_value_in_the_group_follows(self):
        optimizer = sgd(0.1)
        schedulers = [ExponentialLR(optimizer, gamma=0.9)]
        on, _ = resumed(lambda o: [ExponentialLR(o, gamma=0.9)], optimizer, schedulers, lr=0.5)
        assert [group["initial_lr"] for group in on.param_groups] == [0.5, 1.5]

    def test_the_state_holds_no_settings(self):
        scheduler = CosineAnnealingLR(sgd(), T_max=10, eta_min=0.01, begin=1, end=8)
        assert scheduler.state_dict() == {"last_step": -1, "_global_step": 0, "by_epoch": True}


# What MMEngine 0.10.7 saves after 7 steps of LinearLR(start_factor=0.1, begin=2, end=5), in part.
FOREIGN = {
    "start_factor": 0.1,
    "end_factor": 1.0,
    "total_iters": 2,
    "param_name": "lr",
    "begin": 2,
    "end": 5,
    "by_epoch": True,
    "base_values": [0.1, 0.3],
    "last_step": 2,
    "_global_step": 7,
    "verbose": False,
    "_last_value": [0.1, 0.3],
}


class TestOtherStates:
    def test_mmengine_s_is_read_for_its_progress_alone(self):
        optimizer = sgd(1.0)
        scheduler = LinearLR(optimizer, 0.5, begin=2, end=12)
        scheduler.load_state_dict(FOREIGN)
        assert (scheduler.last_step, scheduler.end, scheduler.start_factor) == (5, 12, 0.5)
        assert lrs(optimizer) == pytest.approx([0.5 + 0.5 * 5 / 9, 3 * (0.5 + 0.5 * 5 / 9)])

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (lambda o: CosineRestartLR(o, [3, 4], [1, 0.5], eta_min=0.1), [0.441421, 0.3, 0.158579, 0.158579]),
            (lambda o: OneCycleLR(o, 1.0, 10), [0.811746, 0.611262, 0.388742, 0.188258]),
            (lambda o: WSDLR(o, 1, 4, "linear", end=8), [1.0, 0.75, 0.5, 0.25]),
        ],
    )
    def test_those_that_go_on_from_mmengine_s_or_in_its_stead(self, make, expected):
        optimizer = sgd(1.0)
        optimizer.param_groups[0].update(lr=0.3, initial_lr=0.04)  # as OneCycleLR of MMEngine leaves them
        fresh = sgd(1.0)
        scheduler = make(fresh)
        fresh.load_state_dict(optimizer.state_dict())
        scheduler.load_state_dict({**FOREIGN, "begin": 0, "last_step": 4, "_global_step": 4, "base_values": [0.04]})
        seen = []
        for _ in expected:
            seen.append(lrs(fresh)[0])
            scheduler.step()
        assert seen == pytest.approx(expected, abs=1e-6)

    def test_mmengine_s_before_begin(self):
        scheduler = LinearLR(sgd(), begin=2, end=5)
        scheduler.load_state_dict({**FOREIGN, "_global_step": 0, "last_step": -1})
        steps([scheduler], 1)
        assert scheduler.last_step == -1
        steps([scheduler], 1)
        assert scheduler.last_step == 0

    def test_mmengine_s_that_itself_went_on_from_a_last_step(self):
        scheduler = ExponentialLR(sgd(1.0), gamma=0.5)
        scheduler.load_state_dict({**FOREIGN, "begin": 0, "_global_step": 1, "last_step": 6})
        assert scheduler.last_step == 6

    def test_no_scheduler_s_state(self):
        with pytest.raises(KeyError, match=r"StepLR needs last_step and _global_step, but this one has: last_epoch"):
            StepLR(sgd(), 2).load_state_dict({"last_epoch": 3})

    def test_another_unit(self):
        saved = StepLR(sgd(), 2).state_dict()
        scheduler = StepLR(sgd(), 2, by_epoch=False)
        with pytest.raises(ValueError, match=r"counts epochs, but this StepLR counts iterations.*Set by_epoch=True"):
            scheduler.load_state_dict(saved)
        updates = StepLR(sgd(), 2, unit="update")
        with pytest.raises(ValueError, match=r"counts iterations, but this StepLR counts updates.*Set by_epoch=False"):
            updates.load_state_dict(scheduler.state_dict())
        with pytest.raises(ValueError, match=r"counts updates, but this StepLR counts iterations.*Set unit='update'"):
            scheduler.load_state_dict(updates.state_dict())


class TestLastStep:
    def test_it_goes_on_without_a_state(self):
        for make in MAKES:
            straight = sgd()
            expected = make(straight)
            steps([expected], 4)
            fresh = sgd()
            fresh.load_state_dict(copy.deepcopy(straight.state_dict()))
            scheduler = make(fresh, last_step=3)
            for _ in range(8):
                assert lrs(fresh) == lrs(straight)
                assert scheduler.last_step == expected.last_step
                steps([scheduler, expected], 1)

    def test_it_takes_the_place_of_its_like(self):
        optimizer = sgd(1.0)
        steps([ExponentialLR(optimizer, gamma=0.5)], 2)
        scheduler = ExponentialLR(optimizer, gamma=0.5, last_step=2)
        assert lrs(optimizer)[0] == 0.125
        steps([scheduler], 1)
        assert lrs(optimizer)[0] == 0.0625

    def test_with_a_begin(self):
        optimizer = sgd(1.0)
        steps([ExponentialLR(optimizer, gamma=0.5, begin=3, end=6)], 4)
        scheduler = ExponentialLR(optimizer, gamma=0.5, begin=3, end=6, last_step=1)
        seen = []
        for _ in range(3):
            seen.append(lrs(optimizer)[0])
            scheduler.step()
        assert seen == [0.25, 0.25, 0.25]

    def test_nothing_to_go_on_from(self):
        with pytest.raises(KeyError, match="last_step is given, but group 0 has no 'initial_lr'"):
            ExponentialLR(sgd(), gamma=0.5, last_step=2)


def test_the_momentum_of_adam_goes_on():
    def make():
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], betas=(0.8, 0.99))
        return optimizer, ExponentialMomentum(optimizer, gamma=0.5)

    optimizer, scheduler = make()
    steps([scheduler], 2)
    fresh, again = make()
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    again.load_state_dict(scheduler.state_dict())
    assert fresh.param_groups[0]["betas"] == (0.2, 0.99)
    steps([again], 1)
    assert fresh.param_groups[0]["betas"] == (0.1, 0.99)
