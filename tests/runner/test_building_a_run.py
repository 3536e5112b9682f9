"""The parts of a run: what they are made of, in which order, and once each."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from mainspring import (
    BaseModel,
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    MessageHub,
    OptimWrapper,
    Runner,
)
from mainspring.checkpoint import read_checkpoint
from mainspring.hooks import CheckpointHook, Hook, IterTimerHook, LoggerHook
from mainspring.optim import LinearLR
from mainspring.registry import DATASETS, LOOPS, MODELS
from mainspring.runner.build import DEFAULT_HOOKS


@pytest.fixture
def registered():
    added = []

    def register(registry, target):
        registry.register_module(module=target)
        added.append((registry, target.__name__))
        return target

    yield register
    for registry, name in added:
        del registry._module_dict[name]


def weights_of(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


# Order


class Builds(Runner):
    """Writes down what is built, in the order in which it is ready."""

    order = ()

    def _noted(self, what, built=None):
        self.order = (*self.order, what)
        return built

    def build_model(self, *args, **kwargs):
        return self._noted("model", super().build_model(*args, **kwargs))

    def _init_weights(self):
        super()._init_weights()
        self._noted("init_weights")

    def build_optim_wrapper(self, *args, **kwargs):
        return self._noted("optim_wrapper", super().build_optim_wrapper(*args, **kwargs))

    def build_param_scheduler(self, *args, **kwargs):
        return self._noted("param_scheduler", super().build_param_scheduler(*args, **kwargs))

    def build_train_loop(self, *args, **kwargs):
        return self._noted("train_loop", super().build_train_loop(*args, **kwargs))

    def build_val_loop(self, *args, **kwargs):
        return self._noted("val_loop", super().build_val_loop(*args, **kwargs))

    def build_test_loop(self, *args, **kwargs):
        return self._noted("test_loop", super().build_test_loop(*args, **kwargs))

    def build_evaluator(self, *args, **kwargs):
        return self._noted("evaluator", super().build_evaluator(*args, **kwargs))

    def call_hook(self, fn_name, **kwargs):
        if fn_name in ("before_run", "after_load_checkpoint", "before_train", "after_run"):
            self._noted(fn_name)
        super().call_hook(fn_name, **kwargs)


@pytest.fixture
def make_builds(net, make_loader, tmp_path):
    def make(**changes):
        arguments = {
            "model": net(),
            "work_dir": tmp_path / "run",
            "train_dataloader": make_loader(),
            "train_cfg": {"max_epochs": 1},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
            "param_scheduler": {"type": "StepLR", "step_size": 1},
            "val_dataloader": make_loader(8),
            "val_cfg": {},
            "val_evaluator": {"type": "Accuracy"},
            "test_dataloader": make_loader(8),
            "test_cfg": {},
            "test_evaluator": {"type": "Accuracy"},
            "log_level": "WARNING",
        }
        return Builds(**{**arguments, **changes})

    return make


TRAINING = ("train_loop", "evaluator", "val_loop", "init_weights", "optim_wrapper", "param_scheduler")


def test_nothing_but_the_model_is_built_before_it_is_asked_for(make_builds):
    assert make_builds().order == ("model",)


def test_training_builds_each_part_once_and_in_order(make_builds):
    runner = make_builds()
    runner.train()
    assert runner.order == ("model", *TRAINING, "before_run", "before_train", "after_run")
    before = len(runner.order)
    runner.train()
    assert runner.order[before:] == ("before_run", "before_train", "after_run")


def test_a_checkpoint_is_loaded_when_all_is_built(make_builds):
    make_builds().train()
    runner = make_builds(resume=True, train_cfg={"max_epochs": 2})
    assert runner.order == ("model",)
    runner.train()
    assert runner.order == ("model", *TRAINING, "before_run", "after_load_checkpoint", "before_train", "after_run")


def test_evaluation_builds_nothing_of_training(make_builds):
    runner = make_builds()
    runner.val()
    runner.test()
    assert runner.order == (
        "model", "evaluator", "val_loop", "before_run", "after_run",
        "evaluator", "test_loop", "before_run", "after_run",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("part", "order"),
    [
        ("optim_wrapper", ("init_weights", "optim_wrapper")),
        ("param_schedulers", ("init_weights", "optim_wrapper", "train_loop", "param_scheduler")),
        ("train_dataloader", ("train_loop",)),
        ("val_evaluator", ("evaluator", "val_loop")),
        ("test_dataloader", ("evaluator", "test_loop")),
    ],
)
def test_a_later_part_builds_the_earlier_ones(make_builds, part, order):
    runner = make_builds()
    first = getattr(runner, part)
    assert runner.order == ("model", *order)
    assert getattr(runner, part) is first
    assert runner.order == ("model", *order)


def test_where_a_run_stands_builds_nothing(make_builds):
    runner = make_builds()
    assert (runner.epoch, runner.iter, runner.by_epoch, runner.model_name) == (0, 0, True, "Net")
    assert runner.order == ("model",)


def test_how_long_a_run_is_is_known_from_the_start(make_builds):
    runner = make_builds()
    assert (runner.max_epochs, runner.max_iters, runner.val_interval, runner.val_begin) == (1, 5, 1, 1)
    assert runner.order == ("model", "train_loop")


def test_the_optimizer_sees_the_initial_weights(make_runner):
    class Initialised(BaseModel):
        def __init__(self):
            super().__init__(init_cfg={"type": "Constant", "val": 7.0, "layer": "Linear"})
            self.linear = nn.Linear(6, 3)

        def forward(self, inputs, labels=None, mode="tensor"):
            return {"loss": self.linear(inputs).sum()}

    runner = make_runner(model=Initialised())
    assert not torch.all(runner.model.linear.weight == 7)
    (weight, _) = runner.optim_wrapper.param_groups[0]["params"]
    assert weight is runner.model.linear.weight
    assert torch.all(weight == 7)


# The model and its seed


def test_a_model_from_a_config_is_the_same_for_a_seed(make_runner, registered, net):
    registered(MODELS, type("SeededNet", (net,), {}))

    def weights(seed, disturb):
        torch.manual_seed(disturb)
        return weights_of(make_runner(model={"type": "SeededNet"}, randomness={"seed": seed}).model)

    assert torch.equal(weights(3, disturb=0), weights(3, disturb=1))
    assert not torch.equal(weights(3, disturb=0), weights(4, disturb=0))


def test_initialising_does_not_depend_on_what_building_drew(make_runner):
    class Initialised(BaseModel):
        def __init__(self, draws):
            super().__init__(init_cfg={"type": "Normal", "layer": "Linear"})
            torch.rand(draws)
            self.linear = nn.Linear(6, 3)

        def forward(self, inputs, labels=None, mode="tensor"):
            return {"loss": self.linear(inputs).sum()}

    results = []
    for draws in (0, 5):
        runner = make_runner(model=Initialised(draws))
        _ = runner.optim_wrapper
        results.append(runner.model.linear.weight.tolist())
    assert results[0] == results[1]


def test_a_preprocessor_of_the_runner_goes_to_the_model(make_runner, registered, net):
    cfg = {"type": "ImgDataPreprocessor", "mean": [1.0], "std": [2.0]}
    assert type(make_runner(data_preprocessor=cfg).model.data_preprocessor).__name__ == "ImgDataPreprocessor"
    registered(MODELS, type("TakesOne", (net,), {}))
    runner = make_runner(model={"type": "TakesOne"}, data_preprocessor=cfg)
    assert type(runner.model.data_preprocessor).__name__ == "ImgDataPreprocessor"


# From a whole configuration


@pytest.fixture
def whole_config(registered, net, make_loader, tmp_path):
    registered(MODELS, type("ConfigNet", (net,), {}))
    registered(DATASETS, type("ConfigVectors", (list,), {"__init__": _fill}))
    base_lr = 0.1
    loader = {"dataset": {"type": "ConfigVectors", "count": 12}, "batch_size": 4, "collate_fn": "default_collate"}
    return {
        "base_lr": base_lr,  # keys that only the configuration itself uses
        "_loader": loader,
        "model": {"type": "ConfigNet", "dropout": 0.1},
        "work_dir": str(tmp_path / "configured"),
        "train_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": True}},
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 2, "val_interval": 1},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": base_lr}},
        "param_scheduler": [{"type": "MultiStepLR", "milestones": [1], "by_epoch": True}],
        "val_dataloader": dict(loader),
        "val_cfg": {"type": "ValLoop"},
        "val_evaluator": {"type": "Accuracy"},
        "default_hooks": {"timer": {"type": "IterTimerHook"}, "checkpoint": {"type": "CheckpointHook", "interval": 2}},
        "randomness": {"seed": 9},
        "log_level": "WARNING",
    }


def _fill(self, count):
    generator = torch.Generator().manual_seed(1)
    self += [(torch.randn(6, generator=generator), i % 3) for i in range(count)]


def test_from_cfg_takes_what_it_knows_and_leaves_the_rest(whole_config):
    before = copy.deepcopy(whole_config)
    runner = Runner.from_cfg(whole_config)
    runner.train()
    assert (runner.epoch, runner.iter, runner.seed) == (2, 6, 9)
    assert runner.cfg is whole_config
    assert whole_config == before, "the configuration itself is not written to"
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.01])
    text = read_checkpoint(Path(runner.work_dir) / "epoch_2.pth")["meta"]["cfg"]
    assert "base_lr = 0.1" in text
    assert (Path(runner.work_dir) / "vis_data" / "config.py").is_file()


def test_the_same_config_gives_the_same_run(whole_config, tmp_path):
    first = Runner.from_cfg(whole_config).train()
    second = Runner.from_cfg({**whole_config, "work_dir": tmp_path / "again"}).train()
    assert torch.equal(weights_of(first), weights_of(second))


# Learning rates and schedules


@pytest.mark.parametrize(
    ("auto_scale_lr", "lr"),
    [
        (None, 0.1),
        ({"base_batch_size": 8}, 0.1),
        ({"base_batch_size": 8, "enable": False}, 0.1),
        ({"base_batch_size": 8, "enable": True}, 0.05),
        ({"base_batch_size": 1, "enable": True}, 0.4),
    ],
)
def test_learning_rates_may_follow_the_batch_size(make_runner, auto_scale_lr, lr):
    runner = make_runner(auto_scale_lr=auto_scale_lr)
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([lr])


def test_schedules_begin_from_the_scaled_rate(make_runner):
    runner = make_runner(
        auto_scale_lr={"base_batch_size": 2, "enable": True},
        param_scheduler={"type": "ConstantLR", "factor": 0.5, "end": 1},
    )
    assert [schedule.base_values for schedule in runner.param_schedulers] == [[0.2]]
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.1])


@pytest.mark.parametrize("later", [False, True])
def test_schedules_that_were_made_before_begin_from_the_scaled_rate(make_runner, net, later):
    model = net()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    made = LinearLR(wrapper, start_factor=0.5, end=2)
    runner = make_runner(
        model=model,
        optim_wrapper=wrapper,
        auto_scale_lr={"base_batch_size": 2, "enable": True},
        param_scheduler=[made, {"type": "ConstantLR", "factor": 0.5, "end": 2}] if later else made,
    )
    assert runner.param_schedulers[0] is made
    assert made.base_values == pytest.approx([0.2])
    assert wrapper.param_groups[0]["initial_lr"] == pytest.approx(0.2)
    assert wrapper.get_lr()["lr"] == pytest.approx([0.05 if later else 0.1])
    for scheduler in runner.param_schedulers:
        scheduler.step()
    assert wrapper.get_lr()["lr"] == pytest.approx([0.2])


def test_learning_rates_may_be_scaled_by_hand(make_runner):
    runner = make_runner()
    runner.scale_lr(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, {"base_batch_size": 2})
    assert runner.optim_wrapper.get_lr()["lr"] == [0.1]
    runner.scale_lr(runner.optim_wrapper, {"base_batch_size": 2, "enable": True})
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.2])


def test_learning_rates_of_a_wrapper_that_is_none_of_ours_are_scaled_too(make_runner, net):
    class Own:
        def __init__(self, optimizer):
            self.optimizer, self.param_groups = optimizer, optimizer.param_groups

        def update_params(self, loss):
            """Do nothing."""

    model = net()
    own = Own(torch.optim.SGD(model.parameters(), lr=0.1))
    runner = make_runner(model=model, optim_wrapper=own, auto_scale_lr={"base_batch_size": 2, "enable": True})
    assert runner.optim_wrapper is own
    assert own.param_groups[0]["lr"] == pytest.approx(0.2)


def test_a_batch_sampler_is_asked_for_its_size(make_runner, make_loader):
    dataset = make_loader().dataset
    on = {"base_batch_size": 2, "enable": True}
    loader = DataLoader(dataset, batch_sampler=BatchSampler(SequentialSampler(dataset), 5, drop_last=False))
    runner = make_runner(train_dataloader=loader, auto_scale_lr=on)
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.25])

    loader = DataLoader(dataset, batch_sampler=[[0, 1], [2, 3, 4]])
    runner = make_runner(train_dataloader=loader, auto_scale_lr=on)
    with pytest.raises(ValueError, match="auto_scale_lr needs to know the batch size"):
        _ = runner.optim_wrapper


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        ({"type": "LinearLR", "start_factor": 0.1}, 3),
        ({"type": "LinearLR", "start_factor": 0.1, "by_epoch": True}, 3),
        ({"type": "LinearLR", "start_factor": 0.1, "by_epoch": False}, 15),
        ({"type": "LinearLR", "start_factor": 0.1, "convert_to_iter_based": True}, 15),
        ({"type": "LinearLR", "start_factor": 0.1, "end": 2}, 2),
        ({"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 7}, 7),
        ({"type": "LinearLR", "start_factor": 0.1, "end": 2, "convert_to_iter_based": True}, 10),
    ],
)
def test_a_schedule_ends_with_the_run_unless_it_says_otherwise(make_runner, schedule, end):
    """As in MMEngine 0.10.7."""
    runner = make_runner(train_cfg={"max_epochs": 3}, param_scheduler=schedule)
    assert runner.param_schedulers[0].end == end
    runner.train()
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.1])


def test_a_schedule_of_an_iteration_run_ends_with_it(make_runner):
    schedule = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False}
    runner = make_runner(train_cfg={"max_iters": 7}, param_scheduler=[schedule])
    assert runner.param_schedulers[0].end == 7


def test_no_schedule_is_an_empty_list(make_runner):
    assert make_runner().param_schedulers == []


# Log lines


@pytest.mark.parametrize(
    ("train_cfg", "by_epoch"),
    [
        ({"max_epochs": 1}, True),
        ({"max_iters": 1}, False),
        ({"by_epoch": True, "max_epochs": 1}, True),
        ({"by_epoch": False, "max_iters": 1}, False),
        ({"type": "IterBasedTrainLoop", "max_iters": 1}, False),
        ({"type": IterBasedTrainLoop, "max_iters": 1}, False),
        ({"type": EpochBasedTrainLoop, "max_epochs": 1}, True),
        ({"type": "CountsIterations", "max_iters": 1}, False),
    ],
)
def test_log_lines_count_as_training_does(make_runner, registered, train_cfg, by_epoch):
    registered(LOOPS, type("CountsIterations", (IterBasedTrainLoop,), {}))
    assert make_runner(train_cfg=train_cfg).log_processor.by_epoch is by_epoch
    assert make_runner(train_cfg=train_cfg, log_processor={"window_size": 3}).log_processor.by_epoch is by_epoch


def test_what_the_user_says_of_log_lines_counts(make_runner):
    assert make_runner(log_processor={"by_epoch": False}).log_processor.by_epoch is False
    processor = LogProcessor(by_epoch=False)
    assert make_runner(log_processor=processor).log_processor is processor


def test_without_training_lines_count_epochs(make_runner):
    runner = make_runner(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    assert runner.log_processor.by_epoch


# Hooks


def names(runner):
    return [type(hook).__name__ for hook in runner.hooks]


def test_the_default_hooks_in_the_order_of_their_calls(make_runner):
    assert names(make_runner()) == [
        "PositionSeedHook",
        "PlaceHook",
        "RuntimeInfoHook",
        "BadNumbersHook",
        "IterTimerHook",
        "DistSamplerSeedHook",
        "LoggerHook",
        "ParamSchedulerHook",
        "CheckpointHook",
        "ProgressHook",
        "SummaryHook",
    ]


def test_none_leaves_a_default_hook_out(make_runner):
    runner = make_runner(default_hooks={"checkpoint": None, "logger": None, "summary": None})
    assert not {"CheckpointHook", "LoggerHook", "SummaryHook"} & set(names(runner))
    runner.train()
    assert not list(Path(runner.work_dir).glob("*.pth"))


def test_without_any_default_hook_a_run_still_trains(make_runner):
    runner = make_runner(default_hooks=dict.fromkeys(DEFAULT_HOOKS))
    assert names(runner) == ["PositionSeedHook", "PlaceHook"]
    runner.train()
    assert runner.iter == 10


def test_a_slot_takes_an_object_or_a_config(make_runner):
    logger = LoggerHook(interval=3)
    checkpoint = {"type": CheckpointHook, "interval": 7, "priority": "LOWEST"}
    runner = make_runner(default_hooks={"logger": logger, "checkpoint": checkpoint})
    assert logger in runner.hooks
    assert names(runner)[-2:] == ["CheckpointHook", "SummaryHook"]
    assert runner.hooks[-2].interval == 7
    assert len(runner.hooks) == 11


def test_custom_hooks_come_behind_the_default_ones_of_their_priority(make_runner):
    class Mine(Hook):
        priority = "NORMAL"

    runner = make_runner(custom_hooks=[Mine(), {"type": "IterTimerHook"}])
    assert names(runner)[4:8] == ["IterTimerHook", "DistSamplerSeedHook", "Mine", "IterTimerHook"]
    assert sum(isinstance(hook, IterTimerHook) for hook in runner.hooks) == 2


# Several runs in one process


def test_two_runners_do_not_disturb_each_other(make_runner, tmp_path):
    alone = [weights_of(make_runner(work_dir=tmp_path / f"alone{i}", randomness={"seed": i}).train()) for i in (1, 2)]
    first = make_runner(work_dir=tmp_path / "first", randomness={"seed": 1}, log_level="INFO")
    second = make_runner(work_dir=tmp_path / "second", randomness={"seed": 2}, log_level="INFO")
    assert first.experiment_name != second.experiment_name
    first.train()
    second.train()
    assert torch.equal(weights_of(first.model), alone[0])
    assert torch.equal(weights_of(second.model), alone[1])

    for runner in (first, second):
        lines = Path(runner.logger.log_file).read_text()
        assert Path(runner.logger.log_file).is_relative_to(runner.work_dir)
        assert lines.count("Epoch(train)") == 2
        assert MessageHub.get_instance(runner.experiment_name) is runner.message_hub
        assert runner.message_hub.get_scalar("train/loss").total_updates == 10
        records = (Path(runner.work_dir) / "vis_data" / "scalars.jsonl").read_text().splitlines()
        assert len(records) == 4


def test_a_name_may_be_used_again(make_runner, tmp_path):
    for directory in ("first", "second"):
        runner = make_runner(work_dir=tmp_path / directory, experiment_name="mine", log_level="INFO")
        runner.train()
        assert runner.message_hub.get_scalar("train/loss").total_updates == 10
        assert Path(runner.logger.log_file).read_text().count("Epoch(train)") == 2
