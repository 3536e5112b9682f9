import math
import re
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mainspring import BaseModel, Runner
from mainspring.checkpoint import read_checkpoint
from mainspring.hooks import BadNumberError, BadNumbersHook, Hook, LoggerHook

BATCHES, SIZE = 7, 4
NAN = float("nan")


class Net(BaseModel):
    """A sample of only zeros has a finite loss and a gradient of NaN; one with a NaN, a loss of NaN."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, inputs, labels=None, mode="tensor"):
        scores = self.layers(inputs)
        if mode != "loss":
            return scores, labels
        lengths = (inputs @ self.layers[0].weight.t()).square().sum(1).sqrt()
        return {
            "loss_class": F.cross_entropy(scores, labels),
            "loss_length": 1e-3 * lengths.mean().detach() + 0 * lengths.sum(),
        }


def data(nan=(), zero=()):
    """Batches in their order, of which some have a sample that is bad."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(BATCHES * SIZE, 6, generator=generator)
    for batch in nan:
        inputs[batch * SIZE + 1, 2] = NAN
    for batch in zero:
        inputs[batch * SIZE + 1] = 0
    return DataLoader(TensorDataset(inputs, torch.arange(len(inputs)) % 3), batch_size=SIZE)


BY_EPOCH, BY_ITER = {"by_epoch": True, "max_epochs": 2}, {"by_epoch": False, "max_iters": 2 * BATCHES}
PLAIN = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "fused": False}
EVERY_ITERATION = {"type": "CheckpointHook", "interval": 1, "by_epoch": False}


def make(
    work_dir, loader, policy="raise", checkpoint=EVERY_ITERATION, optimizer=None, hooks=(), kind=Runner, **changes
):
    options = {"type": "BadNumbersHook", **({"policy": policy} if isinstance(policy, str) else policy)}
    wrapper = {"optimizer": optimizer or PLAIN, **changes.pop("wrapper", {})}
    return kind(
        **{
            "model": Net(),
            "work_dir": work_dir,
            "train_dataloader": loader,
            "train_cfg": BY_EPOCH,
            "optim_wrapper": wrapper,
            "default_hooks": {
                "bad_numbers": options,
                "checkpoint": checkpoint,
                "logger": {"type": "LoggerHook", "interval": 100},
                "summary": None,
            },
            "custom_hooks": list(hooks),
            "randomness": {"seed": 0},
            "log_level": "WARNING",
            **changes,
        }
    )


def failure(runner):
    with pytest.raises(BadNumberError) as caught:
        runner.train()
    return caught.value


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, BadNumbersHook))


def weights_in(file):
    return read_checkpoint(file)["state_dict"]


def saved(work_dir):
    return sorted((file.name for file in Path(work_dir).glob("iter_*.pth")), key=lambda name: int(name[5:-4]))


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.equal(other[name]), name


# raise


def test_error_names_what_is_bad_and_what_is_good(tmp_path):
    runner = make(tmp_path, data(nan=[4]))
    error = failure(runner)
    assert isinstance(error, ValueError)
    assert (error.iteration, error.places) == (4, ((0, 4),))
    lines = str(error).splitlines()
    assert lines[0] == "The loss is nan in iteration 5 of 14."
    assert lines[1] == "Not finite: loss_class is nan, loss_length is nan."
    assert "batch 4 of pass 0 over the data, counted from 0: samples 16 to 19" in str(error)
    assert re.search(r"The last checkpoint is good: '.*iter_4\.pth'", str(error))
    assert "policy='rollback'" in str(error)
    assert saved(tmp_path) == ["iter_1.pth", "iter_2.pth", "iter_3.pth", "iter_4.pth"]
    assert all(tensor.isfinite().all() for tensor in weights_in(tmp_path / "iter_4.pth").values())


def test_losses_that_are_finite_are_told_apart(tmp_path):
    class OneOfTwo(Net):
        def forward(self, inputs, labels=None, mode="tensor"):
            losses = super().forward(inputs.nan_to_num(), labels, mode)
            return {**losses, "loss_class": losses["loss_class"] + 0 * inputs.sum(), "mean": inputs.mean()}

    error = failure(make(tmp_path, data(nan=[2]), model=OneOfTwo()))
    assert re.search(r"^Not finite: loss_class is nan\.\nFinite: loss_length is 0\.\d+\.$", str(error), re.MULTILINE)


def test_batch_in_the_message_is_the_bad_one(tmp_path):
    runner = make(tmp_path, DataLoader(data(nan=[3]).dataset, batch_size=SIZE, shuffle=True))
    error = failure(runner)
    lines = re.search(r"To look at it: (.*)", str(error))[1].split("; ")
    seen = {"runner": runner}
    exec("\n".join(lines), seen)
    assert seen["batch"][0].isnan().sum() == 1


@pytest.mark.parametrize(
    ("train_cfg", "interval", "read_at"),
    [(BY_EPOCH, 1, 5), (BY_EPOCH, 6, 5), (BY_EPOCH, 4, 7), (BY_EPOCH, 5000, 7), (BY_ITER, 4, 7), (BY_ITER, 5000, 14)],
)
def test_first_bad_iteration_is_named_whenever_it_is_read(tmp_path, train_cfg, interval, read_at):
    runner = make(
        tmp_path, data(nan=[5]), {"policy": "raise", "interval": interval}, checkpoint=None, train_cfg=train_cfg
    )
    error = failure(runner)
    assert (error.iteration, error.places) == (5, ((0, 5),))
    assert "This run has saved no checkpoint yet." in str(error)
    assert runner.iter == read_at


def test_error_of_a_later_pass_names_it(tmp_path):
    class BreaksLater(Net):
        def forward(self, inputs, labels=None, mode="tensor"):
            losses = super().forward(inputs, labels, mode)
            self.calls = getattr(self, "calls", 0) + 1
            return losses if self.calls != BATCHES + 3 else {"loss": losses["loss_class"] * math.inf}

    error = failure(make(tmp_path, data(), checkpoint=None, model=BreaksLater(), train_cfg=BY_ITER))
    assert (error.iteration, error.places) == (BATCHES + 2, ((1, 2),))
    assert str(error).startswith("The loss is inf in iteration 10 of 14.")
    assert "Not finite" not in str(error).partition("What may help")[0]  # not all of its losses are there each time


@pytest.mark.parametrize(
    ("wrapper", "first", "places"),
    [
        ({}, "Weights are not finite after the update in iteration 4 of 14.", ((0, 3),)),
        ({"clip_grad": {"max_norm": 1.0}}, "The norm of the gradient is nan in iteration 4 of 14.", ((0, 3),)),
        (
            {"clip_grad": {"max_norm": 1.0}, "accumulative_counts": 2},
            "The norm of the gradient is nan in iteration 4 of 14, of the group that began with iteration 3.",
            ((0, 2), (0, 3)),
        ),
        ({"accumulative_counts": 7}, "The norm of the gradient is nan in iteration 4 of 14", ((0, 0), (0, 3))),
    ],
)
def test_bad_gradient_under_a_finite_loss_is_found_before_it_is_saved(tmp_path, wrapper, first, places):
    runner = make(tmp_path, data(zero=[3]), wrapper=wrapper)
    error = failure(runner)
    assert str(error).startswith(first)
    assert (error.places[0], error.places[-1]) == (places[0], places[-1])
    for name in saved(tmp_path):
        state = read_checkpoint(tmp_path / name)
        gathered = state["optimizer"].get("accumulated", {"gradients": {}})["gradients"]
        assert all(tensor.isfinite().all() for tensor in [*state["state_dict"].values(), *gathered.values()])
    assert saved(tmp_path)[-1] == "iter_3.pth"


def test_nothing_is_validated_or_saved_at_the_end_after_a_bad_number(tmp_path):
    checkpoint = {"type": "CheckpointHook", "interval": 100, "save_best": "accuracy/top1"}
    runner = make(
        tmp_path,
        data(nan=[6]),
        checkpoint=checkpoint,
        val_dataloader=data(),
        val_cfg={},
        val_evaluator={"type": "Accuracy"},
    )
    assert failure(runner).iteration == 6
    assert runner.epoch == 0
    assert list(tmp_path.glob("*.pth")) == []


def test_stop_by_a_hook_saves_nothing_bad(tmp_path):
    class Stops(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = batch_idx == 2

    runner = make(tmp_path, data(nan=[2]), train_cfg=BY_ITER, checkpoint={"type": "CheckpointHook"}, hooks=[Stops()])
    assert failure(runner).iteration == 2
    assert list(tmp_path.glob("*.pth")) == []


def test_signal_saves_nothing_bad(tmp_path):
    class Signals(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == 2:
                signal.raise_signal(signal.SIGTERM)

    runner = make(tmp_path, data(nan=[2]), checkpoint={"type": "CheckpointHook"}, hooks=[Signals()])
    assert failure(runner).iteration == 2
    assert list(tmp_path.glob("*.pth")) == []


def test_step_of_a_users_own_is_watched(tmp_path):
    class TwoLosses(Net):
        def train_step(self, data, optim_wrapper):
            inputs, labels = data
            losses = self(inputs, labels, mode="loss")
            optim_wrapper.update_params(losses["loss_length"] + 1)
            optim_wrapper.zero_grad()
            optim_wrapper.backward(self(inputs, labels, mode="loss")["loss_class"])
            optim_wrapper.step()
            return {}

    assert failure(make(tmp_path, data(nan=[3]), model=TwoLosses())).iteration == 3


def test_good_run_has_the_same_bits_with_every_policy(tmp_path):
    runs = {}
    for policy in ("raise", "skip", "rollback"):
        runner = make(tmp_path / policy, data(), policy, checkpoint=None)
        runner.train()
        runs[policy] = runner.model.state_dict()
        assert runner.optim_wrapper.watch is None
    without = make(tmp_path / "out", data(), checkpoint=None, default_hooks={"bad_numbers": None, "checkpoint": None})
    without.train()
    assert not any(isinstance(hook, BadNumbersHook) for hook in without.hooks)
    for weights in runs.values():
        assert_same_weights(weights, without.model.state_dict())


def test_model_that_has_trained_may_do_so_again(tmp_path):
    runner = make(tmp_path, data(nan=[1]), checkpoint=None)
    failure(runner)
    done = runner.iter
    assert failure(runner).iteration == done  # its weights are bad now


def test_reading_goes_with_the_log_line(tmp_path):
    reads = []

    class Watched(BadNumbersHook):
        def _look(self, runner):
            reads.append(runner.iter)
            super()._look(runner)

    default_hooks = {
        "bad_numbers": Watched(),
        "checkpoint": None,
        "logger": LoggerHook(interval=3),
    }
    make(tmp_path, data(), default_hooks=default_hooks, train_cfg={"by_epoch": True, "max_epochs": 1}).train()
    assert reads == [2, 5, 7, 7]  # the last at the ends of the epoch and of the run


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"policy": "skp"}, ValueError, r"policy must be .* 'skp'\. Did you mean 'skip'\?"),
        ({"policy": None}, ValueError, "policy must be"),
        ({"interval": 0}, ValueError, "interval must be at least 1, but it is 0"),
        ({"interval": "10"}, TypeError, "BadNumbersHook: interval"),
        ({"max_rollbacks": 0}, ValueError, "max_rollbacks must be at least 1"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        BadNumbersHook(**options)


# skip


OPTIMIZERS = [
    PLAIN,
    {"type": "SGD", "lr": 0.1, "momentum": 0.9, "fused": True},
    {"type": "Adam", "lr": 0.05, "fused": False},
    {"type": "Adam", "lr": 0.05, "fused": True},
]


def optimizer_of(model, config):
    options = dict(config)
    return getattr(torch.optim, options.pop("type"))(model.parameters(), **options)


def train_by_hand(loader, optimizer, counts=1, dtype=None, gamma=1.0, epochs=2):
    """Train as the run does, but not on groups of batches of which one is bad."""
    model = Net()
    rate, done = optimizer["lr"], 0
    optimizer = optimizer_of(model, optimizer)
    batches = [batch for _ in range(epochs) for batch in loader]
    for begin in range(0, len(batches), counts):
        group = batches[begin : begin + counts]
        done += len(group)
        if any(inputs.isnan().any() or (inputs == 0).all(1).any() for inputs, _ in group):
            continue
        for inputs, labels in group:
            with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                losses = model(inputs, labels, mode="loss")
            (sum(losses.values()) / len(group)).backward()
        for settings in optimizer.param_groups:
            settings["lr"] = rate * gamma ** (done - 1)
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def assert_as_by_hand(runner, model, optimizer):
    assert_same_weights(runner.model.state_dict(), model.state_dict())
    found, expected = runner.optim_wrapper.optimizer.state_dict()["state"], optimizer.state_dict()["state"]
    assert found.keys() == expected.keys()
    for index, state in found.items():
        for name, value in state.items():
            assert torch.as_tensor(value).equal(torch.as_tensor(expected[index][name])), (index, name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["momentum", "momentum, fused", "adam", "adam, fused"])
@pytest.mark.parametrize(("nan", "zero"), [([4], []), ([0, 6], [3])])
def test_skipped_step_has_not_happened(tmp_path, optimizer, nan, zero):
    loader = data(nan, zero)
    runner = make(tmp_path, loader, "skip", optimizer=optimizer)
    runner.train()
    assert_as_by_hand(runner, *train_by_hand(loader, optimizer))
    assert runner.iter == 2 * BATCHES
    assert saved(tmp_path)[-1] == "iter_14.pth"
    assert hook_of(runner).skipped == 2 * len([*nan, *zero])
    bad = [batch for batch in (*nan, *zero) if batch < 5]
    if bad:
        before, after = (weights_in(tmp_path / f"iter_{number}.pth") for number in (4, 5))
        assert (4 in bad) == all(before[name].equal(after[name]) for name in before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS[1:3], ids=["momentum, fused", "adam"])
@pytest.mark.parametrize("train_cfg", [BY_EPOCH, BY_ITER])
def test_bad_batch_takes_its_group_with_it(tmp_path, optimizer, train_cfg):
    loader = data([1], [5])
    runner = make(
        tmp_path, loader, "skip", optimizer=optimizer, train_cfg=train_cfg, wrapper={"accumulative_counts": 3}
    )
    runner.train()
    assert_as_by_hand(runner, *train_by_hand(loader, optimizer, counts=3))


def test_skipping_in_bfloat16_while_schedules_go_on(tmp_path):
    optimizer = {"type": "Adam", "lr": 0.05, "fused": True}
    runner = make(
        tmp_path,
        data([3]),
        "skip",
        optimizer=optimizer,
        wrapper={"type": "AmpOptimWrapper", "dtype": "bfloat16"},
        param_scheduler={"type": "ExponentialLR", "gamma": 0.9, "by_epoch": False},
    )
    runner.train()
    by_hand = train_by_hand(data([3]), optimizer, dtype=torch.bfloat16, gamma=0.9)
    for name, tensor in runner.model.state_dict().items():  # the learning rates differ in the last bits
        torch.testing.assert_close(tensor, by_hand[0].state_dict()[name])
    assert runner.optim_wrapper.get_lr()["lr"] == [pytest.approx(0.05 * 0.9**13)]


@pytest.mark.parametrize("stop", [4, 5, 8])
def test_run_that_stops_within_a_group_skips_it_as_a_whole(tmp_path, stop):
    options = {"policy": "skip", "wrapper": {"accumulative_counts": 4}}
    runner = make(tmp_path / "whole", data([6]), **options)
    runner.train()
    resumed = make(
        tmp_path / "part", data([6]), load_from=tmp_path / "whole" / f"iter_{stop}.pth", resume=True, **options
    )
    resumed.train()
    assert_as_by_hand(resumed, runner.model, runner.optim_wrapper.optimizer)
    assert_as_by_hand(resumed, *train_by_hand(data([6]), OPTIMIZERS[0], counts=4))
    assert hook_of(resumed).skipped == hook_of(runner).skipped == 2


def test_average_can_leave_out_what_the_step_has_left_out(tmp_path):
    asked = []

    class Asks(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            asked.append(runner.optim_wrapper.left_out)

    for optimizer in OPTIMIZERS[:2]:
        asked.clear()
        make(tmp_path, data([2]), "skip", checkpoint=None, optimizer=optimizer, hooks=[Asks()]).train()
        assert asked == [batch == 2 for batch in range(BATCHES)] * 2


def told(capsys):
    text = capsys.readouterr()
    return " ".join((text.out + text.err).split())


def test_log_names_the_iterations_and_says_once_that_it_waits(tmp_path, capsys):
    hooks = {
        "bad_numbers": {"type": "BadNumbersHook", "policy": "skip"},
        "checkpoint": None,
        "logger": {"type": "LoggerHook", "interval": 4},
        "summary": None,
    }
    make(tmp_path / "a", data([0, 1, 5]), default_hooks=hooks, log_level="INFO").train()
    text = told(capsys)
    assert text.count("policy 'skip' reads one number from the device in every step, since SGD cannot") == 1
    assert "SGD with fused=True can." in text
    assert "Left out 2 steps whose loss or gradient was not finite, in iteration 1, 2; 2 in this run so far." in text
    assert "Left out a step whose loss or gradient was not finite, in iteration 6; 3 in this run so far." in text

    make(tmp_path / "b", data(), default_hooks=hooks, log_level="INFO", optimizer=OPTIMIZERS[3]).train()
    assert "reads one number" not in told(capsys)


# rollback


class Recorded(Runner):
    def resume(self, filename, *args, **kwargs):
        self.resumed_from = [*getattr(self, "resumed_from", []), Path(filename).name]
        super().resume(filename, *args, **kwargs)


def without(loader, batches):
    """Return the batches of two passes but those that are left out, each given as (pass, number)."""
    every = [(place, batch) for place in (0, 1) for batch in enumerate(loader)]
    return [batch for place, (number, batch) in every if (place, number) not in batches]


def train_on(batches, optimizer=OPTIMIZERS[0], counts=1):
    model = Net()
    optimizer = optimizer_of(model, optimizer)
    for done, (inputs, labels) in enumerate(batches, 1):
        (sum(model(inputs, labels, mode="loss").values()) / counts).backward()
        if done % counts == 0:
            optimizer.step()
            optimizer.zero_grad()
    return model, optimizer


@pytest.mark.parametrize(("nan", "zero"), [([4], []), ([], [4]), ([6], [])])
@pytest.mark.parametrize("interval", [1, 3])
def test_epochs_go_on_without_the_batch(tmp_path, nan, zero, interval):
    loader = data(nan, zero)
    checkpoint = {**EVERY_ITERATION, "interval": interval}
    runner = make(tmp_path, loader, "rollback", checkpoint=checkpoint, kind=Recorded)
    runner.train()
    bad = (nan + zero)[0]
    assert runner.resumed_from == [f"iter_{done // interval * interval}.pth" for done in (bad, BATCHES - 1 + bad)]
    assert_as_by_hand(runner, *train_on(without(loader, [(0, bad), (1, bad)])))
    assert (runner.iter, runner.max_iters, runner.epoch) == (2 * BATCHES - 2, 2 * BATCHES - 2, 2)
    assert saved(tmp_path)[-1] == "iter_12.pth"
    assert runner.train_loop.left_out == {(0, bad), (1, bad)}


def test_iterations_take_another_batch(tmp_path):
    loader = data([4])
    runner = make(tmp_path, loader, "rollback", train_cfg={"by_epoch": False, "max_iters": 10})
    runner.train()
    assert runner.train_loop.left_out == {(0, 4)}
    assert_as_by_hand(runner, *train_on(without(loader, [(0, 4)])[:10]))
    assert runner.iter == 10


@pytest.mark.parametrize("train_cfg", [BY_EPOCH, BY_ITER])
def test_batches_behind_a_mark_are_those_that_come_there(tmp_path, train_cfg):
    seen = []

    class Records(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            place = runner.train_loop.place_of_batch(runner.iter)
            seen.append((place, data_batch[0][:, 0].tolist()))

    def run(name, places):
        seen.clear()
        loader = DataLoader(data().dataset, batch_size=SIZE, shuffle=True)
        runner = make(tmp_path / name, loader, checkpoint=None, train_cfg=train_cfg, hooks=[Records()])
        for place in places:
            runner.train_loop.leave_out(place)
        runner.train_loop.load_state_dict(runner.train_loop.state_dict())
        runner.train()
        return dict(seen), runner.iter

    every, _ = run("all", [])
    marks = [(0, 0), (0, 3), (0, 4), (1, BATCHES - 1)]
    found, done = run("some", marks)
    expected = {place: batch for place, batch in every.items() if place not in marks}
    if train_cfg is BY_EPOCH:
        assert found == expected
    else:  # and further ones, of the third pass
        assert expected.items() <= found.items()
        assert [place for place in found if place not in expected] == [(2, number) for number in range(4)]
    assert done == len(found)


def test_marks_are_saved_and_a_run_that_resumes_keeps_them(tmp_path):
    loader = data([2])
    whole = make(tmp_path / "whole", loader, "rollback")
    whole.train()
    marks = {n: read_checkpoint(tmp_path / "whole" / f"iter_{n}.pth")["train_loop"] for n in (2, 3, 6, 8, 9, 12)}
    assert {n: state["left_out"] for n, state in marks.items()} == {
        2: [],
        3: [[0, 2]],
        6: [[0, 2]],
        8: [[0, 2]],
        9: [[0, 2], [1, 2]],
        12: [[0, 2], [1, 2]],
    }
    for stop in (2, 3, 6, 8, 9):
        file = tmp_path / "whole" / f"iter_{stop}.pth"
        resumed = make(tmp_path / f"from_{stop}", loader, "rollback", load_from=file, resume=True)
        resumed.train()
        assert_as_by_hand(resumed, whole.model, whole.optim_wrapper.optimizer)
        assert (resumed.iter, resumed.max_iters) == (12, 12)
        assert resumed.train_loop.left_out == whole.train_loop.left_out


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_batch_that_has_made_gathering_gradients_bad_is_found(tmp_path, interval):
    loader, checkpoint = data(zero=[3]), {**EVERY_ITERATION, "interval": interval}
    runner = make(tmp_path, loader, "rollback", checkpoint=checkpoint, wrapper={"accumulative_counts": 3})
    runner.train()
    assert runner.train_loop.left_out == {(0, 3), (1, 3)}
    assert_as_by_hand(runner, *train_on(without(loader, [(0, 3), (1, 3)]), counts=3))


def test_run_goes_back_only_so_often(tmp_path):
    runner = make(tmp_path, data([1, 3, 5]), {"policy": "rollback", "max_rollbacks": 2})
    with pytest.raises(BadNumberError) as caught:
        runner.train()
    assert caught.value.iteration == 3  # batch 5: two are left out before it
    assert caught.value.places == ((0, 5),)
    assert "(The run has gone back 2 times, and max_rollbacks allows no more.)" in caught.value.__notes__
    assert runner.train_loop.left_out == {(0, 1), (0, 3)}


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(tmp_path):
    torch.save({}, tmp_path / "iter_9.pth")  # another run's
    with pytest.raises(BadNumberError):
        make(tmp_path, data([1]), "rollback", checkpoint={"type": "CheckpointHook", "interval": 100}).train()


def test_damaged_checkpoint_is_passed_over(tmp_path):
    class Damages(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 3:
                runner.checkpoint_writer.wait()
                (tmp_path / "iter_3.pth").write_bytes((tmp_path / "iter_3.pth").read_bytes()[:500])

    runner = make(
        tmp_path, data([3]), "rollback", train_cfg={"by_epoch": True, "max_epochs": 1}, hooks=[Damages()], kind=Recorded
    )
    runner.train()
    assert runner.resumed_from == ["iter_2.pth"]


# Several processes.


def train_on_a_rank(rank, directory):
    torch_dist.init_process_group("gloo", init_method=f"file://{directory / 'store'}", rank=rank, world_size=2)
    try:
        dataset = data([3] if rank == 1 else []).dataset
        own = DistributedSampler(dataset, num_replicas=1, rank=0, shuffle=False)  # all of it, though there are two
        loader = DataLoader(dataset, batch_size=SIZE, sampler=own)
        error = failure(make(directory / f"raise{rank}", loader, checkpoint=None))
        assert error.iteration == 3

        for optimizer in OPTIMIZERS[:2]:
            runner = make(directory / f"skip{rank}", loader, "skip", checkpoint=None, optimizer=optimizer)
            runner.train()
            assert hook_of(runner).skipped == 2
            left_out = [(0, 3), (1, 3)]
            assert_same_weights(
                runner.model.state_dict(), train_on(without(loader, left_out), optimizer)[0].state_dict()
            )
    finally:
        torch_dist.destroy_process_group()


def test_what_one_process_finds_all_processes_heed(tmp_path):
    mp.spawn(train_on_a_rank, args=(tmp_path,), nprocs=2)


# With an average.


def test_an_average_leaves_out_the_step_too(tmp_path):
    """A step that was left out moves an average no nearer to the weights."""

    def averaged(name, loader, **options):
        ema = {"type": "EMAHook", "momentum": 0.1}
        runner = make(tmp_path / name, loader, "skip", custom_hooks=[ema], **options)
        runner.train()
        (hook,) = (hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
        return hook.ema_model

    one_pass = {"by_epoch": True, "max_epochs": 1}
    skipping = averaged("skipping", data([BATCHES - 1]), train_cfg=one_pass)
    shorter = averaged("shorter", data(), train_cfg={"by_epoch": False, "max_iters": BATCHES - 1})
    assert skipping.updates == shorter.updates == BATCHES - 1
    for name, value in shorter.state_dict().items():
        assert torch.equal(skipping.state_dict()[name], value), name
