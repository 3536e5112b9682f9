"""What schedules count in a run: iterations and epochs, whatever the accumulation, or updates."""

from pathlib import Path

import pytest
import torch

from mainspring import BaseModel
from mainspring.hooks import Hook, ParamSchedulerHook
from mainspring.optim import OptimWrapper
from mainspring.optim.scheduler import CosineAnnealingLR, MultiStepLR, StepLR

ALONE = dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator"))
NO_FILES = {"default_hooks": {"checkpoint": None, "summary": None}}
WARM_UP = {"type": "LinearLR", "start_factor": 0.1, "end": 4}
COSINE = {"type": "CosineAnnealingLR", "begin": 3, "eta_min": 0.01}


class Record(Hook):
    """Writes down the learning rate of each iteration."""

    def __init__(self):
        self.lrs = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.lrs[runner.iter] = runner.optim_wrapper.param_groups[0]["lr"]


@pytest.fixture
def make(make_runner):
    """Return a function that makes a runner with accumulation and schedules, and what records its learning rates."""

    def make_one(counts, schedules, max_iters=None, unit=None, **changes):
        record = Record()
        more = {} if unit is None else {"unit": unit} if unit == "update" else {"by_epoch": False}
        runner = make_runner(
            **ALONE,
            train_cfg={"by_epoch": False, "max_iters": max_iters} if max_iters else {"max_epochs": 3},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": counts},
            param_scheduler=[{**schedule, **more} for schedule in schedules],
            custom_hooks=[record],
            **{**NO_FILES, **changes},
        )
        return runner, record

    return make_one


def test_the_value_of_an_iteration_is_the_same_whatever_the_accumulation(make):
    seen = []
    for counts in (1, 4):
        runner, record = make(counts, [WARM_UP, COSINE], max_iters=18, unit="iter")
        runner.train()
        seen.append(record.lrs)
    assert len(set(seen[0].values())) > 15
    assert seen[1] == seen[0]


@pytest.mark.parametrize("counts", [1, 3, 4])
def test_the_value_of_an_update_is_the_same_whatever_the_accumulation(make, counts):
    plain, expected = make(1, [WARM_UP, COSINE], max_iters=6, unit="iter")
    plain.train()
    runner, record = make(counts, [WARM_UP, COSINE], max_iters=6 * counts, unit="update")
    runner.train()
    for iteration, lr in record.lrs.items():
        assert lr == expected.lrs[iteration // counts], iteration
    assert [schedule.last_step for schedule in runner.param_schedulers] == [3, 2]  # the second ends with the run


def test_the_last_group_counts_although_it_is_incomplete(make):
    runner, record = make(4, [COSINE], max_iters=18, unit="update")
    runner.train()
    (schedule,) = runner.param_schedulers
    assert schedule.end == 5
    assert schedule._global_step == 5
    assert record.lrs[17] != record.lrs[15]


def test_epochs_in_updates(make):
    schedules = [
        {"type": "CosineAnnealingLR", "T_max": 2, "begin": 1, "convert_to_iter_based": True},
        {"type": "MultiStepLR", "milestones": [1, 2], "end": 3, "convert_to_iter_based": True},
    ]
    runner, record = make(2, schedules, unit="update")  # of 5 iterations an epoch, in 3 epochs
    cosine, steps = runner.param_schedulers
    assert isinstance(cosine, CosineAnnealingLR)
    assert isinstance(steps, MultiStepLR)
    assert (cosine.unit, cosine.by_epoch, cosine.begin, cosine.end, cosine.T_max) == ("update", False, 3, 8, 5)
    assert (steps.milestones, steps.end) == ([3, 5], 8)
    runner.train()
    assert runner.param_schedulers[0]._global_step == 8
    assert [record.lrs[2 * update] == record.lrs[2 * update + 1] for update in range(7)] == [True] * 7


@pytest.mark.parametrize("by_epoch", [False, True])
def test_a_run_that_stopped_within_a_group_goes_on_the_same(make, tmp_path, by_epoch):
    options = {"max_iters": None if by_epoch else 11, "unit": "update"}
    files = {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}}}
    whole, expected = make(3, [WARM_UP, COSINE], **options, **files)
    whole.train()
    last = len(expected.lrs)
    for done in range(2, last, 3):
        file = Path(whole.work_dir) / f"iter_{done}.pth"
        again, seen = make(
            3, [WARM_UP, COSINE], **options, work_dir=tmp_path / f"from_{done}", load_from=file, resume=True
        )
        again.train()
        assert seen.lrs == {number: lr for number, lr in expected.lrs.items() if number >= done}
        assert [s.state_dict() for s in again.param_schedulers] == [s.state_dict() for s in whole.param_schedulers]
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[name])


class Twice(BaseModel):
    """Makes two updates an iteration, and none in every third."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 3)
        self.calls = 0

    def train_step(self, data, optim_wrapper):
        self.calls += 1
        loss = torch.zeros(())
        for _ in range(2 if self.calls % 3 else 0):
            loss = torch.nn.functional.cross_entropy(self.layer(data[0]), data[1])
            optim_wrapper.update_params(loss)
        return {"loss": loss}

    def forward(self, inputs, labels=None, mode="tensor"):
        return self.layer(inputs)


def test_several_updates_in_an_iteration_and_none(make):
    runner, record = make(
        1, [{"type": "ExponentialLR", "gamma": 0.5, "end": 20}], max_iters=6, unit="update", model=Twice()
    )
    runner.train()
    assert list(record.lrs.values()) == pytest.approx([0.1 * 0.5**n for n in (0, 2, 4, 4, 6, 8)])


@pytest.mark.parametrize("stage", ["before_train_iter", "after_train_iter"])
def test_what_is_added_in_the_midst_of_training_counts_updates_too(make, stage):
    class Late(Hook):
        """Adds, in the fourth iteration, a schedule to a run that had none, or the hook that advances them."""

        priority = "HIGH"

        def __init__(self, hook):
            self.hook = hook
            setattr(self, stage, self._add)

        def _add(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 3 and self.hook:
                runner.register_hook(ParamSchedulerHook())
            elif runner.iter == 3:
                runner.param_schedulers.append(StepLR(runner.optim_wrapper, 1, gamma=0.5, unit="update"))

    for hook in (True, False):
        schedules = [{"type": "StepLR", "step_size": 1, "gamma": 0.5}] if hook else []
        files = {"default_hooks": {**NO_FILES["default_hooks"], **({"param_scheduler": None} if hook else {})}}
        runner, _ = make(2, schedules, max_iters=9, unit="update", **files)
        runner.register_hook(Late(hook))
        runner.train()
        (schedule,) = runner.param_schedulers
        assert schedule.last_step == 4  # updates in the iterations 4, 6, 8, and 9, the last


class Pair(BaseModel):
    """Trains two layers, each by an optimizer of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(6, 3), torch.nn.Linear(6, 3)

    def train_step(self, data, optim_wrapper):
        losses = {}
        for name, layer in (("first", self.first), ("second", self.second)):
            losses[name] = torch.nn.functional.cross_entropy(layer(data[0]), data[1])
            optim_wrapper[name].update_params(losses[name])
        return losses

    def forward(self, inputs, labels=None, mode="tensor"):
        return self.first(inputs)


def test_with_several_optimizers_each_schedule_counts_the_updates_of_its_own(make_runner):
    optimizer = {"type": "SGD", "lr": 0.1}
    runner = make_runner(
        **ALONE,
        **NO_FILES,
        model=Pair(),
        train_cfg={"by_epoch": False, "max_iters": 7},
        optim_wrapper={
            "first": {"optimizer": optimizer},
            "second": {"optimizer": optimizer, "accumulative_counts": 2},
        },
        param_scheduler={"type": "CosineAnnealingLR", "unit": "update"},
    )
    assert {name: one.end for name, (one,) in runner.param_schedulers.items()} == {"first": 7, "second": 4}
    runner.train()
    assert {name: one._global_step for name, (one,) in runner.param_schedulers.items()} == {"first": 7, "second": 4}


def test_a_schedule_of_the_optimizer_itself_counts_the_updates_of_its_wrapper(make_runner, net):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = StepLR(optimizer, 1, gamma=0.5, unit="update")
    runner = make_runner(
        **ALONE,
        **NO_FILES,
        model=model,
        optim_wrapper=OptimWrapper(optimizer, accumulative_counts=3),
        param_scheduler=schedule,
    )
    runner.train()
    assert schedule.last_step == 4  # of 10 iterations


def test_a_wrapper_that_does_not_say_when_it_updates(make_runner, net):
    class Own:
        def __init__(self, optimizer):
            self.optimizer = optimizer
            self.param_groups = optimizer.param_groups

        def initialize_count_status(self, model, init_counts, max_counts):
            pass

        def update_params(self, loss):
            loss.backward()

    model = net()
    own = Own(torch.optim.SGD(model.parameters(), lr=0.1))
    schedule = StepLR(own, 1, unit="update")
    runner = make_runner(**ALONE, **NO_FILES, model=model, optim_wrapper=own, param_scheduler=schedule)
    with pytest.raises(TypeError, match=r"StepLR has unit='update', but Own does not say when it updates"):
        runner.train()


def test_what_cannot_be_converted():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=r"unit is 'iter', but what is converted from epochs counts iterations"):
        StepLR.build_iter_from_epoch(optimizer, step_size=2, epoch_length=5, unit="iter")
