"""What hooks keep comes back as it was, to the hook that has kept it."""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from mainspring.checkpoint import CheckpointError, read_checkpoint
from mainspring.hooks import Hook

Point = namedtuple("Point", ["x", "y"])


class Phase(enum.Enum):
    WARM_UP = 1


class Keeps(Hook):
    """Keeps a value."""

    def __init__(self, value=None) -> None:
        self._value = value

    def state_dict(self):
        return {"deep": [{"value": self._value}]}

    def load_state_dict(self, state_dict):
        self._value = state_dict["deep"][0]["value"]


class Tallies(Hook):
    """Counts labels, each with its own settings."""

    def __init__(self, label: int, every: int = 1) -> None:
        self.label = label
        self.every = every
        self._count = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._count += int((data_batch[1] == self.label).sum())

    def state_dict(self):
        return {"label": self.label, "count": self._count}

    def load_state_dict(self, state_dict):
        self.loaded_from = state_dict["label"]
        self._count = state_dict["count"]


@dataclass
class Unhashable(Hook):
    number: int


@pytest.fixture
def train(make_runner):
    def run(*hooks, epochs=1, **changes):
        checkpoint = {"type": "CheckpointHook", "interval": 1}
        options = {"default_hooks": {"checkpoint": checkpoint, "summary": None}, "resume": "auto"}
        runner = make_runner(custom_hooks=list(hooks), train_cfg={"max_epochs": epochs}, **{**options, **changes})
        runner.train()
        return runner

    return run


# Types


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.float32(0.1),
        np.int64(3),
        Counter("aab"),
        Counter(np.array([1, 1, 2])),
        OrderedDict(b=1, a=2),
        defaultdict(list, a=[1]),
        deque([1, 2], maxlen=2),
        {1, 2},
        frozenset({1}),
        Path("a") / "b",
        (1, (2.5, "x")),
        b"",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_comes_back_in_its_type(train, value):
    train(Keeps(value))
    hook = Keeps()
    train(hook, epochs=2)
    assert type(hook._value) is type(value)
    assert np.array_equal(hook._value, value) if isinstance(value, np.ndarray) else hook._value == value
    for what in ("dtype", "maxlen", "default_factory"):
        assert getattr(hook._value, what, None) == getattr(value, what, None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Point(1, 2), ["test_hook_states.Point", "Save tuple(...) of it", "Point(*saved)"]),
        (Phase.WARM_UP, ["test_hook_states.Phase", "Save its value", "Phase(saved)"]),
        (defaultdict(lambda: 3), ["a defaultdict of <function", "Save dict(...) of it"]),
        (torch.nn.Linear(1, 1), ["torch.nn.modules.linear.Linear", "its state_dict()"]),
    ],
)
def test_what_cannot_come_back_is_refused_when_it_is_saved(train, value, words):
    with pytest.raises(TypeError) as caught:
        train(Keeps(value))
    assert str(caught.value).startswith("checkpoint['hooks']['Keeps']['deep'][0]['value'] is a ")
    for word in words:
        assert word in str(caught.value)


def test_what_a_hook_adds_to_a_checkpoint_comes_back_in_its_type(train, tmp_path):
    class Adds(Hook):
        loaded = None

        def before_save_checkpoint(self, runner, checkpoint):
            checkpoint["mine"] = {"histogram": np.ones(3, np.float16), Path("x"): deque([1])}

        def after_load_checkpoint(self, runner, checkpoint):
            self.loaded = checkpoint["mine"]

    train(Adds())
    hook = Adds()
    train(hook, epochs=2)
    assert hook.loaded["histogram"].dtype == np.float16
    assert hook.loaded[Path("x")] == deque([1])
    assert "mine" in torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=True)


class NumpyMomentum(torch.optim.Optimizer):
    """Keeps its state in arrays and numbers of NumPy, as optimizers of others may."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "window": deque(maxlen=2), "power": np.float32(0.9)})

    def step(self, closure=None):
        for group in self.param_groups:
            assert isinstance(group["power"], np.float32)
            group["window"].append(np.int64(len(group["window"])))
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state.setdefault("momentum", np.zeros(parameter.shape, np.float32))
                state["momentum"] *= group["power"]
                state["momentum"] += parameter.grad.numpy()
                parameter.data -= group["lr"] * torch.from_numpy(state["momentum"])


def test_an_optimizer_that_keeps_arrays_goes_on(train, tmp_path):
    config = {"optim_wrapper": {"optimizer": {"type": NumpyMomentum, "lr": 0.05}}}
    whole = train(epochs=2, work_dir=tmp_path / "whole", **config)
    train(epochs=1, **config)
    rest = train(epochs=2, **config)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[name], value), name
    group = rest.optim_wrapper.param_groups[0]
    assert (type(group["power"]), type(group["window"]), group["window"].maxlen) == (np.float32, deque, 2)


# Whose state it is


def counts(*hooks):
    return [(hook.loaded_from, hook._count) for hook in hooks if hasattr(hook, "loaded_from")]


@pytest.fixture
def saved(train):
    """Save the states of two hooks; return their counts by label."""
    hooks = Tallies(0), Tallies(2)
    train(*hooks)
    assert hooks[0]._count != hooks[1]._count
    return {hook.label: hook._count for hook in hooks}


def test_of_two_hooks_the_one_that_stays_gets_its_own_state(train, saved):
    hook = Tallies(2)
    train(hook)
    assert counts(hook) == [(2, saved[2])]


def test_two_hooks_in_another_order_get_their_own_states(train, saved):
    hooks = Tallies(2), Tallies(0)
    train(*hooks)
    assert counts(*hooks) == [(2, saved[2]), (0, saved[0])]


def test_a_hook_that_is_added_begins_anew(train, saved):
    hooks = Tallies(1), Tallies(0), Tallies(2)
    train(*hooks)
    assert counts(*hooks) == [(0, saved[0]), (2, saved[2])]
    assert not hasattr(hooks[0], "loaded_from")


def test_the_priority_tells_hooks_apart_too(train):
    first, second = Tallies(0), Tallies(0)
    first._count = 100
    first.priority = 60
    train(second, first)
    hook = Tallies(0)
    hook.priority = 60
    train(hook)
    assert hook._count == first._count > 100


def test_one_whose_settings_have_changed_takes_what_is_left(train, saved, capsys):
    hooks = Tallies(0, every=2), Tallies(2)
    train(*hooks)
    assert counts(*hooks) == [(0, saved[0]), (2, saved[2])]
    assert "1 of the hooks of the class Tallies have other settings than those that were saved" in (
        capsys.readouterr().out
    )


def test_a_single_hook_may_change_its_settings_without_a_word(train, capsys):
    train(Tallies(0))
    hook = Tallies(0, every=5)
    train(hook)
    assert counts(hook)[0][0] == 0
    assert "WARNING" not in capsys.readouterr().out


@pytest.mark.parametrize("now", [[Tallies(0, 2)], [Tallies(0, 2), Tallies(2, 2), Tallies(1, 2)]])
def test_where_nobody_can_tell_whose_state_it_is_the_run_does_not_guess(train, saved, now):
    with pytest.raises(CheckpointError) as caught:
        train(*now)
    text = str(caught.value)
    assert f"holds the states of 2 hooks of the class Tallies, and {len(now)} are configured" in text
    assert "Configure them as they were" in text


def test_hooks_that_keep_nothing_come_and_go(train):
    train(Hook(), Hook(), Unhashable(1), Unhashable(2))
    assert train(Hook(), Unhashable(3), epochs=2).epoch == 2


def test_files_without_settings_are_read_in_order(train, saved, tmp_path):
    checkpoint = read_checkpoint(tmp_path / "run" / "epoch_1.pth")
    del checkpoint["hook_settings"]
    torch.save(checkpoint, tmp_path / "old.pth")
    hooks = Tallies(2), Tallies(0)
    train(*hooks, load_from=tmp_path / "old.pth", resume=True, work_dir=tmp_path / "again")
    assert counts(*hooks) == [(0, saved[0]), (2, saved[2])]
    with pytest.raises(CheckpointError, match="do not tell whose state is whose"):
        train(Tallies(2), load_from=tmp_path / "old.pth", resume=True, work_dir=tmp_path / "fewer")


class LateCount(Hook):
    def __init__(self):
        self.count = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state_dict):
        self.count = state_dict["count"]


class RegistersLater(Hook):
    def before_train(self, runner):
        self.registered = LateCount()
        runner.register_hook(self.registered)


def test_a_hook_that_is_registered_when_training_begins_goes_on_too(make_runner):
    counts = []
    for epochs in (2, 3):
        first = RegistersLater()
        make_runner(custom_hooks=[first], train_cfg={"max_epochs": epochs}, resume="auto").train()
        counts.append(first.registered.count)
    assert counts == [10, 15]
