"""Validation of several sets of data, with the loss, of averaged and trained weights, in lower precision, rehearsed."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mainspring import BaseMetric, BaseModel, Hook, Runner
from mainspring.evaluator import Accuracy, Evaluator
from mainspring.hooks import EMAHook
from mainspring.optim.scheduler import ReduceOnPlateauLR


def vectors(count, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(count, 6, generator=generator), torch.arange(count) % 3)


def config(count, seed=7, batch_size=4):
    return {"dataset": vectors(count, seed), "batch_size": batch_size, "collate_fn": "default_collate"}


SETS = {"clean": config(8), "noisy": config(10, seed=8)}


class NeverTrains(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        pytest.fail("training has begun")


class Notes(Hook):
    """Writes down what the validations did."""

    def __init__(self):
        self.results = []
        self.batches = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.batches.append((len(runner.val_dataloader), batch_idx))

    def after_val_epoch(self, runner, metrics=None):
        self.results.append(dict(metrics))


def test_several_sets_are_one_validation(make_runner):
    notes = Notes()
    runner = make_runner(val_dataloader=SETS, val_evaluator={"type": "Accuracy"}, custom_hooks=[notes])
    results = runner.val()
    assert notes.results == [results]
    assert notes.batches == [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    alone = {
        name: make_runner(model=runner.model, val_dataloader=one, work_dir=f"{runner.work_dir}_{name}").val()
        for name, one in SETS.items()
    }
    assert results == {f"{name}/{key}": value for name, one in alone.items() for key, value in one.items()}
    hub = runner.message_hub
    assert hub.get_scalar("val/noisy/accuracy/top1").current() == results["noisy/accuracy/top1"]


def test_each_set_has_its_own_evaluator(make_runner):
    loaders = {"clean": DataLoader(vectors(8), batch_size=4), "noisy": config(9)}
    evaluators = {"clean": Evaluator(Accuracy()), "noisy": [{"type": "Accuracy", "topk": 2, "prefix": "again"}]}
    runner = make_runner(val_dataloader=loaders, val_evaluator=evaluators)
    assert list(runner.val()) == ["clean/accuracy/top1", "noisy/again/top2"]
    assert runner.val_evaluator.metrics[0].topk == (2,)


def test_a_metric_that_is_given_once_serves_each_set_and_knows_its_data(make_runner):
    class Classes(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results.extend(data_samples[1])

        def compute_metrics(self, results):
            return {"classes": self.dataset_meta["classes"], "samples": len(results)}

    sets = {"a": config(5), "b": config(6)}
    for name, one in sets.items():
        one["dataset"].metainfo = {"classes": (name,)}
    runner = make_runner(val_dataloader=sets, val_evaluator=Classes(), val_cfg={})
    assert runner.val() == {"a/classes": ("a",), "a/samples": 5, "b/classes": ("b",), "b/samples": 6}


def test_test_data_may_have_names_too(make_runner):
    runner = make_runner(test_dataloader=SETS, test_cfg={"with_loss": True}, test_evaluator={"type": "Accuracy"})
    names = ["accuracy/top1", "loss"]
    assert list(runner.test()) == [f"{one}/{name}" for one in SETS for name in names]


@pytest.mark.parametrize("by_epoch", [True, False])
def test_intervals(make_runner, by_epoch):
    notes = Notes()
    length = {"max_epochs": 5} if by_epoch else {"max_iters": 5, "val_interval": 1}
    runner = make_runner(
        val_dataloader=SETS,
        val_cfg={"intervals": {"noisy": 2}},
        train_cfg={"by_epoch": by_epoch, **length},
        custom_hooks=[notes],
    )
    runner.train()
    assert ["noisy/accuracy/top1" in results for results in notes.results] == [False, True, False, True, True]
    assert all("clean/accuracy/top1" in results for results in notes.results)
    assert len(runner.val()) == 2


def test_who_watches_a_set_waits_for_it(make_runner):
    """A metric that a validation leaves out by its interval is neither missing nor counted."""
    metric = "noisy/accuracy/top1"
    stopping = {"type": "EarlyStoppingHook", "monitor": metric, "patience": 2, "min_delta": 1000.0, "strict": True}
    plateau = {"type": "ReduceOnPlateauLR", "monitor": metric, "rule": "greater", "patience": 5, "threshold": 1000.0}
    notes = Notes()
    runner = make_runner(
        val_dataloader=SETS,
        val_cfg={"intervals": {"noisy": 2}},
        train_cfg={"by_epoch": True, "max_epochs": 9},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 9, "save_best": metric}},
        custom_hooks=[notes, stopping],
        param_scheduler=plateau,
    )
    runner.train()
    # The first is better than none, and the two behind it end the training: after 2, 4 and 6 epochs.
    assert runner.epoch == 6
    (schedule,) = runner.param_schedulers
    assert isinstance(schedule, ReduceOnPlateauLR)
    assert schedule.num_bad_epochs == 2
    saved = [path.name for path in runner.env.work_dir.iterdir() if "best" in path.name]
    assert saved
    assert int(saved[0].split("_epoch_")[1][0]) % 2 == 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"val_evaluator": {"clean": {"type": "Accuracy"}}}, ValueError, "val_evaluator has none for noisy"),
        (
            {"val_evaluator": {"claen": {"type": "Accuracy"}, "noisy": {"type": "Accuracy"}}},
            ValueError,
            r"val_evaluator\.claen: val_dataloader has no set of this name\. Did you mean 'clean'",
        ),
        ({"val_cfg": {"intervals": {"nosy": 2}}}, ValueError, r"val_cfg\.intervals\.nosy: .* Did you mean 'noisy'"),
        ({"val_cfg": {"intervals": {"noisy": 0}}}, ValueError, r"val_cfg\.intervals\.noisy must be at least 1"),
        ({"val_cfg": {"intervals": {"noisy": "2"}}}, TypeError, r"val_cfg\.intervals\.noisy must be an integer"),
        ({"val_cfg": {"intervals": {"noisy": 2, "clean": 3}}}, ValueError, "would have nothing to do"),
        (
            {"val_cfg": {"intervals": {"noisy": 3}}, "train_cfg": {"max_epochs": 4, "val_interval": 2}},
            ValueError,
            r"noisy is 3, but validations come every 2 epochs\. It counts epochs too, and must be a multiple",
        ),
        ({"val_dataloader": config(4), "val_cfg": {"intervals": {"a": 2}}}, ValueError, "but val_dataloader is one"),
        ({"val_dataloader": {"a/b": config(4)}}, ValueError, "has no slash, but one is 'a/b'"),
        ({"val_dataloader": {1: config(4)}}, TypeError, "A name in val_dataloader must be a string"),
        (
            {"val_dataloader": {"a": config(4), "b": {"datset": [1]}}},
            (TypeError, ValueError),
            r"^val_dataloader\.b",
        ),
        (
            {"val_dataloader": {"datset": vectors(3), "batch_size": 2}},
            (TypeError, ValueError),
            r"^val_dataloader\.dats",
        ),
        ({"val_cfg": {"dtype": "int8"}}, ValueError, r"val_cfg\.dtype must be 'float16' or 'bfloat16'"),
        ({"val_cfg": {"dtype": "bfloat16", "fp16": True}}, ValueError, "which contradict each other"),
        ({"val_cfg": {"with_loss": 1}}, TypeError, r"val_cfg\.with_loss must be True or False"),
        ({"val_cfg": {"with_los": True}}, ValueError, r"val_cfg\.with_los: .* Did you mean 'with_loss'"),
        ({"val_cfg": {"sanity_batches": -1}}, ValueError, "sanity validation must be at least 1, but they are -1"),
    ],
)
def test_what_cannot_be_validated_is_said_at_once(make_runner, changes, error, message):
    def run():
        make_runner(**{"val_dataloader": SETS, "custom_hooks": [NeverTrains()], **changes}).train()

    with pytest.raises(error, match=message):
        run()


# The loss.


def test_the_loss_is_the_mean_over_the_samples(make_runner, net):
    model = net(dropout=0.5)
    runner = make_runner(model=model, val_dataloader=config(10), val_cfg={"with_loss": True})
    results = runner.val()
    inputs, labels = vectors(10).tensors
    with torch.no_grad():
        expected = F.cross_entropy(model.eval()(inputs), labels).item()
    assert list(results) == ["accuracy/top1", "loss"]
    assert results["loss"] == pytest.approx(expected, rel=1e-6)
    assert runner.message_hub.get_scalar("val/loss").current() == results["loss"]


def test_the_parts_of_the_loss_are_told_and_what_else_the_mode_returns_is_not(make_runner):
    class Parts(BaseModel):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(6, 3)

        def forward(self, inputs, labels, mode):
            scores = self.linear(inputs)
            if mode == "predict":
                return scores, labels
            assert not torch.is_grad_enabled()
            assert not self.training
            return {"loss_a": scores.new_tensor(2.0), "loss_b": [scores.new_tensor(1.0)] * 3, "seen": labels.float()}

    runner = make_runner(model=Parts(), val_cfg={"with_loss": True})
    results = runner.val()
    assert {name: value for name, value in results.items() if "loss" in name} == {"loss": 5, "loss_a": 2, "loss_b": 3}
    assert "seen" not in results


def test_a_schedule_and_the_best_checkpoint_go_by_the_loss(make_runner):
    runner = make_runner(
        val_cfg={"with_loss": True},
        param_scheduler={"type": "ReduceOnPlateauLR", "monitor": "loss", "patience": 0, "threshold": 0.99},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": "loss"}},
    )
    runner.train()
    assert runner.optim_wrapper.get_lr()["lr"] == [pytest.approx(0.01)]
    assert any("best_loss" in path.name for path in (runner.env.work_dir).iterdir())


def test_one_evaluator_in_two_runs_has_the_loss_of_each(make_runner, net):
    evaluator = Evaluator(Accuracy())
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = net()
        torch.nn.init.normal_(model.layers[0].weight, generator=torch.Generator().manual_seed(seed))
        runner = make_runner(model=model, val_cfg={"with_loss": True}, val_evaluator=evaluator)
        losses.append(runner.val()["loss"])
    assert losses[0] != losses[1]


def test_the_loss_needs_a_model_with_modes(make_runner):
    class Foreign(torch.nn.Linear):
        def val_step(self, data):
            return data

    runner = make_runner(
        model=Foreign(1, 1), val_cfg={"with_loss": True}, train_dataloader=..., train_cfg=..., optim_wrapper=...
    )
    with pytest.raises(TypeError, match="needs a model that inherits from mainspring"):
        runner.val()


# Which weights.


def with_average(make_runner, evaluate, **changes):
    notes = Notes()
    hooks = [{"type": "EMAHook", "momentum": 0.1, "evaluate": evaluate}, notes]
    arguments = {"val_dataloader": config(60, batch_size=20), "val_cfg": {"with_loss": True}, "custom_hooks": hooks}
    runner = make_runner(**{**arguments, "work_dir": f"{changes.pop('at')}/{evaluate}", **changes})
    runner.train()
    return runner, notes.results


def test_averaged_and_trained_weights(make_runner, tmp_path):
    runs = {name: with_average(make_runner, name, at=tmp_path) for name in ("ema", "raw", "both")}
    weights = [[p.tolist() for p in runner.model.parameters()] for runner, _ in runs.values()]
    assert weights[0] == weights[1] == weights[2]
    for averaged, trained, both in zip(*(results for _, results in runs.values()), strict=True):
        assert averaged != trained
        assert both == {**averaged, **{f"raw/{name}": value for name, value in trained.items()}}
    assert runs["both"][0].val() == runs["both"][1][-1]


def test_a_test_with_both_weights(make_runner, tmp_path):
    both = {"test_dataloader": config(60), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    runner, _ = with_average(make_runner, "both", at=tmp_path, **both)
    trained = [p.clone() for p in runner.model.parameters()]
    assert list(runner.test()) == ["accuracy/top1", "raw/accuracy/top1"]
    assert all(map(torch.equal, trained, runner.model.parameters()))


def test_both_weights_of_several_sets_one_of_which_is_left_out(make_runner, tmp_path):
    runner, results = with_average(
        make_runner,
        "both",
        at=tmp_path,
        val_dataloader=SETS,
        val_cfg={"intervals": {"noisy": 2}},
        train_cfg={"max_epochs": 3},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": "raw/noisy/accuracy/top1"}},
    )
    assert list(results[0]) == ["clean/accuracy/top1", "raw/clean/accuracy/top1"]
    assert list(results[1]) == [f"{one}{name}/accuracy/top1" for one in ("", "raw/") for name in SETS]
    assert not runner.val_loop.leaves_out("noisy/accuracy/top1")


def test_an_error_in_the_pass_with_trained_weights_leaves_them_in_place(make_runner):
    class Fails(Hook):
        seen = 0

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.seen += 1
            if self.seen == 3:  # the first batch of the second pass
                raise ZeroDivisionError

    average = EMAHook(momentum=0.1, evaluate="both")
    runner = make_runner(custom_hooks=[average, Fails()])
    with pytest.raises(ZeroDivisionError):
        runner.train()
    trained = runner.model.layers[0].weight
    assert not torch.equal(trained, average.ema_model.module.layers[0].weight)


def test_an_unknown_kind_of_weights():
    with pytest.raises(ValueError, match="evaluate must be 'ema', 'raw' or 'both', but it is 'avg'"):
        EMAHook(evaluate="avg")


# Precision.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, torch.float32),
        ({"dtype": "bfloat16"}, torch.bfloat16),
        ({"dtype": torch.bfloat16}, torch.bfloat16),
        ({"dtype": "float16"}, torch.float16),
        ({"fp16": True, "dtype": "float16"}, torch.float16),
    ],
)
def test_precision(make_runner, options, expected):
    class Outputs(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.dtype = outputs[0].dtype

    outputs = Outputs()
    runner = make_runner(val_cfg={**options, "with_loss": True}, custom_hooks=[outputs])
    assert runner.val()["loss"] > 0
    assert outputs.dtype is expected


# The sanity validation.


class Chance(BaseModel):
    """Draws from all generators in whatever it does."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(6, 3)

    def forward(self, inputs, labels, mode):
        scores = self.linear(inputs + 0.1 * torch.randn_like(inputs) + random.random())
        return (scores, labels) if mode == "predict" else {"loss": F.cross_entropy(scores, labels)}


def chance_run(make_runner, work_dir, **options):
    notes = Notes()
    runner = make_runner(
        model={"type": Chance},
        work_dir=work_dir,
        val_dataloader=SETS,
        val_cfg={"with_loss": True, **options},
        custom_hooks=[notes],
        randomness={"seed": 3, "running_streams": True},
    )
    runner.train()
    return [p.tolist() for p in runner.model.parameters()], notes.results, len(notes.batches)


def test_a_sanity_validation_changes_nothing(make_runner, tmp_path):
    assert chance_run(make_runner, tmp_path / "a", sanity_batches=2) == chance_run(make_runner, tmp_path / "b")


def test_a_sanity_validation_finds_early_what_would_fail_later(make_runner):
    class FailsInTheEnd(BaseMetric):
        evaluated = 0

        def process(self, data_batch, data_samples):
            self.results.extend(data_samples[1].tolist())

        def compute_metrics(self, results):
            self.evaluated = len(results)
            raise ZeroDivisionError("no such thing")

    metric = FailsInTheEnd()
    runner = make_runner(val_cfg={"sanity_batches": 1}, val_evaluator=metric)
    with pytest.raises(ZeroDivisionError) as caught:
        runner.train()
    assert (runner.iter, metric.evaluated, metric.results) == (0, 4, [])
    assert caught.value.__notes__[0] == "(raised in the sanity validation before training, of 1 batches)"


def test_a_sanity_validation_needs_a_loop_that_can(make_runner):
    class Own:
        def __init__(self, runner):
            self.runner = runner

    runner = make_runner(custom_hooks=[{"type": "SanityHook"}])
    runner.__dict__["val_loop"] = Own(runner)
    with pytest.raises(TypeError, match="SanityHook cannot validate some batches with Own, which has no rehearse"):
        runner.train()


def test_a_loader_or_evaluator_that_is_put_in_its_place_is_used(make_runner):
    runner = make_runner()
    loop = runner.val_loop
    loop.dataloader = DataLoader(vectors(5), batch_size=5)
    loop.evaluator = Evaluator(Accuracy(topk=2))
    assert list(loop.run()) == ["accuracy/top2"]
    assert isinstance(runner, Runner)
