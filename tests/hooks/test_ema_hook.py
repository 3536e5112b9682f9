"""The average of the weights in a run: what it is, who sees it when, and that a run resumes with its bits."""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from mainspring import BaseModel, EpochBasedTrainLoop, Hook
from mainspring.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from mainspring.hooks import EMAHook
from mainspring.model import BaseAveragedModel, ExponentialMovingAverage, StochasticWeightAverage

ITERS = 10  # of two epochs
ADAM = {"optimizer": {"type": "Adam", "lr": 0.05}}


def ema(**options):
    return {"type": "EMAHook", "momentum": 0.3, **options}


ANNEALING = ema(ema_type="MomentumAnnealingEMA", momentum=0.01, gamma=3)


def saving(**options):
    checkpoint = {"type": "CheckpointHook", "by_epoch": False, **options} if options else None
    return {"checkpoint": checkpoint, "summary": None, "progress": None}


class Tied(BaseModel):
    """Two layers of one weight, with statistics between."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.dropout = nn.Dropout(0.2)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, inputs, labels=None, mode="tensor"):
        scores = self.second(self.dropout(self.norm(self.first(inputs)).relu()))
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(scores, labels)}
        return (scores, labels) if mode == "predict" else scores


@pytest.fixture
def make(make_runner):
    """Return a function that makes a runner with an EMAHook, which saves each iteration."""

    def make(hook=None, hooks=(), **changes):
        torch.manual_seed(0)
        return make_runner(
            **{
                "model": Tied(),
                "optim_wrapper": ADAM,
                "default_hooks": saving(interval=1, save_best="auto"),
                "custom_hooks": [ema() if hook is None else hook, *hooks],
                **changes,
            }
        )

    return make


def hook_of(runner):
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
    return hook


def frozen(value):
    """Return tensors as bytes in their containers, so that == means equal in every bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return [frozen(item) for item in value] if isinstance(value, (list, tuple)) else value


def outcome(runner):
    return frozen(
        {
            "weights": runner.model.state_dict(),
            "average": hook_of(runner).ema_model.state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
        }
    )


def trained(runner):
    runner.train()
    return outcome(runner)


class Watch(Hook):
    """Keeps copies of the weights, and of the average, at each stage."""

    priority = "LOWEST"

    def __init__(self):
        self.seen = {"train": [], "val": [], "test": []}
        self.averages = {"train": [], "val": [], "test": []}

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
        self.seen[mode].append({name: value.clone() for name, value in runner.model.state_dict().items()})
        average = hook_of(runner).ema_model.module
        self.averages[mode].append({name: value.clone() for name, value in average.state_dict().items()})


class FailError(Exception):
    pass


class Fail(Hook):
    """Breaks off, once."""

    def __init__(self, stage, iteration=5, error=FailError):
        self.failed = False

        def fail(runner, **kwargs):
            if runner.iter == iteration and not self.failed:
                self.failed = True
                raise error

        setattr(self, stage, fail)


# What the average is.


def by_hand(seen, weight, update_buffers=False, begin=1):
    """Return the average after each step, one tensor after the other; ``weight`` tells the new part."""
    averages, own, number = [], {}, 0
    for iteration, weights in enumerate(seen, 1):
        for name, value in weights.items():
            is_averaged = value.is_floating_point() and (update_buffers or "running" not in name)
            if number == 0 or not is_averaged:
                own[name] = value.clone()
            elif weight(number):
                own[name] = own[name].lerp(value, weight(number))
        number += iteration >= begin
        averages.append(dict(own))
    return averages


@pytest.mark.parametrize("update_buffers", [False, True])
@pytest.mark.parametrize(
    ("options", "weight", "begin"),
    [
        ({}, lambda number: 0.3, 1),
        ({"interval": 3}, lambda number: 0.3 * (number % 3 == 0), 1),
        ({"begin_iter": 4}, lambda number: 0.3, 4),
        ({"begin_epoch": 2}, lambda number: 0.3, 6),
        (
            {"ema_type": "MomentumAnnealingEMA", "momentum": 0.2, "gamma": 2, "begin_iter": 3},
            lambda number: max(0.2, 2 / (2 + number)),
            3,
        ),
    ],
    ids=["plain", "interval", "begin_iter", "begin_epoch", "annealing"],
)
def test_average_by_hand(make, options, weight, begin, update_buffers):
    watch = Watch()
    runner = make(ema(**options, update_buffers=update_buffers), [watch])
    runner.train()
    expected = by_hand(watch.seen["train"], weight, update_buffers, begin)
    assert frozen(watch.averages["train"]) == frozen(expected)
    assert len(expected) == ITERS
    assert hook_of(runner).ema_model.updates == ITERS + 1 - begin


def test_swa_begins_where_it_is_told(make):
    watch = Watch()
    hook = EMAHook(StochasticWeightAverage, begin_epoch=2)
    make(hook, [watch]).train()
    weights = [weights["first.weight"] for weights in watch.seen["train"][5:]]
    assert torch.allclose(hook.ema_model.module.first.weight, sum(weights) / 5, atol=1e-6)


def test_the_training_is_the_same_without_it(make):
    plain = make(custom_hooks=[])
    plain.train()
    runner = make()
    runner.train()
    assert frozen(runner.model.state_dict()) == frozen(plain.model.state_dict())


@pytest.mark.parametrize("options", [{"update_buffers": True}, {"begin_iter": 3}, {"interval": 2}])
def test_it_never_reads_a_value(make, options):
    """On a device without values, whoever asks for one gets an error."""
    hook = EMAHook(**options, momentum=0.3)
    runner = make(hook, [Fail("before_train_iter", 4)], env_cfg={"device": "meta"}, default_hooks=saving())
    with pytest.raises(FailError):
        runner.train()
    assert {parameter.device.type for parameter in hook.ema_model.module.parameters()} == {"meta"}
    assert hook.ema_model.updates == 5 - options.get("begin_iter", 1)


# Who sees it.


@pytest.mark.parametrize("update_buffers", [False, True])
def test_validations_run_with_the_average(make, update_buffers):
    watch = Watch()
    make(ema(update_buffers=update_buffers), [watch]).train()
    for epoch, (val, average) in enumerate(zip(watch.seen["val"][::2], watch.averages["val"][::2], strict=True), 1):
        train = watch.seen["train"][5 * epoch - 1]
        for name, value in val.items():
            from_average = "num_batches" not in name and (update_buffers or "running" not in name)
            assert torch.equal(value, average[name] if from_average else train[name]), name
            assert torch.equal(value, train[name]) != from_average, name


class Identities(Hook):
    priority = "LOWEST"

    def before_train(self, runner):
        self.parameters = {id(parameter) for parameter in runner.model.parameters()}

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        in_optimizer = {id(p) for group in runner.optim_wrapper.param_groups for p in group["params"]}
        assert {id(parameter) for parameter in runner.model.parameters()} == self.parameters == in_optimizer
        assert runner.model.second.weight is runner.model.first.weight


def test_a_validation_leaves_parameters_in_place(make):
    make(hooks=[Identities()]).train()


EVALUATION = {"train_dataloader": ..., "train_cfg": ..., "optim_wrapper": ...}


@pytest.mark.parametrize("mode", ["val", "test"])
def test_evaluation_alone_takes_the_average(make, make_loader, tmp_path, mode):
    first = make(ema(update_buffers=True))
    first.train()
    watch = Watch()
    data = {f"{mode}_dataloader": make_loader(8), f"{mode}_cfg": {}, f"{mode}_evaluator": {"type": "Accuracy"}}
    others = {"val_dataloader": ..., "val_cfg": ..., "val_evaluator": ...}
    last = first.message_hub.get_scalar("val/accuracy/top1").current()
    runner = make(None, [watch], **{**EVALUATION, **others, **data}, load_from=tmp_path / "run" / "iter_10.pth")
    assert getattr(runner, mode)() == {"accuracy/top1": last}
    average = hook_of(first).ema_model.module.state_dict()
    assert frozen(watch.seen[mode][0]) == frozen(dict(average))
    assert frozen(runner.model.state_dict()) == frozen(average)


def test_a_test_after_the_training_takes_the_average(make, make_loader):
    watch = Watch()
    data = {"test_dataloader": make_loader(8), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    runner = make(None, [watch], **data)
    runner.train()
    before = outcome(runner)
    runner.test()
    runner.val()
    assert frozen(watch.seen["test"]) == frozen(watch.seen["val"][-2:])
    assert frozen(watch.seen["test"][0]) != frozen(watch.seen["train"][-1])
    assert outcome(runner) == before


# Files.


def test_what_a_checkpoint_holds(make, tmp_path):
    watch = Watch()
    runner = make(ema(update_buffers=True), [watch])
    runner.train()
    checkpoint = torch.load(tmp_path / "run" / "iter_7.pth", weights_only=True)
    names = list(runner.model.state_dict())
    assert list(checkpoint["state_dict"]) == names
    assert list(checkpoint["ema_state_dict"]) == ["steps", *(f"module.{name}" for name in names)]
    assert frozen(dict(checkpoint["state_dict"])) == frozen(watch.averages["train"][6])
    steps = checkpoint["ema_state_dict"].pop("steps")
    assert (steps.item(), steps.dtype, steps.shape) == (7, torch.int64, ())
    weights = {name.removeprefix("module."): value for name, value in checkpoint["ema_state_dict"].items()}
    assert frozen(weights) == frozen(watch.seen["train"][6])
    assert checkpoint["hooks"]["EMAHook"] == {}, "nothing stands in it twice"


class SaveIn(Hook):
    """Saves within a validation."""

    def __init__(self, stage, priority):
        self.priority = priority

        def save(runner, **kwargs):
            runner.save_checkpoint(runner.work_dir, f"{stage}_{runner.iter}.pth")

        setattr(self, stage, save)


@pytest.mark.parametrize(
    ("stage", "priority"), [("after_val_iter", "NORMAL"), ("after_val_epoch", "HIGH"), ("after_val_epoch", "LOW")]
)
def test_saved_within_a_validation(make, tmp_path, stage, priority):
    """The weights of the one and of the other are not confused."""
    runner = make(ema(update_buffers=True), [SaveIn(stage, priority)])
    runner.train()
    one, other = (read_checkpoint(tmp_path / "run" / name) for name in (f"{stage}_5.pth", "iter_5.pth"))
    for part in ("state_dict", "ema_state_dict"):
        assert frozen(dict(one[part])) == frozen(dict(other[part]))


def test_published_and_best_files_hold_the_average(make, tmp_path):
    watch = Watch()
    make(None, [watch]).train()
    (best,) = (tmp_path / "run").glob("best_*.pth")
    number = int(best.stem.split("_")[-1])
    assert frozen(dict(read_checkpoint(best)["state_dict"])) == frozen(watch.averages["train"][number - 1])


# Resuming.

SETTINGS = {
    "annealing": ANNEALING,
    "interval": {**ANNEALING, "interval": 3, "update_buffers": True},
    "begin_iter": {**ANNEALING, "begin_iter": 4, "interval": 2},
    "begin_epoch": ema(begin_epoch=2, update_buffers=True),
    "swa": {"type": "EMAHook", "ema_type": StochasticWeightAverage, "interval": 2, "device": "cpu"},
}


BY_EPOCH = {"max_epochs": 2}
BY_ITER = {"by_epoch": False, "max_iters": ITERS, "val_interval": 4}


@pytest.mark.parametrize(
    ("hook", "train_cfg"),
    [*((hook, BY_EPOCH) for hook in SETTINGS.values()), (SETTINGS["interval"], BY_ITER)],
    ids=[*SETTINGS, "by iterations"],
)
def test_resumed_at_every_iteration(make, tmp_path, hook, train_cfg):
    whole = trained(make(hook, train_cfg=train_cfg))
    rest = {
        "train_cfg": train_cfg,
        "resume": True,
        "work_dir": tmp_path / "rest",
        "default_hooks": saving(),
    }
    for done in range(1, ITERS + 1):
        assert trained(make(hook, load_from=tmp_path / "run" / f"iter_{done}.pth", **rest)) == whole, done


def test_resumed_from_the_best(make, tmp_path):
    """It is saved when a validation is just over."""
    whole = trained(make(ANNEALING))
    (best,) = (tmp_path / "run").glob("best_*.pth")
    assert trained(make(ANNEALING, work_dir=tmp_path / "rest", load_from=best, resume=True)) == whole


def test_resumed_by_hand(make, tmp_path):
    """Before the run begins, and in one that has gone on."""
    whole = trained(make(ANNEALING))
    runner = make(ANNEALING, work_dir=tmp_path / "rest")
    runner.resume(tmp_path / "run" / "iter_3.pth")
    assert trained(runner) == whole
    runner.resume(tmp_path / "run" / "iter_6.pth")
    assert hook_of(runner).ema_model.updates == 6
    assert trained(runner) == whole


def test_validated_before_it_goes_on(make, tmp_path):
    whole = trained(make(ANNEALING))
    file = tmp_path / "run" / "iter_3.pth"
    runner = make(ANNEALING, work_dir=tmp_path / "rest", load_from=file, resume=True)
    runner.val()
    assert frozen(runner.model.state_dict()) == frozen(read_checkpoint(file)["state_dict"])
    assert trained(runner) == whole


class Kill(Hook):
    """Sends a signal to the process, once."""

    priority = "LOWEST"

    def __init__(self, stage, iteration, number=signal.SIGTERM):
        self.sent = False

        def send(runner, **kwargs):
            if runner.iter == iteration and not self.sent:
                self.sent = True
                os.kill(os.getpid(), number)

        setattr(self, stage, send)


@pytest.mark.parametrize(
    ("stage", "iteration", "number"),
    [
        ("after_val_iter", 5, signal.SIGTERM),
        ("before_val_epoch", 10, signal.SIGINT),
        ("after_train_iter", 6, signal.SIGTERM),
    ],
)
def test_stopped_by_a_signal(make, tmp_path, stage, iteration, number):
    """Where a validation is abandoned, the checkpoint has both kinds of weights in their places."""

    class AtStop(Hook):
        def before_stop(self, runner):
            self.weights = frozen(runner.model.state_dict())

    whole, at_stop = trained(make(ANNEALING, work_dir=tmp_path / "whole")), AtStop()
    hooks = [Kill(stage, iteration, number), at_stop]
    runner = make(ANNEALING, hooks, default_hooks=saving(interval=100, save_last=False))
    with pytest.raises(SystemExit) as caught:
        runner.train()
    assert caught.value.code == 128 + number
    (file,) = (tmp_path / "run").glob("iter_*.pth")
    checkpoint, other = read_checkpoint(file), read_checkpoint(tmp_path / "whole" / file.name)
    for part in ("state_dict", "ema_state_dict"):
        assert frozen(dict(checkpoint[part])) == frozen(dict(other[part])), part
    assert frozen(runner.model.state_dict()) == at_stop.weights == frozen(trained_weights(checkpoint))
    assert trained(make(ANNEALING, resume="auto")) == whole


def trained_weights(checkpoint):
    saved = checkpoint["ema_state_dict"]
    return {name.removeprefix("module."): value for name, value in saved.items() if name != "steps"}


@pytest.mark.parametrize(
    ("stage", "error"),
    [("before_val_iter", FailError), ("after_val_iter", KeyboardInterrupt), ("after_val_epoch", FailError)],
)
def test_goes_on_after_an_error_in_a_validation(make, tmp_path, stage, error):
    whole = trained(make(ANNEALING, work_dir=tmp_path / "whole"))
    runner = make(ANNEALING, [Fail(stage, error=error)])
    with pytest.raises(error):
        runner.train()
    assert frozen(runner.model.state_dict()) == frozen(
        trained_weights(read_checkpoint(tmp_path / "run" / "iter_5.pth"))
    )
    assert trained(runner) == whole


class Interrupting(TorchFunctionMode):
    """Ctrl-C comes when so many tensors of several have been copied."""

    def __init__(self, copies):
        self.copies = copies

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch._foreach_copy_:
            for own, theirs in zip(*args, strict=True):
                own.copy_(theirs)
                self.copies -= 1
                if self.copies == 0:
                    raise KeyboardInterrupt
            return None
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("copies", range(1, 6))
@pytest.mark.parametrize("stage", ["before_val_epoch", "after_val_epoch"])
def test_an_exchange_that_is_interrupted(make, stage, copies):
    runner = make()
    before = trained(runner)
    hook = hook_of(runner)
    if stage == "after_val_epoch":
        hook.before_val_epoch(runner)
        assert outcome(runner) != before
    with pytest.raises(KeyboardInterrupt), Interrupting(copies):
        getattr(hook, stage)(runner)
    hook.close()
    assert outcome(runner) == before


class Forgiving(EpochBasedTrainLoop):
    """Goes on where a validation fails."""

    def validate(self):
        try:
            super().validate()
        except FailError:
            self.runner.model.train()


def test_a_loop_that_catches_the_error_of_a_validation(make, tmp_path):
    whole = trained(make(ANNEALING, work_dir=tmp_path / "whole"))
    runner = make(ANNEALING, [Fail("after_val_iter")], train_cfg={"type": Forgiving, "max_epochs": 2})
    assert trained(runner) == whole


# Weights from elsewhere.


def test_weights_for_a_beginning_are_the_averaged_ones(make, tmp_path):
    first = make()
    first.train()
    average = frozen(dict(hook_of(first).ema_model.module.state_dict()))

    class Begin(Hook):
        priority = "LOWEST"

        def before_train(self, runner):
            self.weights = frozen(dict(runner.model.state_dict()))
            self.average = frozen(dict(hook_of(runner).ema_model.module.state_dict()))

    begin = Begin()
    runner = make(None, [begin], work_dir=tmp_path / "new", load_from=tmp_path / "run" / "iter_10.pth")
    runner.train()
    assert begin.weights == begin.average == average
    assert hook_of(runner).ema_model.updates == ITERS


def test_weights_that_are_loaded_by_hand_begin_a_new_average(make, tmp_path):
    runner = make()
    runner.train()
    runner.load_checkpoint(tmp_path / "run" / "iter_3.pth")
    watch = Watch()
    runner.register_hook(watch)
    runner.val()
    assert hook_of(runner).ema_model.updates == 0
    assert frozen(dict(watch.seen["val"][0])) == frozen(
        dict(read_checkpoint(tmp_path / "run" / "iter_3.pth")["state_dict"])
    )


def test_weights_that_are_loaded_within_a_validation_stay(make, tmp_path):
    runner = make()
    runner.train()
    hook = hook_of(runner)
    hook.before_val_epoch(runner)
    runner.load_checkpoint(tmp_path / "run" / "iter_3.pth")
    hook.after_val_epoch(runner)
    saved = read_checkpoint(tmp_path / "run" / "iter_3.pth")["state_dict"]
    assert frozen(dict(runner.model.state_dict())) == frozen(dict(saved))


def test_resumed_where_there_was_no_average(make, tmp_path, capsys):
    make(custom_hooks=[], train_cfg={"max_epochs": 1}).train()
    weights = frozen(dict(read_checkpoint(tmp_path / "run" / "iter_5.pth")["state_dict"]))
    watch = Watch()
    runner = make(None, [watch], resume="auto")
    runner.load_or_resume()
    assert frozen(dict(hook_of(runner).ema_model.module.state_dict())) == weights
    assert "has no 'ema_state_dict': the average of EMAHook begins anew" in capsys.readouterr().out
    runner.train()
    assert frozen(watch.averages["train"]) == frozen(by_hand(watch.seen["train"], lambda number: 0.3))


def test_bare_weights(make, tmp_path):
    weights = {name: torch.full_like(value, 2) for name, value in Tied().state_dict().items()}
    torch.save(weights, tmp_path / "weights.pth")
    runner = make()
    checkpoint = runner.load_checkpoint(tmp_path / "weights.pth", strict=True)
    assert frozen(dict(runner.model.state_dict())) == frozen(weights) == frozen(checkpoint)


def test_strict_load(make, tmp_path):
    save_checkpoint({"state_dict": {"first.bias": torch.zeros(6)}}, tmp_path / "part.pth")
    options = {"load_from": tmp_path / "part.pth", "train_cfg": {"max_epochs": 1}}
    make(ema(strict_load=False), **options).train()
    with pytest.raises(CheckpointError, match="missing"):
        make(ema(strict_load=True), **options).train()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda saved: saved.pop("steps"), "'ema_state_dict' holds no 'steps'"),
        (lambda saved: saved.pop("module.norm.bias"), r"'ema_state_dict' do not fit Tied(.|\n)*missing.*norm\.bias"),
        (lambda saved: saved.update({"module.more": torch.ones(1)}), r"not in the model \(1\): more"),
    ],
)
def test_an_average_that_does_not_fit(make, tmp_path, damage, message):
    make(train_cfg={"max_epochs": 1}).train()
    checkpoint = read_checkpoint(tmp_path / "run" / "iter_5.pth")
    damage(checkpoint["ema_state_dict"])
    save_checkpoint(checkpoint, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message):
        make(load_from=tmp_path / "other.pth", resume=True).train()


def as_mmengine(checkpoint):
    """Return the checkpoint as MMEngine 0.10 lays one out: no key of ours, state dicts ordered, with versions."""
    versions = checkpoint["state_dict"]._metadata
    weights = OrderedDict(checkpoint["state_dict"])
    weights._metadata = OrderedDict(versions)
    saved = OrderedDict(checkpoint["ema_state_dict"])
    saved._metadata = OrderedDict({"": {"version": 1}})
    saved._metadata.update({f"module.{key}".rstrip("."): OrderedDict(value) for key, value in versions.items()})
    meta = checkpoint["meta"]
    return {
        "meta": {
            **{key: meta[key] for key in ("epoch", "iter", "seed", "experiment_name", "time")},
            "cfg": "",
            "mmengine_version": "0.10.7",
        },
        "state_dict": weights,
        "message_hub": {"log_scalars": OrderedDict(), "runtime_info": OrderedDict(), "resumed_keys": OrderedDict()},
        "optimizer": {key: checkpoint["optimizer"][key] for key in ("state", "param_groups")},
        "param_schedulers": [],
        "ema_state_dict": saved,
    }


@pytest.mark.parametrize("done", [3, 5, 8])
def test_goes_on_from_a_file_of_mmengine(make, tmp_path, done):
    hook = {**ANNEALING, "begin_iter": 4, "interval": 2}
    whole = trained(make(hook))
    file = tmp_path / f"iter_{done}.pth"
    torch.save(as_mmengine(read_checkpoint(tmp_path / "run" / f"iter_{done}.pth")), file)
    result = trained(make(hook, work_dir=tmp_path / "rest", load_from=file, resume=True))
    assert (result["weights"], result["average"]) == (whole["weights"], whole["average"])
    assert result["optimizer"]["state"] == whole["optimizer"]["state"]


class Versioned(nn.Linear):
    """Holds the negative of what its first version saved."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}weight"] = -state_dict[f"{prefix}weight"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def test_versions_of_modules_are_kept(make, tmp_path):
    def model():
        tied = Tied()
        tied.first = Versioned(6, 6)
        return tied

    whole = trained(make(model=model()))
    rest = make(model=model(), work_dir=tmp_path / "rest", load_from=tmp_path / "run" / "iter_4.pth", resume=True)
    assert trained(rest) == whole


class Counting(ExponentialMovingAverage):
    """Keeps something of its own."""

    def __init__(self, model, **options):
        super().__init__(model, **options)
        self.register_buffer("total", torch.zeros(()))

    def update_parameters(self, model):
        super().update_parameters(model)
        self.total += 2


def test_what_a_users_average_keeps_survives(make, tmp_path):
    hook = ema(ema_type=Counting)
    whole = trained(make(hook))
    runner = make(hook, work_dir=tmp_path / "rest", load_from=tmp_path / "run" / "iter_4.pth", resume=True)
    assert trained(runner) == whole
    assert hook_of(runner).ema_model.total.item() == 2 * ITERS


# What it refuses.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"begin_iter": -1}, ValueError, r"EMAHook: begin_iter must not be negative, but it is -1\."),
        ({"begin_epoch": -2}, ValueError, r"EMAHook: begin_epoch must not be negative, but it is -2\."),
        ({"begin_epoch": 1.5}, TypeError, "EMAHook: begin_epoch must be an integer"),
        ({"begin_iter": 3, "begin_epoch": 1}, ValueError, "both say when the average begins. Give one of them"),
        ({"strict_load": "yes"}, TypeError, "EMAHook: strict_load must be True or False"),
        ({"ema_type": 3}, TypeError, "EMAHook: ema_type must be"),
    ],
)
def test_impossible_arguments(options, error, message):
    with pytest.raises(error, match=message):
        EMAHook(**options)


@pytest.mark.parametrize(
    ("hook", "changes", "error", "message"),
    [
        (ema(begin_epoch=3), {}, ValueError, r"begin_epoch is 3, but training ends with epoch 2\.\n"),
        (ema(begin_iter=11), {}, ValueError, r"begin_iter is 11, but training ends with iteration 10\."),
        (
            ema(begin_epoch=2),
            {"train_cfg": {"by_epoch": False, "max_iters": 3}},
            ValueError,
            r"ends with epoch 1\. Training counts iterations: write begin_iter\.",
        ),
        (ema(priority=95), {}, ValueError, "EMAHook comes after CheckpointHook"),
        (ema(), {"hooks": [ema()]}, ValueError, "more than one EMAHook"),
        ({"type": "EMAHook", "momentun": 0.1}, {}, TypeError, r"no argument 'momentun'\. Did you mean 'momentum'"),
        (ema(momentum=2), {}, ValueError, "momentum must lie between 0 and 1"),
        (ema(ema_type="MovingAverage"), {}, KeyError, "MovingAverage"),
        ({"type": "EMAHook", "ema_type": nn.DataParallel, "dim": 0}, {}, TypeError, "module"),
    ],
)
def test_impossible_runs(make, hook, changes, error, message):
    with pytest.raises(error, match=message):
        make(hook, **changes).train()


class NoAverage(nn.Module):
    def __init__(self, model):
        super().__init__()


def test_ema_type_must_be_an_average(make):
    with pytest.raises(TypeError, match=r"ema_type must be a BaseAveragedModel, .* but it is NoAverage"):
        make({"type": "EMAHook", "ema_type": NoAverage}).train()


def test_no_average_before_the_first_run():
    hook = EMAHook()
    hook.close()
    with pytest.raises(RuntimeError, match="made when the run begins"):
        _ = hook.ema_model


def test_another_runner_gets_an_average_of_its_own(make, tmp_path):
    hook = EMAHook(momentum=0.3)
    first = trained(make(hook, work_dir=tmp_path / "a"))
    average = hook.ema_model
    assert trained(make(hook, work_dir=tmp_path / "b")) == first
    assert hook.ema_model is not average
    assert isinstance(average, BaseAveragedModel)


def test_going_on_without_the_hook_is_refused(make, make_runner, tmp_path):
    """The file's weights are averages, and the optimizer's state belongs to others."""
    trained(make(ema()))
    with pytest.raises(CheckpointError, match="was saved by a run with an EMAHook"):
        make_runner(
            model=Tied(),
            optim_wrapper=ADAM,
            load_from=tmp_path / "run" / "iter_3.pth",
            resume=True,
            work_dir=tmp_path / "rest",
        ).train()


@pytest.mark.parametrize("name", ["ema.pth", "ema.safetensors"])
@pytest.mark.parametrize("options", [{}, {"begin_iter": ITERS}, {"update_buffers": True}])
def test_a_file_of_the_weights_alone(make, name, options):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    runner = make(ema(weights_file=name, **options))
    runner.train()
    content = read_checkpoint(Path(runner.work_dir) / name)
    weights = content.get("state_dict", content)
    saved = read_checkpoint(Path(runner.work_dir) / "iter_10.pth")["state_dict"]
    assert frozen(dict(weights)) == frozen(dict(saved))
    fresh = Tied()
    fresh.load_state_dict(weights)
    assert sorted(fresh.state_dict()) == sorted(weights)
    assert set(content) <= {"state_dict", *weights}


@pytest.mark.parametrize("name", ["ema", "below/ema.pth", "../ema.safetensors", "ema.pkl"])
def test_a_file_of_weights_that_cannot_be(name):
    with pytest.raises(ValueError, match="weights_file must be the name of a file, without a directory"):
        EMAHook(weights_file=name)
