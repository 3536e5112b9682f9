"""What the schedules write into an optimizer, step by step; ``test_scheduler_twins.py`` compares with torch's."""

import copy
import gc
import math
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.logging import MMLogger
from mainspring.optim import OptimWrapper
from mainspring.optim.scheduler import (
    WSDLR,
    ConstantLR,
    ConstantMomentum,
    ConstantParamScheduler,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    ExponentialMomentum,
    LinearLR,
    LinearMomentum,
    LinearParamScheduler,
    MultiStepLR,
    MultiStepParamScheduler,
    OneCycleLR,
    OneCycleParamScheduler,
    PolyLR,
    StepLR,
)


def sgd(*lrs, **options):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs or (0.1,)]
    return torch.optim.SGD(groups, lr=0.1, **options)


def adam(**options):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1, **options)


def values_of(optimizer, name="lr"):
    return [group[name] for group in optimizer.param_groups]


def run(optimizer, schedulers, steps, name="lr"):
    """The first group's value before each of so many steps."""
    trace = []
    for _ in range(steps):
        trace.append(optimizer.param_groups[0][name])
        for scheduler in schedulers:
            scheduler.step()
    return trace


class TestCounting:
    def test_before_the_range_nothing_and_after_it_the_last_value(self):
        optimizer = sgd(1.0)
        scheduler = ExponentialLR(optimizer, gamma=0.5, begin=2, end=5)
        assert run(optimizer, [scheduler], 8) == [1, 1, 1, 0.5, 0.25, 0.25, 0.25, 0.25]

    def test_last_step_counts_the_steps_of_the_range(self):
        scheduler = ExponentialLR(sgd(), gamma=0.5, begin=2, end=5)
        seen = [scheduler.last_step]
        for _ in range(6):
            scheduler.step()
            seen.append(scheduler.last_step)
        assert seen == [-1, -1, 0, 1, 2, 2, 2]

    def test_milestones_are_counted_from_begin(self):
        optimizer = sgd(1.0)
        assert run(optimizer, [MultiStepLR(optimizer, [2], begin=3, gamma=0.5)], 7) == [1, 1, 1, 1, 1, 0.5, 0.5]

    def test_a_milestone_at_the_first_step(self):
        optimizer = sgd(1.0)
        assert run(optimizer, [MultiStepLR(optimizer, [0, 2, 2], gamma=0.5)], 4) == [0.5, 0.5, 0.125, 0.125]

    def test_a_range_of_one_step_keeps_the_start(self):
        for make in (ConstantLR, LinearLR):
            optimizer = sgd(1.0)
            assert run(optimizer, [make(optimizer, 0.5, end=1)], 3) == [0.5, 0.5, 0.5]
        optimizer = sgd(1.0)
        assert run(optimizer, [PolyLR(optimizer, end=1)], 3) == [1, 1, 1]

    def test_t_max_is_the_range_by_default(self):
        optimizer = sgd(1.0)
        trace = run(optimizer, [CosineAnnealingLR(optimizer, begin=1, end=5)], 6)
        assert trace == pytest.approx([1, 1, *((1 + math.cos(math.pi * t / 4)) / 2 for t in (1, 2, 3, 3))])

    def test_the_ends_are_exact(self):
        optimizer = sgd(0.1)
        trace = run(optimizer, [LinearLR(optimizer, 0.3, 0.7, end=8)], 8)
        assert (trace[0], trace[-1]) == (0.1 * 0.3, 0.1 * 0.7)
        optimizer = sgd(0.1)
        trace = run(optimizer, [CosineAnnealingLR(optimizer, T_max=7, eta_min=0.003)], 8)
        assert (trace[0], trace[-1]) == (0.1, 0.003)

    def test_the_bottom_may_be_a_ratio_of_each_base_value(self):
        optimizer = sgd(0.1, 0.3)
        scheduler = CosineAnnealingLR(optimizer, T_max=4, eta_min_ratio=0.5)
        for _ in range(4):
            scheduler.step()
        assert values_of(optimizer) == pytest.approx([0.05, 0.15])

    def test_a_factor_of_zero_comes_back(self):
        optimizer = sgd(1.0)
        assert run(optimizer, [ConstantLR(optimizer, 0, end=3)], 4) == [0, 0, 1, 1]


class TestCycles:
    """The expected values are those that MMEngine 0.10.7 gave for the same arguments, unless a name says otherwise."""

    def test_restarts(self):
        optimizer = sgd(1.0)
        trace = run(optimizer, [CosineRestartLR(optimizer, [3, 4], [1, 0.5], eta_min=0.1)], 9)
        expected = [1.0, 0.775, 0.325, 0.5, 0.441421, 0.3, 0.158579, 0.158579, 0.158579]
        assert trace == pytest.approx(expected, abs=1e-6)

    def test_restarts_within_a_range(self):
        optimizer = sgd(1.0)
        trace = run(optimizer, [CosineRestartLR(optimizer, [3, 4], [1, 0.5], eta_min=0.1, begin=2, end=7)], 9)
        expected = [1.0, 1.0, 1.0, 0.775, 0.325, 0.5, 0.441421, 0.441421, 0.441421]
        assert trace == pytest.approx(expected, abs=1e-6)

    def test_restarts_with_an_empty_period_and_a_bottom_by_ratio(self):
        optimizer = sgd(0.1)
        assert run(optimizer, [CosineRestartLR(optimizer, [0, 3], [1, 1], eta_min=0)], 5) == pytest.approx(
            [0.1, 0.075, 0.025, 0.025, 0.025]
        )
        optimizer = sgd(1.0)
        assert run(optimizer, [CosineRestartLR(optimizer, [3], eta_min_ratio=0.2)], 4) == pytest.approx(
            [1, 0.8, 0.4, 0.4]
        )

    def test_restarts_after_a_warm_up(self):
        optimizer = sgd(0.1)
        schedulers = [
            LinearLR(optimizer, 0.1, end=3),
            CosineRestartLR(optimizer, [2, 3], [1, 0.5], eta_min=0, begin=3),
        ]
        expected = [0.01, 0.055, 0.1, 0.1, 0.05, 0.05, 0.0375, 0.0125, 0.0125]
        assert run(optimizer, schedulers, 9) == pytest.approx(expected, abs=1e-6)

    def test_one_cycle_in_three_phases(self):
        optimizer = sgd(0.1)
        trace = run(optimizer, [OneCycleLR(optimizer, eta_max=1.0, total_steps=10, three_phase=True)], 10)
        expected = [0.04, 0.52, 1.0, 0.52, 0.04, 0.03618072, 0.02618172, 0.01382228, 0.00382328, 4e-06]
        assert trace == pytest.approx(expected, abs=1e-8)

    def test_one_cycle_is_the_range_by_default(self):
        optimizer = sgd(0.1)
        trace = run(optimizer, [OneCycleLR(optimizer, eta_max=1.0, begin=2, end=8)], 10)
        expected = [0.1, 0.1, 0.04, 0.994415, 0.811746, 0.462637, 0.133478, 4e-06, 4e-06, 4e-06]
        assert trace == pytest.approx(expected, abs=1e-6)

    def test_one_cycle_stays_at_the_bottom_where_mmengine_raises(self):
        optimizer = sgd(0.1)
        assert run(optimizer, [OneCycleLR(optimizer, eta_max=1.0, total_steps=3)], 6)[2:] == [4e-6] * 4

    def test_one_cycle_of_all_groups_is_the_same_unless_others_multiply(self):
        optimizer = sgd(0.1, 0.4, 0.0)
        schedulers = [OneCycleLR(optimizer, eta_max=1.0, total_steps=6), ConstantLR(optimizer, 0.5, end=3)]
        assert values_of(optimizer) == pytest.approx([0.02] * 3)
        for scheduler in schedulers * 2:
            scheduler.step()
        assert len({round(value, 12) for value in values_of(optimizer)}) == 1

    def test_one_cycle_of_the_momentum_goes_down_first(self):
        optimizer = sgd(momentum=0.9)
        options = {"eta_max": 0.85, "div_factor": 0.85 / 0.95, "final_div_factor": 1, "anneal_strategy": "linear"}
        scheduler = OneCycleParamScheduler(optimizer, "momentum", total_steps=5, pct_start=0.6, **options)
        assert run(optimizer, [scheduler], 5, "momentum") == pytest.approx([0.95, 0.9, 0.85, 0.9, 0.95])


class TestWarmUpStayDecay:
    @pytest.mark.parametrize(
        ("shape", "falls"),
        [
            ("linear", [1.0, 0.75, 0.5, 0.25]),
            ("1-sqrt", [1.0, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75)]),
            ("cosine", [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ],
    )
    def test_the_shapes(self, shape, falls):
        optimizer = sgd(2.0)
        trace = run(optimizer, [WSDLR(optimizer, 3, 4, shape=shape, end=10)], 12)
        assert trace == pytest.approx([2 * f for f in [0.25, 0.5, 0.75, 1, 1, 1, *falls, falls[-1], falls[-1]]])

    def test_it_falls_to_a_part_of_what_enters(self):
        optimizer = sgd(1.0)
        trace = run(optimizer, [WSDLR(optimizer, 0, 2, "linear", end_factor=0.5, end=4)], 4)
        assert trace == [1, 1, 1, 0.75]

    def test_a_fifth_decays_by_default(self):
        optimizer = sgd(1.0)
        trace = run(optimizer, [WSDLR(optimizer, end=20)], 20)
        assert [value == 1 for value in trace] == [True] * 17 + [False] * 3  # the first of four is still 1

    @given(st.integers(0, 5), st.integers(1, 9), st.integers(0, 9), st.integers(1, 9))
    def test_up_to_its_decay_a_run_does_not_depend_on_its_length(self, warmup, decay, stays, more):
        short, long = sgd(1.0), sgd(1.0)
        steps = warmup + stays + decay
        one = run(short, [WSDLR(short, warmup, decay, end=steps)], steps)
        other = run(long, [WSDLR(long, warmup, decay, end=steps + more)], steps + more)
        assert other[: warmup + stays] == one[: warmup + stays]
        assert other[-decay:] == one[-decay:]
        assert min(one) > 0


class TestComposition:
    @given(data=st.data())
    @settings(max_examples=30, deadline=None)
    def test_overlapping_factors_multiply_whatever_their_order(self, data):
        begins = [data.draw(st.integers(0, 9)) for _ in range(3)]
        makes = [
            lambda o: LinearLR(o, 0.2, begin=begins[0], end=begins[0] + 6),
            lambda o: StepLR(o, 3, gamma=0.5, begin=begins[1]),
            lambda o: ConstantLR(o, 0.7, begin=begins[2], end=begins[2] + 4),
        ]
        alone = []
        for make in makes:
            optimizer = sgd(1.0)
            alone.append(run(optimizer, [make(optimizer)], 20))
        together = sgd(1.0)
        trace = run(together, [make(together) for make in data.draw(st.permutations(makes))], 20)
        assert trace == pytest.approx([math.prod(factors) for factors in zip(*alone, strict=True)])

    def test_a_later_schedule_begins_from_where_the_earlier_one_ended(self):
        optimizer = sgd(1.0)
        schedulers = [ConstantLR(optimizer, 0.5, end=1), PolyLR(optimizer, eta_min=0.1, begin=2, end=5)]
        assert run(optimizer, schedulers, 6) == pytest.approx([0.5, 0.5, 0.5, 0.3, 0.1, 0.1])

    def test_two_clocks(self):
        optimizer = sgd(1.0)
        by_iter = LinearLR(optimizer, 0.5, end=3, by_epoch=False)
        by_epoch = MultiStepLR(optimizer, [1], gamma=0.1)
        trace = []
        for iteration in range(6):
            trace.append(values_of(optimizer)[0])
            by_iter.step()
            if iteration % 3 == 2:
                by_epoch.step()
        assert trace == pytest.approx([0.5, 0.75, 1, 0.1, 0.1, 0.1])

    def test_one_that_is_made_twice_counts_twice(self):
        optimizer = sgd(1.0)
        schedulers = [StepLR(optimizer, 1, gamma=0.5), StepLR(optimizer, 1, gamma=0.5)]
        assert run(optimizer, schedulers, 3) == [1, 0.25, 0.0625]

    def test_parameters_do_not_mix(self):
        optimizer = sgd(1.0, momentum=0.8, weight_decay=0.5)
        schedulers = [
            StepLR(optimizer, 1, gamma=0.5),
            ExponentialMomentum(optimizer, gamma=0.25),
            MultiStepParamScheduler(optimizer, "weight_decay", [2]),
        ]
        run(optimizer, schedulers, 2)
        assert [values_of(optimizer, name) for name in ("lr", "momentum", "weight_decay")] == [
            [0.25],
            [0.05],
            [0.05],
        ]

    def test_optimizers_do_not_mix(self):
        first, second = sgd(1.0), sgd(1.0)
        one, two = ExponentialLR(first, gamma=0.5), ExponentialLR(second, gamma=0.1)
        one.step()
        two.step()
        assert values_of(first) + values_of(second) == [0.5, 0.1]

    def test_a_wrapper_and_its_optimizer_are_one(self):
        optimizer = sgd(1.0)
        wrapper = OptimWrapper(optimizer)
        schedulers = [ExponentialLR(wrapper, gamma=0.5), ExponentialLR(optimizer, gamma=0.5)]
        assert run(optimizer, schedulers, 3) == [1, 0.25, 0.0625]
        assert schedulers[0].optimizer is wrapper

    def test_anything_with_groups_will_do(self):
        class Holder:
            def __init__(self):
                self.param_groups = [{"temperature": 8.0}]

        holder = Holder()
        scheduler = LinearParamScheduler(holder, "temperature", 0.5, end=3)
        assert run(holder, [scheduler], 3, "temperature") == [4, 6, 8]

    def test_an_optimizer_and_its_schedulers_go_together(self):
        optimizer = sgd()
        StepLR(optimizer, 1)
        gone = weakref.ref(optimizer)
        del optimizer
        gc.collect()
        assert gone() is None

    def test_a_copied_optimizer_has_no_schedule(self):
        optimizer = sgd(1.0)
        scheduler = ExponentialLR(optimizer, gamma=0.5)
        twin = copy.deepcopy(optimizer)
        scheduler.step()
        assert values_of(optimizer) + values_of(twin) == [0.5, 1.0]


class TestGroups:
    def test_a_value_by_hand_lasts_until_the_next_step_that_acts(self):
        optimizer = sgd(1.0)
        scheduler = ExponentialLR(optimizer, gamma=0.5, end=3)
        optimizer.param_groups[0]["lr"] = 7.0
        scheduler.step()
        assert values_of(optimizer) == [0.5]
        scheduler.step()
        optimizer.param_groups[0]["lr"] = 7.0
        scheduler.step()  # after its end
        assert values_of(optimizer) == [7]

    def test_base_values_move_the_whole_schedule(self):
        optimizer = sgd(1.0)
        schedulers = [LinearLR(optimizer, 0.5, end=3), ExponentialLR(optimizer, gamma=0.5)]
        schedulers[1].base_values[0] = 10.0
        assert schedulers[0].base_values == [10.0]
        assert run(optimizer, schedulers, 3)[1:] == [10 * 0.75 * 0.5, 10 * 0.25]

    def test_the_base_value_is_kept_in_the_group(self):
        optimizer = sgd(1.0)
        run(optimizer, [ExponentialLR(optimizer, gamma=0.5)], 3)
        assert optimizer.param_groups[0]["initial_lr"] == 1

    def test_an_initial_value_that_is_there_is_the_base(self):
        optimizer = sgd(0.3)
        optimizer.param_groups[0]["initial_lr"] = 1.0
        scheduler = ConstantLR(optimizer, 0.5)
        assert scheduler.base_values == [1]
        assert values_of(optimizer) == [0.5]

    def test_a_group_that_is_added_takes_part_from_its_own_value(self):
        optimizer = sgd(1.0)
        scheduler = ExponentialLR(optimizer, gamma=0.5)
        scheduler.step()
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 8.0})
        scheduler.step()
        assert values_of(optimizer) == [0.25, 2.0]

    def test_a_group_that_is_gone_is_an_error(self):
        optimizer = sgd(1.0, 2.0)
        scheduler = ExponentialLR(optimizer, gamma=0.5)
        del optimizer.param_groups[0]
        with pytest.raises(ValueError, match="has 1 parameter groups, but the schedule of 'lr' began with 2"):
            scheduler.step()

    def test_a_tensor_is_filled_in_place(self):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(1.0))
        tensor = optimizer.param_groups[0]["lr"]
        scheduler = ExponentialLR(optimizer, gamma=0.5)
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] is tensor
        assert tensor.item() == 0.5
        assert scheduler.get_last_value() == [0.5]


class TestMomentum:
    def test_of_sgd(self):
        optimizer = sgd(momentum=0.8)
        assert run(optimizer, [LinearMomentum(optimizer, 0.5, end=3)], 3, "momentum") == pytest.approx([0.4, 0.6, 0.8])

    def test_of_adam_it_is_the_first_beta(self):
        optimizer = adam(betas=(0.8, 0.99))
        scheduler = ConstantMomentum(optimizer, 0.5, end=2)
        assert optimizer.param_groups[0]["betas"] == (0.4, 0.99)
        scheduler.step()
        assert optimizer.param_groups[0]["betas"] == (0.8, 0.99)
        assert OptimWrapper(optimizer).get_momentum() == {"momentum": [0.8]}

    def test_two_on_adam_share_it(self):
        optimizer = adam(betas=(0.8, 0.99))
        ConstantMomentum(optimizer, 0.5)
        ConstantParamScheduler(optimizer, "momentum", 0.5)
        assert optimizer.param_groups[0]["betas"] == (0.2, 0.99)

    def test_betas_that_are_tensors_are_filled_in_place(self):
        betas = (torch.tensor(0.8), torch.tensor(0.99))
        optimizer = adam(betas=betas, capturable=True)
        ConstantMomentum(optimizer, 0.5)
        assert optimizer.param_groups[0]["betas"][0].item() == pytest.approx(0.4)
        assert isinstance(optimizer.param_groups[0]["betas"][0], torch.Tensor)

    def test_adam_still_steps_and_its_state_still_loads(self):
        optimizer = adam(betas=(0.8, 0.99))
        ExponentialMomentum(optimizer, gamma=0.5).step()
        parameter = optimizer.param_groups[0]["params"][0]
        parameter.grad = torch.ones(1)
        optimizer.step()
        other = adam()
        other.load_state_dict(optimizer.state_dict())
        assert other.param_groups[0]["betas"] == (0.4, 0.99)


def test_verbose_logs_each_value(capsys):
    MMLogger.new_instance("verbose", log_level="INFO")
    scheduler = ExponentialLR(sgd(1.0), gamma=0.5, verbose=True)
    scheduler.step()
    printed = capsys.readouterr().out
    assert "lr of group 0 is now 1.0000e+00" in printed
    assert "lr of group 0 is now 5.0000e-01" in printed
