"""A run that is stopped and started again ends with the bits of one that was not disturbed."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

from mainspring import BaseModel, InfiniteSampler, MessageHub, Runner
from mainspring.checkpoint import CheckpointError, find_latest_checkpoint, read_checkpoint
from mainspring.hooks import CheckpointHook, Hook
from mainspring.visualization import read_scalars

EPOCHS = 4


class Images(Dataset):
    """22 images of one byte a channel. With ``chance`` each draws from the generators of Python, NumPy and torch."""

    def __init__(self, chance: bool = False) -> None:
        self.images = torch.randint(256, (22, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        self.chance = chance

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index]
        if self.chance:
            image = image.roll(random.randrange(6), 1).roll(int(np.random.randint(6)), 2)
            image = image ^ torch.randint(256, (1,), dtype=torch.uint8)
        return image, index % 4


class ConvNet(BaseModel):
    def __init__(self) -> None:
        super().__init__(
            {
                "type": "ImgDataPreprocessor",
                "mean": [127.0],
                "std": [60.0],
                "augments": {"type": "MixUp", "num_classes": 4},
            }
        )
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 4)
        )

    def forward(self, inputs, labels, mode="tensor"):
        scores = self.layers(inputs)
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels), "largest": scores.amax()}
        return (scores, labels) if mode == "predict" else scores


class StoppedError(Exception):
    pass


class Stop(Hook):
    """Breaks a run off at a stage, once so many epochs or iterations are done."""

    priority = "LOWEST"

    def __init__(self, stage: str, done: int, unit: str = "epoch") -> None:
        def act(runner: Runner, **kwargs: object) -> None:
            if getattr(runner, unit) == done:
                raise StoppedError

        setattr(self, stage, act)


class Flag(Hook):
    """Asks for the end of the run in its ninth iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 8:
            runner.train_loop.stop_training = True


class Record(Hook):
    """Writes down what happened."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.labels: list[list[int]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.events.append(("train", runner.iter))
        self.labels.append(data_batch[1].tolist())

    def before_val(self, runner):
        self.events.append(("val", runner.iter))


def own_loader(chance=False, workers=0, **options):
    dataset = {"dataset": Images(chance), "batch_size": 4, "num_workers": workers, "collate_fn": "default_collate"}
    return {**dataset, **({"shuffle": True} if "sampler" not in options else {}), **options}


def torch_loader(chance=False, workers=0):
    return DataLoader(Images(chance), batch_size=4, shuffle=True, num_workers=workers)


SGD = {"optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9}}
ADAM = {"optimizer": {"type": "Adam", "lr": 0.01}, "clip_grad": {"max_norm": 1.0}}
FLOAT16 = {"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": {"growth_interval": 5}, **SGD}
BFLOAT16 = {"type": "AmpOptimWrapper", "dtype": "bfloat16", **SGD, "accumulative_counts": 2}


def schedules(by_epoch=True, end=EPOCHS):
    first = 1 if by_epoch else 5
    unit = {"by_epoch": by_epoch}
    return [
        {"type": "LinearLR", "start_factor": 0.1, "end": first, "convert_to_iter_based": by_epoch, **unit},
        {"type": "CosineAnnealingLR", "begin": first, "end": end, **unit},
    ]


def make(work_dir, loader=None, hooks=(), checkpoint=None, **changes):
    arguments = {
        "model": {"type": ConvNet},
        "work_dir": work_dir,
        "train_dataloader": own_loader() if loader is None else loader,
        "train_cfg": {"by_epoch": True, "max_epochs": EPOCHS},
        "optim_wrapper": SGD,
        "param_scheduler": schedules(),
        "val_dataloader": {"dataset": Images(), "batch_size": 8, "collate_fn": "default_collate"},
        "val_cfg": {},
        "val_evaluator": {"type": "Accuracy"},
        "randomness": {"seed": 5},
        "default_hooks": {
            "checkpoint": {
                "type": "CheckpointHook",
                "interval": 1,
                "max_keep_ckpts": 2,
                "save_best": "auto",
                **(checkpoint or {}),
            },
            "logger": {"type": "LoggerHook", "interval": 2},
            "summary": {"type": "SummaryHook", "curves": None},
        },
        "custom_hooks": list(hooks),
        "log_level": "WARNING",
        **changes,
    }
    return Runner(**{name: value for name, value in arguments.items() if value is not None})


def frozen(value):
    """Return tensors as bytes in their containers, so that == means equal in every bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return [frozen(item) for item in value] if isinstance(value, (list, tuple)) else value


def outcome(runner):
    """Return all of a finished run that must not depend on where it was stopped."""
    (checkpoints,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    work_dir = Path(runner.work_dir)
    files = sorted(path.name for path in work_dir.glob("*.pth"))
    timing = ("time", "data_time", "eta", "memory")
    histories = runner.message_hub.state_dict()["log_scalars"]
    return {
        "position": (runner.epoch, runner.iter),
        "weights": frozen(runner.model.state_dict()),
        "optimizer": frozen(runner.optim_wrapper.state_dict()),
        "schedules": [schedule.state_dict() for schedule in runner.param_schedulers],
        "histories": frozen({name: h for name, h in histories.items() if not name.endswith("time")}),
        "records": [
            {name: value for name, value in record.items() if name not in timing}
            for record in read_scalars(runner.visualizer.backends[0].scalars_path)
        ],
        "best": checkpoints.best,
        "kept": checkpoints.kept,
        "files": files,
        "weights in files": {
            name: frozen(torch.load(work_dir / name, weights_only=True)["state_dict"]) for name in files
        },
        "newest": Path((work_dir / "last_checkpoint").read_text()).name,
    }


def undisturbed(work_dir, **changes):
    runner = make(work_dir, **changes)
    runner.train()
    return outcome(runner)


def stopped(work_dir, *stop, hooks=(), **changes):
    with pytest.raises(StoppedError):
        make(work_dir, hooks=[*hooks, Stop(*stop)], **changes).train()


def continued(work_dir, resume="auto", **changes):
    runner = make(work_dir, resume=resume, **changes)
    runner.train()
    return outcome(runner)


def check_same_end(tmp_path, *stop, resume="auto", **changes):
    # Loaders are made anew for each run, as in a new process.
    fresh = {name: value if name != "loader" else None for name, value in changes.items()}
    loader = changes.get("loader", own_loader)
    expected = undisturbed(tmp_path / "whole", **{**fresh, "loader": loader()})
    stopped(tmp_path / "run", *stop, **{**fresh, "loader": loader()})
    result = continued(tmp_path / "run", resume, **{**fresh, "loader": loader()})
    for part in expected:
        assert result[part] == expected[part], part


# By epochs.


@pytest.mark.parametrize(
    ("stage", "done"),
    [
        ("before_train_epoch", 1),  # after the first epoch and its validation
        ("before_train_epoch", 3),
        ("before_val", 2),  # between checkpoint and validation
        ("after_val_epoch", 2),  # between validation and the end of it
        ("before_train_iter", 2),  # in the next epoch: what it has done is lost, and done again
        ("after_train", EPOCHS),  # after the last checkpoint
    ],
)
def test_wherever_an_epoch_loop_is_stopped(tmp_path, stage, done):
    check_same_end(tmp_path, stage, done)


@pytest.mark.parametrize("optim_wrapper", [SGD, ADAM, BFLOAT16, FLOAT16], ids=["sgd", "adam", "bfloat16", "float16"])
@pytest.mark.parametrize("loader", [own_loader, torch_loader])
def test_optimizers_and_loaders(tmp_path, optim_wrapper, loader):
    check_same_end(
        tmp_path, "before_train_epoch", 2, resume=True, optim_wrapper=optim_wrapper, loader=lambda: loader(chance=True)
    )


@pytest.mark.parametrize("loader", [own_loader, torch_loader])
def test_workers_augment_as_before(tmp_path, loader):
    check_same_end(tmp_path, "before_train_epoch", 2, loader=lambda: loader(chance=True, workers=2))


@pytest.mark.parametrize("loader", [own_loader, torch_loader])
@pytest.mark.parametrize("workers", [0, 2])
def test_without_validation(tmp_path, loader, workers):
    nothing = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None, "checkpoint": {"save_best": None}}
    check_same_end(tmp_path, "before_train_iter", 2, loader=lambda: loader(True, workers), **nothing)


def test_stop_flag_ends_after_the_epoch_and_the_run_goes_on(tmp_path):
    first = make(tmp_path / "run", hooks=[Flag()])
    first.train()
    assert (first.epoch, first.iter) == (2, 12)
    assert continued(tmp_path / "run") == undisturbed(tmp_path / "whole")


def test_stopped_again_and_again(tmp_path):
    for done in range(1, EPOCHS):
        stopped(tmp_path / "run", "before_train_epoch", done, resume="auto")
    assert continued(tmp_path / "run") == undisturbed(tmp_path / "whole")


# Within an epoch.

WITHIN = {"checkpoint": {"interval": 4, "by_epoch": False}, "param_scheduler": schedules(False, 24)}


@pytest.mark.parametrize("loader", [own_loader, torch_loader])
@pytest.mark.parametrize("workers", [0, 2])
def test_checkpoint_within_an_epoch(tmp_path, loader, workers):
    check_same_end(tmp_path, "after_train_iter", 15, "iter", loader=lambda: loader(True, workers), **WITHIN)
    names = sorted(path.name for path in (tmp_path / "run").glob("iter_*.pth"))
    assert names == ["iter_20.pth", "iter_24.pth"]


@pytest.mark.parametrize("done", [3, 4, 11, 16, 20])
def test_every_place_of_a_checkpoint_within_an_epoch(tmp_path, done):
    """The checkpoint of 12 lies at the end of an epoch, the others anywhere in it."""
    check_same_end(tmp_path, "after_train_iter", done, "iter", loader=lambda: own_loader(True), **WITHIN)


class Buckets:
    """Batches in an order that it keeps shuffling."""

    batch_size = 4

    def __init__(self):
        self.indices = list(range(22))

    def __iter__(self):
        random.shuffle(self.indices)
        for begin in range(0, 22, 4):
            yield self.indices[begin : begin + 4]

    def __len__(self):
        return 6


def weighted_loader(workers=0):
    sampler = WeightedRandomSampler(range(1, 23), 22, generator=torch.Generator().manual_seed(3))
    return DataLoader(Images(True), batch_size=4, sampler=sampler, num_workers=workers)


def bucket_loader(workers=0):
    return DataLoader(Images(True), batch_sampler=Buckets(), num_workers=workers)


class StreamOfImages(IterableDataset):
    """Tells where it stands."""

    place = 0

    def __init__(self):
        self.images = Images(True)

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        while self.place < len(self.images):
            self.place += 1
            yield self.images[self.place - 1]
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state_dict):
        self.place = state_dict["place"]


class ForgetfulStream(IterableDataset):
    def __init__(self):
        self.images = Images(True)

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        return (self.images[index] for index in range(len(self.images)))


def stream_loader():
    return DataLoader(StreamOfImages(), batch_size=4)


def forgetful_loader(workers=0):
    return DataLoader(ForgetfulStream(), batch_size=4, num_workers=workers)


@pytest.mark.parametrize("loader", [weighted_loader, bucket_loader, stream_loader, forgetful_loader])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_orders_of_others_within_an_epoch(tmp_path, loader, by_epoch):
    train_cfg = {"max_epochs": 4} if by_epoch else {"by_epoch": False, "max_iters": 24, "val_interval": 6}
    check_same_end(tmp_path, "after_train_iter", 15, "iter", loader=loader, train_cfg=train_cfg, **WITHIN)


def test_weights_do_not_depend_on_workers(tmp_path):
    """Nor do they on when the run was stopped, and how many workers it had before."""
    ends = []
    for loader in (own_loader, torch_loader):
        whole = undisturbed(tmp_path / loader.__name__, loader=loader(True), **WITHIN)
        work_dir = tmp_path / f"{loader.__name__} with workers"
        stopped(work_dir, "after_train_iter", 10, "iter", loader=loader(True, 2), **WITHIN)
        stopped(work_dir, "after_train_iter", 18, "iter", loader=loader(True), resume="auto", **WITHIN)
        rest = continued(work_dir, loader=loader(True, 1), **WITHIN)
        for part in whole:
            assert rest[part] == whole[part], part
        ends.append(whole["weights"])
    assert ends[0] != ends[1]


class Guess(ConvNet):
    """Its predictions are in part by chance."""

    def forward(self, inputs, labels, mode="tensor"):
        outputs = super().forward(inputs, labels, mode)
        return (outputs[0] + torch.randn(outputs[0].shape), outputs[1]) if mode == "predict" else outputs


def test_validations_do_not_depend_on_workers(tmp_path):
    def answers(workers):
        runner = make(
            tmp_path / str(workers),
            model={"type": Guess},
            val_dataloader={**own_loader(True, workers), "shuffle": False},
        )
        runner.train()
        return frozen(runner.message_hub.get_scalar("val/accuracy/top1").state_dict())

    assert answers(0) == answers(2)


def test_running_streams_by_choice(tmp_path):
    """Without seeds for samples, a run of old goes on from the end of an epoch, as in plain torch."""
    running = {"randomness": {"seed": 5, "sample_seeding": False}}
    check_same_end(tmp_path / "a", "before_train_epoch", 2, loader=lambda: own_loader(True, 2), **running)
    seeded = undisturbed(tmp_path / "seeded", loader=own_loader(True, 2))
    assert seeded["weights"] != undisturbed(tmp_path / "running", loader=own_loader(True, 2), **running)["weights"]


def test_data_that_cannot_begin_anywhere_is_told_of_once(tmp_path):
    undisturbed(tmp_path / "a", loader=forgetful_loader())
    assert all_logs(tmp_path / "a").count("ForgetfulStream is iterable and has no state_dict") == 1
    undisturbed(tmp_path / "b", loader=stream_loader())
    assert "from its beginning again" not in all_logs(tmp_path / "b")


def test_position_of_a_checkpoint_that_tells_only_epoch_and_iteration(tmp_path):
    for by_epoch, position in ((True, (2, 13)), (False, (2, 13)), (True, (2, 12)), (False, (1, 11))):
        train_cfg = {"max_epochs": 4} if by_epoch else {"by_epoch": False, "max_iters": 24}
        loop = make(tmp_path, train_cfg=train_cfg, param_scheduler=None).train_loop
        loop.load_state_dict({"epoch": position[0], "iter": position[1]})
        state = loop.state_dict()
        assert (state["pass"], state["pass_begin"]) == (position[0], 6 * position[0])


# By iterations.


def infinite_loader(workers=0):
    return own_loader(True, workers, sampler={"type": InfiniteSampler, "shuffle": True})


def infinite_loader_with_workers():
    return infinite_loader(2)


@pytest.mark.parametrize("loader", [own_loader, torch_loader, infinite_loader, infinite_loader_with_workers])
@pytest.mark.parametrize(
    ("stage", "done"),
    [("before_train_iter", 14), ("before_val", 7), ("after_train_iter", 17), ("after_train_epoch", 21)],
)
def test_wherever_an_iteration_loop_is_stopped(tmp_path, stage, done, loader):
    check_same_end(
        tmp_path,
        *(stage, done, "iter"),
        loader=loader,
        train_cfg={"by_epoch": False, "max_iters": 21, "val_interval": 7},
        checkpoint={"interval": 7, "by_epoch": False},
        param_scheduler=schedules(False, 21),
    )


def test_iteration_loop_that_was_stopped_by_flag_goes_on(tmp_path):
    options = {
        "train_cfg": {"by_epoch": False, "max_iters": 20, "val_interval": 20},
        "checkpoint": {"interval": 20, "by_epoch": False, "save_best": None},
        "param_scheduler": schedules(False, 20),
    }
    first = make(tmp_path / "run", hooks=[Flag()], **options)
    first.train()
    assert find_latest_checkpoint(first.work_dir) == str(tmp_path / "run" / "iter_9.pth")
    result, expected = continued(tmp_path / "run", **options), undisturbed(tmp_path / "whole", **options)
    for part in ("position", "weights", "optimizer", "schedules", "newest"):
        assert result[part] == expected[part], part
    assert "finished already" not in all_logs(tmp_path / "run")


# What a resumed run does, and does not.


def all_logs(work_dir):
    return "".join(path.read_text() for path in sorted(Path(work_dir).glob("*/*.log")))


@pytest.mark.parametrize(
    ("options", "done"),
    [
        ({}, "4 of 4 epochs are done"),
        (
            {
                "train_cfg": {"by_epoch": False, "max_iters": 6, "val_interval": 3},
                "param_scheduler": None,
                "checkpoint": {"interval": 3, "by_epoch": False},
            },
            "6 of 6 iterations are done",
        ),
    ],
)
def test_finished_run_does_nothing_and_says_so(tmp_path, options, done):
    expected = undisturbed(tmp_path, **options)
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("*.pth")}
    record = Record()
    again = make(tmp_path, resume="auto", hooks=[record], log_level="INFO", **options)
    again.train()
    assert record.events == []
    assert outcome(again) == expected
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("*.pth")} == files
    assert f"finished already: {done}" in all_logs(tmp_path)


def test_more_epochs_continue(tmp_path):
    fixed = {"type": "StepLR", "step_size": 2, "gamma": 0.3}
    undisturbed(tmp_path / "run", train_cfg={"max_epochs": 2}, param_scheduler=fixed)
    result = continued(tmp_path / "run", train_cfg={"max_epochs": EPOCHS}, param_scheduler=fixed)
    assert result == undisturbed(tmp_path / "whole", param_scheduler=fixed)


def test_more_iterations_continue(tmp_path):
    def options(iterations):
        return {
            "train_cfg": {"by_epoch": False, "max_iters": iterations, "val_interval": 4},
            "checkpoint": {"interval": 4, "by_epoch": False},
            "param_scheduler": {"type": "StepLR", "step_size": 5, "by_epoch": False},
        }

    undisturbed(tmp_path / "run", **options(8))
    assert continued(tmp_path / "run", **options(16)) == undisturbed(tmp_path / "whole", **options(16))


def test_without_a_seed_the_checkpoint_s_is_taken(tmp_path):
    first = make(tmp_path / "run", hooks=[Stop("before_train_epoch", 2)], randomness=None)
    with pytest.raises(StoppedError):
        first.train()
    assert make(tmp_path / "other", randomness=None).seed != first.seed
    result = continued(tmp_path / "run", randomness=None)
    assert result == undisturbed(tmp_path / "whole", randomness={"seed": first.seed})


def test_another_seed_is_refused_unless_allowed(tmp_path):
    stopped(tmp_path, "before_train_epoch", 2)
    with pytest.raises(CheckpointError, match=r"seed: 5 then, 6 now\n.*allow_changed=\['seed'\]"):
        make(tmp_path, resume=True, randomness={"seed": 6}).train()
    make(tmp_path, resume=True, randomness={"seed": 6}, allow_changed=["seed"]).train()
    assert "as allowed: seed: 5 then, 6 now" in all_logs(tmp_path)


def test_validation_that_was_due_comes_first(tmp_path):
    stopped(tmp_path, "before_val", 2)
    record = Record()
    make(tmp_path, resume="auto", hooks=[record]).train()
    assert record.events[:2] == [("val", 12), ("train", 12)]


@pytest.mark.parametrize("resume", [True, "auto"])
def test_resume_where_there_is_nothing_begins(tmp_path, resume):
    assert continued(tmp_path / "run", resume) == undisturbed(tmp_path / "whole")


def test_weights_for_a_beginning_give_way_to_a_checkpoint(tmp_path):
    class First(Hook):
        def before_train(self, runner):
            self.weights = frozen(runner.model.state_dict())

    undisturbed(tmp_path / "other", randomness={"seed": 1})
    given = torch.load(tmp_path / "other" / "epoch_4.pth", weights_only=True)["state_dict"]
    start, again = First(), First()
    options = {"resume": "auto", "load_from": tmp_path / "other" / "epoch_4.pth"}
    stopped(tmp_path / "run", "before_train_epoch", 1, hooks=[start], **options)
    assert start.weights == frozen(dict(given))
    make(tmp_path / "run", hooks=[again], **options).train()
    saved = torch.load(tmp_path / "other" / "epoch_4.pth", weights_only=True)["state_dict"]
    assert again.weights != frozen(dict(saved))


def test_resume_from_a_named_checkpoint(tmp_path):
    keep_all = {"max_keep_ckpts": -1, "save_best": None}
    whole = undisturbed(tmp_path / "whole", checkpoint=keep_all)
    result = continued(tmp_path / "run", resume=True, load_from=tmp_path / "whole" / "epoch_2.pth", checkpoint=keep_all)
    assert result["weights"] == whole["weights"]
    assert result["files"] == ["epoch_3.pth", "epoch_4.pth"]


# Files.


def test_surplus_checkpoints_go_across_a_resume(tmp_path):
    options = {"checkpoint": {"max_keep_ckpts": 2, "save_best": None}}
    stopped(tmp_path, "before_train_epoch", 3, **options)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["epoch_2.pth", "epoch_3.pth"]
    assert continued(tmp_path, **options)["files"] == ["epoch_3.pth", "epoch_4.pth"]


def test_last_is_saved_whatever_the_interval(tmp_path):
    options = {"checkpoint": {"interval": 3, "save_best": None}}
    stopped(tmp_path, "before_train_epoch", 3, **options)
    assert continued(tmp_path, **options)["files"] == ["epoch_3.pth", "epoch_4.pth"]
    options = {"checkpoint": {"interval": 3, "save_best": None, "save_last": False}}
    assert undisturbed(tmp_path / "other", **options)["files"] == ["epoch_3.pth"]


class Scores(Hook):
    """Replaces what validations answer."""

    priority = "HIGHEST"

    def __init__(self, *scores):
        self.scores = scores

    def after_val_epoch(self, runner, metrics=None):
        metrics["accuracy/top1"] = self.scores[runner.epoch - 1]


def test_best_checkpoint_is_replaced_across_a_resume(tmp_path):
    stopped(tmp_path, "before_train_epoch", 3, hooks=[Scores(50, 70, 60, 80)])
    assert [path.name for path in tmp_path.glob("best*")] == ["best_accuracy_top1_epoch_2.pth"]
    result = continued(tmp_path, hooks=[Scores(50, 70, 60, 80)])
    assert [path.name for path in tmp_path.glob("best*")] == ["best_accuracy_top1_epoch_4.pth"]
    assert result["best"]["accuracy/top1"]["score"] == 80


def test_best_checkpoint_survives_a_worse_rest(tmp_path):
    stopped(tmp_path, "before_train_epoch", 3, hooks=[Scores(50, 70, 60, 65)])
    result = continued(tmp_path, hooks=[Scores(50, 70, 60, 65)])
    assert [path.name for path in tmp_path.glob("best*")] == ["best_accuracy_top1_epoch_2.pth"]
    assert result["best"]["accuracy/top1"]["score"] == 70


@pytest.mark.parametrize("pointer", ["/nowhere/else/epoch_9.pth", "epoch_9.pth", "", "/moved/from/epoch_2.pth"])
def test_pointer_to_a_file_that_is_not_there(tmp_path, pointer):
    """Names are looked for in the directory itself; where there is no such file, the newest is taken."""
    stopped(tmp_path / "run", "before_train_epoch", 2)
    (tmp_path / "run" / "last_checkpoint").write_text(pointer)
    assert find_latest_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "epoch_2.pth")
    assert continued(tmp_path / "run") == undisturbed(tmp_path / "whole")


def test_pointer_never_leads_out_of_the_directory(tmp_path):
    stopped(tmp_path / "other", "before_train_epoch", 2)
    stopped(tmp_path / "run", "before_train_epoch", 1)
    (tmp_path / "run" / "last_checkpoint").write_text(str(tmp_path / "other" / "epoch_2.pth"))
    assert find_latest_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "epoch_1.pth")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_checkpoint_is_refused_by_name(tmp_path, keep):
    stopped(tmp_path, "before_train_epoch", 2)
    newest = tmp_path / "epoch_2.pth"
    content = newest.read_bytes()
    newest.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match=r"epoch_2\.pth"):
        make(tmp_path, resume=True, load_from=newest).train()


def test_a_flipped_bit_leads_back_to_the_checkpoint_before(tmp_path):
    expected = undisturbed(tmp_path / "whole")
    stopped(tmp_path / "run", "before_val", 2)
    newest = tmp_path / "run" / "epoch_2.pth"
    content = bytearray(newest.read_bytes())
    content[content.find(torch.load(newest)["state_dict"]["layers.0.weight"].numpy().tobytes()) + 5] ^= 1
    newest.write_bytes(content)
    assert continued(tmp_path / "run") == expected
    assert "epoch_2.pth' is damaged" in all_logs(tmp_path / "run")


def test_where_nothing_is_whole_no_run_begins_unasked(tmp_path):
    stopped(tmp_path, "before_val", 1)
    (tmp_path / "epoch_1.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"(?s)Not one of the checkpoints .*epoch_1\.pth.*pass resume=False"):
        make(tmp_path, resume="auto")


def test_other_model_is_refused_by_name(tmp_path, net):
    stopped(tmp_path, "before_train_epoch", 1)
    with pytest.raises(CheckpointError, match=r"epoch_1\.pth.* do not fit Net"):
        make(tmp_path, model={"type": net}, resume="auto").train()


# Killed for real.

SCRIPT = """
import importlib.util, pickle, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("runs", sys.argv[1])
runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runs)
runs.torch.set_num_threads(1)
runner = runs.make(Path(sys.argv[2]), resume="auto", log_level="INFO", checkpoint={"max_keep_ckpts": -1})
runner.train()
Path(sys.argv[2], "outcome").write_bytes(pickle.dumps(runs.outcome(runner)))
"""


def command(work_dir):
    return [sys.executable, "-u", "-c", SCRIPT, __file__, str(work_dir)]


def killed_at(work_dir, line):
    """Run the command, and kill it when it has written a line that holds the text, if it ever does."""
    with subprocess.Popen(command(work_dir), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        for text in process.stdout:
            if line in text:
                os.kill(process.pid, signal.SIGKILL)
                break
    return process.returncode


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_kill_and_the_same_command_again(tmp_path):
    expected = undisturbed(tmp_path / "whole", checkpoint={"max_keep_ckpts": -1})
    work_dir = tmp_path / "run"
    # While the first checkpoint is written or just after, in a validation or just before, in a log line's epoch.
    for line in ("Saving checkpoint at 1 epochs", "Epoch(val) [2]", "Epoch(train) [3]"):
        assert killed_at(work_dir, line) == -signal.SIGKILL
    done = subprocess.run(command(work_dir), capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = pickle.loads((work_dir / "outcome").read_bytes())
    for part in expected:
        assert result[part] == expected[part], part


# Several purposes, several runs.


@pytest.mark.parametrize("randomness", [None, {"seed": 5}])
def test_the_checkpoint_is_read_once(tmp_path, monkeypatch, randomness):
    stopped(tmp_path, "before_train_epoch", 2)
    read, names = torch.load, []
    monkeypatch.setattr(torch, "load", lambda path, **options: names.append(Path(path).name) or read(path, **options))
    runner = make(tmp_path, resume=True, randomness=randomness, hooks=[Stop("before_train_epoch", 2)])
    with pytest.raises(StoppedError):
        runner.train()
    assert names == ["epoch_2.pth"]
    runner.resume(tmp_path / "epoch_2.pth")
    assert names == ["epoch_2.pth"] * 2, "it is not kept"


def test_what_was_read_for_the_seed_is_not_taken_for_another_file(tmp_path):
    stopped(tmp_path, "before_train_epoch", 2)
    weights = {name: torch.full_like(value, 2) for name, value in ConvNet().state_dict().items()}
    torch.save(weights, tmp_path / "weights.pth")
    runner = make(tmp_path, resume=True, randomness=None)
    assert runner.load_checkpoint(tmp_path / "weights.pth").keys() == weights.keys()


class Described(Images):
    @property
    def metainfo(self):
        return {"classes": ("a", "b"), "to_name": lambda index: "ab"[index], "root": Path("images"), "lock": object()}


def test_what_cannot_be_saved_of_the_metainfo_is_left_out_with_one_warning(tmp_path):
    runner = make(tmp_path, loader=own_loader() | {"dataset": Described()})
    runner.train()
    for path in tmp_path.glob("epoch_*.pth"):
        meta = read_checkpoint(path)["meta"]
        assert meta["dataset_meta"] == {"classes": ("a", "b"), "root": Path("images")}
    lines = [line for line in all_logs(tmp_path).splitlines() if "'dataset_meta'" in line]
    assert len(lines) == 1
    assert "['to_name'] is a builtins.function" in lines[0]
    assert "['lock'] is a builtins.object" in lines[0]


# Settings come from the configuration, progress from the checkpoint.


def with_weight_decay(lr, weight_decay):
    return {"optimizer": {"type": "SGD", "lr": lr, "momentum": 0.9, "weight_decay": weight_decay}}


@pytest.mark.parametrize("scheduled", [False, True])
def test_settings_that_were_changed_hold_and_are_named(tmp_path, scheduled):
    schedule = {"type": "StepLR", "step_size": 2, "gamma": 0.5} if scheduled else None
    options = {"param_scheduler": schedule, "log_level": "INFO"}
    stopped(tmp_path, "before_train_epoch", 2, optim_wrapper=with_weight_decay(0.05, 0.0), **options)
    momentum = torch.load(tmp_path / "epoch_2.pth")["optimizer"]["state"]
    runner = make(tmp_path, optim_wrapper=with_weight_decay(0.02, 0.001), **options)
    runner.resume(tmp_path / "epoch_2.pth")
    (group,) = runner.optim_wrapper.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.01 if scheduled else 0.02, 0.001)
    assert frozen(runner.optim_wrapper.state_dict()["state"]) == frozen(momentum)
    (line,) = [line for line in all_logs(tmp_path).splitlines() if "Settings of SGD that have changed" in line]
    assert line.endswith("hold from here on: lr from 0.05 to 0.02, weight_decay from 0.0 to 0.001.")


class Halve(Hook):
    """Changes the learning rate by hand."""

    def after_train_epoch(self, runner):
        runner.optim_wrapper.param_groups[0]["lr"] /= 2


def test_what_the_training_changed_by_itself_is_progress(tmp_path):
    options = {"param_scheduler": None, "log_level": "INFO", "auto_scale_lr": {"base_batch_size": 2, "enable": True}}
    stopped(tmp_path, "before_train_epoch", 2, hooks=[Halve()], **options)
    runner = make(tmp_path, **options)
    assert runner.optim_wrapper.get_lr() == {"lr": [0.1]}
    runner.resume(tmp_path / "epoch_2.pth")
    assert runner.optim_wrapper.get_lr() == {"lr": [0.025]}
    assert "have changed" not in all_logs(tmp_path)


def test_another_batch_size_scales_the_rate_anew(tmp_path):
    options = {"param_scheduler": None, "auto_scale_lr": {"base_batch_size": 2, "enable": True}}
    stopped(tmp_path, "before_train_epoch", 2, **options)
    runner = make(tmp_path, loader=own_loader(batch_size=8), allow_changed=["batch_size"], **options)
    runner.resume(tmp_path / "epoch_2.pth")
    assert runner.optim_wrapper.get_lr() == {"lr": [0.2]}


def test_train_validate_and_test_on_one_runner(tmp_path):
    runner = make(
        tmp_path,
        test_dataloader={"dataset": Images(), "batch_size": 8, "collate_fn": "default_collate"},
        test_cfg={},
        test_evaluator={"type": "Accuracy"},
    )
    runner.train()
    weights = frozen(runner.model.state_dict())
    last = runner.message_hub.get_scalar("val/accuracy/top1").current()
    assert runner.val() == {"accuracy/top1": last}
    assert runner.test() == {"accuracy/top1": last}
    assert frozen(runner.model.state_dict()) == weights


@pytest.mark.parametrize("mode", ["val", "test"])
def test_evaluation_alone_takes_the_weights(tmp_path, mode):
    trained = make(tmp_path / "run")
    trained.train()
    data = {"dataset": Images(), "batch_size": 8, "collate_fn": "default_collate"}
    runner = Runner(
        model={"type": ConvNet},
        work_dir=tmp_path / "alone",
        load_from=tmp_path / "run" / "epoch_4.pth",
        **{f"{mode}_dataloader": data, f"{mode}_cfg": {}, f"{mode}_evaluator": {"type": "Accuracy"}},
        log_level="WARNING",
    )
    answers = getattr(runner, mode)()
    assert answers == {"accuracy/top1": trained.message_hub.get_scalar("val/accuracy/top1").current()}
    assert frozen(runner.model.state_dict()) == frozen(trained.model.state_dict())


def test_two_runners_do_not_disturb_each_other(tmp_path):
    """Made in turns and trained one inside the other, they end as each does alone."""
    changes = [{"optim_wrapper": ADAM}, {"optim_wrapper": SGD, "randomness": {"seed": 9}}]
    alone = [undisturbed(tmp_path / f"alone{number}", **change) for number, change in enumerate(changes)]

    inner = make(tmp_path / "inner", **changes[1])

    class Between(Hook):
        priority = "LOWEST"

        def before_train_epoch(self, runner):
            if runner.epoch == 2:
                random_state = torch.get_rng_state()
                inner.train()
                torch.set_rng_state(random_state)

    outer = make(tmp_path / "outer", hooks=[Between()], **changes[0])
    outer.train()
    assert outcome(outer) == alone[0]
    assert outcome(inner) == alone[1]
    assert outer.message_hub is not inner.message_hub
    assert MessageHub.get_instance(inner.experiment_name) is inner.message_hub
    logs = {Path(runner.logger.log_file) for runner in (outer, inner)}
    assert {path.parents[1].name for path in logs} == {"outer", "inner"}
    assert str(tmp_path / "inner") not in all_logs(tmp_path / "outer")
    assert str(tmp_path / "outer") not in all_logs(tmp_path / "inner")


def test_another_batch_size_at_an_epochs_end_trains_all_that_is_left(make_runner, make_loader, capsys):
    make_runner(train_cfg={"max_epochs": 2}, train_dataloader=make_loader(batch_size=2)).train()
    changed = {"train_dataloader": make_loader(batch_size=5), "allow_changed": ["batch_size"]}
    runner = make_runner(train_cfg={"max_epochs": 4}, resume="auto", **changed)
    runner.train()

    assert "An epoch had 10 batches and has 4 now" in capsys.readouterr().out
    assert (runner.epoch, runner.iter, runner.max_iters) == (4, 2 * 10 + 2 * 4, 28)


def test_another_batch_size_within_an_epoch_is_refused(make_runner, make_loader, tmp_path):
    hooks = {"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 7, "save_last": False}}
    make_runner(train_cfg={"max_epochs": 1}, train_dataloader=make_loader(batch_size=2), default_hooks=hooks).train()
    changed = {"train_dataloader": make_loader(batch_size=5), "allow_changed": ["batch_size"]}
    runner = make_runner(train_cfg={"max_epochs": 1}, resume="auto", **changed)

    with pytest.raises(ValueError, match="stopped within an epoch of 10 batches, but an epoch has 4 batches now"):
        runner.train()


def test_the_first_error_about_a_batch_size_names_what_helps(make_runner, make_loader, tmp_path):
    """Within an epoch allowing the change does not; from the end of one it does."""
    hooks = {"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 5, "save_last": False}}
    make_runner(train_cfg={"max_epochs": 2}, train_dataloader=make_loader(batch_size=2), default_hooks=hooks).train()
    folder = tmp_path / "run"

    def go_on(name, **changes):
        options = {"load_from": folder / name, "resume": True, "work_dir": tmp_path / name, "default_hooks": hooks}
        runner = make_runner(
            train_cfg={"max_epochs": 2}, train_dataloader=make_loader(batch_size=5), **options, **changes
        )
        runner.train()
        return runner

    with pytest.raises(CheckpointError) as caught:
        go_on("iter_5.pth")
    lines = str(caught.value).splitlines()
    assert lines[1].strip() == "batch size x accumulated iterations x processes: 2 then, 5 now"
    assert lines[-1].startswith(
        "Configure the run as it was: it lies within an epoch of 10 batches, and an epoch has 4 now, so that its place"
        " is lost. From a checkpoint that was saved at the end of an epoch, a run can go on so"
    )
    by_epoch = {"checkpoint": {"type": "CheckpointHook", "interval": 1}}
    first = {"train_cfg": {"max_epochs": 1}, "train_dataloader": make_loader(batch_size=2), "default_hooks": by_epoch}
    make_runner(work_dir=tmp_path / "run", **first).train()
    with pytest.raises(CheckpointError, match=r"if this is meant, pass allow_changed=\['batch_size'\]"):
        go_on("epoch_1.pth")
    assert go_on("epoch_1.pth", allow_changed=["batch_size"]).iter == 10 + 4


NOT_ALL = [
    ({"save_optimizer": False}, "save_optimizer=False. Leave"),
    ({"save_param_scheduler": False}, "save_param_scheduler=False. Leave"),
    (
        {"save_optimizer": False, "save_param_scheduler": False},
        "save_optimizer=False and save_param_scheduler=False. Leave",
    ),
]


@pytest.mark.parametrize(("options", "told"), NOT_ALL)
def test_what_no_run_could_go_on_from_is_said_before_training(make_runner, capsys, options, told):
    hooks = {"checkpoint": {"type": "CheckpointHook", **options}}
    schedule = {"param_scheduler": {"type": "StepLR", "step_size": 1}}
    make_runner(default_hooks=hooks, resume="auto", **schedule).train()
    out = capsys.readouterr().out
    assert out.count("This run was told to resume, but no run can go on") == 1
    assert told in out


@pytest.mark.parametrize(
    ("options", "resume"), [({"save_optimizer": False}, False), ({"save_param_scheduler": False}, "auto"), ({}, True)]
)
def test_where_a_run_can_go_on_or_will_not_nothing_is_said(make_runner, capsys, options, resume):
    """Without schedules, theirs are not missed."""
    make_runner(default_hooks={"checkpoint": {"type": "CheckpointHook", **options}}, resume=resume).train()
    assert "no run can go on" not in capsys.readouterr().out
