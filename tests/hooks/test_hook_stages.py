"""The stages of hooks, their order, and who is called."""

import traceback
from pathlib import Path

import pytest

from mainspring.hooks import Hook, HookList, Priority, get_priority

STAGES = (
    "before_run",
    "after_load_checkpoint",
    "before_train",
    "before_train_epoch",
    "before_train_iter",
    "after_train_iter",
    "after_train_epoch",
    "before_val",
    "before_val_epoch",
    "before_val_iter",
    "after_val_iter",
    "after_val_epoch",
    "after_val",
    "before_save_checkpoint",
    "after_train",
    "before_test",
    "before_test_epoch",
    "before_test_iter",
    "after_test_iter",
    "after_test_epoch",
    "after_test",
    "after_run",
)


class Recorder(Hook):
    """Writes down stage, epoch, iteration and batch of all that happens."""

    priority = "LOWEST"

    def __init__(self):
        self.calls = []


def _record(stage):
    def act(self, runner, **kwargs):
        self.calls.append((stage, runner.epoch, runner.iter, kwargs.get("batch_idx")))

    return act


for _stage in STAGES:
    setattr(Recorder, _stage, _record(_stage))

VALIDATION = ("before_val", "before_val_epoch", "before_val_iter", "after_val_iter", "after_val_epoch", "after_val")
TEST = ("before_test", "before_test_epoch", "before_test_iter", "after_test_iter", "after_test_epoch", "after_test")


def evaluation(stages, epoch, iteration):
    return [(stage, epoch, iteration, 0 if "iter" in stage else None) for stage in stages]


@pytest.fixture
def record_run(make_runner, make_loader):
    def run(train_cfg):
        recorder = Recorder()
        runner = make_runner(
            train_dataloader=make_loader(4, 2),
            train_cfg=train_cfg,
            val_dataloader=make_loader(4),
            test_dataloader=make_loader(4),
            test_cfg={},
            test_evaluator={"type": "Accuracy"},
            default_hooks={"checkpoint": None},
            custom_hooks=[recorder],
        )
        runner.train()
        train_calls = recorder.calls.copy()
        recorder.calls.clear()
        runner.test()
        return train_calls, recorder.calls

    return run


def test_there_are_22_stages_in_the_order_of_a_run():
    assert Hook.stages == STAGES
    assert all(callable(getattr(Hook, stage)) for stage in STAGES)


def test_an_epoch_run(record_run):
    """The order and the counts are those of MMEngine 0.10.7."""
    train, test = record_run({"by_epoch": True, "max_epochs": 2, "val_interval": 2})
    assert train == [
        ("before_run", 0, 0, None),
        ("before_train", 0, 0, None),
        ("before_train_epoch", 0, 0, None),
        ("before_train_iter", 0, 0, 0),
        ("after_train_iter", 0, 0, 0),
        ("before_train_iter", 0, 1, 1),
        ("after_train_iter", 0, 1, 1),
        ("after_train_epoch", 0, 2, None),
        ("before_train_epoch", 1, 2, None),
        ("before_train_iter", 1, 2, 0),
        ("after_train_iter", 1, 2, 0),
        ("before_train_iter", 1, 3, 1),
        ("after_train_iter", 1, 3, 1),
        ("after_train_epoch", 1, 4, None),
        *evaluation(VALIDATION, 2, 4),
        ("after_train", 2, 4, None),
        ("after_run", 2, 4, None),
    ]
    assert test == [("before_run", 2, 4, None), *evaluation(TEST, 2, 4), ("after_run", 2, 4, None)]


def test_an_iteration_run(record_run):
    train, _ = record_run({"by_epoch": False, "max_iters": 3, "val_interval": 2})
    assert train[:-2] == [
        ("before_run", 0, 0, None),
        ("before_train", 0, 0, None),
        ("before_train_epoch", 0, 0, None),
        ("before_train_iter", 0, 0, 0),
        ("after_train_iter", 0, 0, 0),
        ("before_train_iter", 0, 1, 1),
        ("after_train_iter", 0, 1, 1),
        *evaluation(VALIDATION, 0, 2),
        ("before_train_iter", 0, 2, 2),
        ("after_train_iter", 0, 2, 2),
        *evaluation(VALIDATION, 0, 3),
        ("after_train_epoch", 0, 3, None),
    ]
    assert [call[0] for call in train[-2:]] == ["after_train", "after_run"]


def test_checkpoint_stages_see_the_checkpoint(make_runner, tmp_path):
    class Adds(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            checkpoint["note"] = f"at {runner.iter}"

        def after_load_checkpoint(self, runner, checkpoint):
            self.found = checkpoint["note"]

    saver, loader = Adds(), Adds()
    make_runner(custom_hooks=[saver]).save_checkpoint(tmp_path, "now.pth")
    make_runner(custom_hooks=[loader]).load_checkpoint(tmp_path / "now.pth")
    assert loader.found == "at 0"


def test_loops_hand_over_batches_outputs_and_metrics(make_runner, make_loader):
    seen = {}

    class Looks(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen["train"] = (len(data_batch[0]), sorted(outputs))

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen["val"] = (len(data_batch[0]), outputs[0].shape)

        def after_val_epoch(self, runner, metrics=None):
            seen["metrics"] = list(metrics)

    make_runner(custom_hooks=[Looks()]).train()
    assert seen == {"train": (4, ["loss"]), "val": (4, (4, 3)), "metrics": ["accuracy/top1"]}


# Priorities


@pytest.mark.parametrize(
    ("priority", "number"),
    [
        ("HIGHEST", 0),
        ("VERY_HIGH", 10),
        ("HIGH", 30),
        ("ABOVE_NORMAL", 40),
        ("NORMAL", 50),
        ("BELOW_NORMAL", 60),
        ("LOW", 70),
        ("VERY_LOW", 90),
        ("LOWEST", 100),
        ("normal", 50),
        (0, 0),
        (42, 42),
        (100, 100),
        (Priority.HIGH, 30),
    ],
)
def test_priorities(priority, number):
    assert get_priority(priority) == number
    assert type(get_priority(priority)) is int


@pytest.mark.parametrize(
    ("priority", "error", "message"),
    [
        (
            "NORML",
            ValueError,
            r"There is no priority 'NORML'\. Did you mean 'NORMAL'\? The names are: HIGHEST, VERY_HI",
        ),
        (101, ValueError, "between 0 and 100, but it is 101"),
        (-1, ValueError, "between 0 and 100, but it is -1"),
        (1.5, TypeError, r"a number from 0 to 100 or a name.*1\.5"),
        (True, TypeError, "True"),
        (None, TypeError, "None"),
    ],
)
def test_what_is_no_priority(priority, error, message):
    with pytest.raises(error, match=message):
        get_priority(priority)


# The list. A stage is called with a runner that no hook here looks at.


def named(name, priority="NORMAL", log=None, stage="before_run"):
    """Return a hook that appends its name to ``log`` at one stage."""

    def act(self, runner, **kwargs):
        log.append(name)

    return type(name, (Hook,), {"priority": priority, stage: act})()


def hook_list(*hooks):
    found = HookList()
    for hook in hooks:
        found.register(hook)
    return found


def test_hooks_run_by_priority_and_among_equals_in_the_order_of_registration():
    log = []
    hooks = hook_list(
        named("a", "LOW", log),
        named("b", "NORMAL", log),
        named("c", 50, log),
        named("d", "HIGHEST", log),
        named("e", "NORMAL", log),
        named("f", 49, log),
    )
    hooks.register(named("g", "LOWEST", log), priority="HIGHEST")
    hooks.register(named("h", "HIGHEST", log), 60)
    hooks.call("before_run", None)
    assert log == ["d", "g", "f", "b", "c", "e", "h", "a"]
    assert [type(hook).__name__ for hook in hooks] == log
    assert len(hooks) == 8


def test_a_priority_given_at_registration_stays_with_the_list():
    hook = named("a", "LOW", [])
    hook_list().register(hook, "HIGH")
    assert hook.priority == "LOW"


def test_only_hooks_that_act_at_a_stage_are_called(monkeypatch):
    """Hook's own methods do nothing; to see whether they are called all the same, they are made to count."""
    calls = []
    for stage in STAGES:
        monkeypatch.setattr(Hook, stage, lambda self, runner, stage=stage, **kwargs: calls.append(stage))
    log = []
    hooks = hook_list(named("a", log=log), named("b", log=log, stage="after_run"))
    for stage in STAGES:
        hooks.call(stage, None)
    assert log == ["a", "b"]
    assert calls == []


def test_a_method_that_calls_the_base_classes_is_its_own_and_is_called():
    log = []

    class Wrapped(Hook):
        def before_run(self, runner):
            super().before_run(runner)
            log.append("wrapped")

    class Inherits(Wrapped):
        pass

    hook_list(Wrapped(), Inherits()).call("before_run", None)
    assert log == ["wrapped", "wrapped"]


def test_a_method_set_on_an_instance_counts():
    log = []
    plain, changed = Hook(), Hook()
    changed.before_train = lambda runner: log.append(runner)
    hook_list(plain, changed).call("before_train", "the runner")
    assert log == ["the runner"]


@pytest.mark.parametrize("unit", ["epoch", "iter"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_shared_methods_act_at_their_stage_of_all_three_loops(when, unit):
    modes = []

    class Shared(Hook):
        pass

    setattr(Shared, f"_{when}_{unit}", lambda self, runner, mode="train", **kwargs: modes.append((mode, *kwargs)))
    hooks = hook_list(Shared())
    arguments = {"batch_idx": 0, "data_batch": None} if unit == "iter" else {}
    for stage in STAGES:
        if stage.endswith(unit):
            more = {"outputs": None} if unit == "iter" and stage.startswith("after") else {}
            hooks.call(stage, None, **arguments, **more)
    names = [*arguments, *(["outputs"] if unit == "iter" and when == "after" else [])]
    assert modes == [(mode, *names) for mode in ("train", "val", "test")]


def test_a_loops_own_method_takes_the_place_of_the_shared_one():
    log = []

    class Both(Hook):
        def _before_epoch(self, runner, mode="train"):
            log.append(mode)

        def before_val_epoch(self, runner):
            log.append("own")

    hooks = hook_list(Both())
    for mode in ("train", "val", "test"):
        hooks.call(f"before_{mode}_epoch", None)
    assert log == ["train", "own", "test"]


def test_a_shared_method_set_on_an_instance_counts():
    log = []
    hook = Hook()
    hook._before_iter = lambda runner, **kwargs: log.append(kwargs["mode"])
    hook_list(hook).call("before_val_iter", None, batch_idx=0)
    assert log == ["val"]


def test_a_hook_registered_during_a_stage_takes_part_if_its_turn_is_to_come():
    log = []

    class Registers(Hook):
        priority = "HIGH"

        def before_run(self, runner):
            log.append("registers")
            hooks.register(named("too early", "HIGHEST", log))
            hooks.register(named("in time", "LOW", log))

    hooks = hook_list(named("first", "VERY_HIGH", log), Registers(), named("last", "LOWEST", log))
    hooks.call("before_run", None)
    assert log == ["first", "registers", "in time", "last"]


def test_a_hook_registered_between_calls_takes_part():
    log = []
    hooks = hook_list(named("a", log=log))
    hooks.call("before_run", None)
    hooks.register(named("b", "HIGH", log))
    hooks.call("before_run", None)
    assert log == ["a", "b", "a"]


def test_an_exception_keeps_type_and_traceback_and_gains_a_note():
    class Raises(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            raise ZeroDivisionError("mine")

    hooks = hook_list(Raises())
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        hooks.call("after_val_iter", None, batch_idx=0)
    assert caught.value.__notes__ == ["(raised in the hook Raises, stage after_val_iter)"]
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == 'raise ZeroDivisionError("mine")'
    assert list(hooks.running) == []


def test_a_stage_in_a_stage_is_seen_from_within():
    seen = []

    class Saves(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            hooks.call("before_save_checkpoint", None, checkpoint={})
            seen.append(list(hooks.running))

        def before_save_checkpoint(self, runner, checkpoint):
            seen.append(list(hooks.running))

    hooks = hook_list(Saves())
    hooks.call("after_train_iter", None, batch_idx=0)
    assert seen == [["after_train_iter", "before_save_checkpoint"], ["after_train_iter"]]
    assert list(hooks.running) == []


def test_whose_turn_is_still_to_come_is_known_from_within_in_every_stage_that_runs():
    seen = []

    class First(Hook):
        priority = "HIGH"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            hooks.call("before_save_checkpoint", runner, checkpoint={})

        def before_save_checkpoint(self, runner, checkpoint):
            hooks.register(registered, "LOWEST")
            seen.append(hooks.still_to_act())

    class Later(Hook):
        def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
            seen.append(hooks.still_to_act())

    class Saved(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            seen.append(hooks.still_to_act())

    later, saved, registered = Later(), Saved(), Recorder()
    hooks = hook_list(First(), later, saved)
    hooks.call("after_train_iter", type("Run", (), {"epoch": 0, "iter": 0}), batch_idx=0)
    assert seen == [
        [("after_train_iter", later), ("before_save_checkpoint", saved)],
        [("after_train_iter", later), ("before_save_checkpoint", registered)],
        [("after_train_iter", registered)],
    ]
    assert hooks.still_to_act() == []


def test_a_hook_is_described_as_it_was_when_it_was_registered():
    class Described(Hook):
        def __init__(self):
            self.interval = 3
            self.folder = Path("a") / "b"
            self.names = ["x", ("y", None)]
            self.kept = {}
            self.model = object()
            self._count = 0

    hook = Described()
    hooks = HookList()
    hooks.register(hook, "LOW")
    hook.interval = 4
    settings = hooks.settings(hook)
    assert settings.pop("class").endswith("<locals>.Described")
    assert settings == {
        "priority": "70", ".interval": "3", ".folder": str(Path("a") / "b"), ".names": "['x', ('y', None)]"
    }  # fmt: skip


def test_a_hook_may_validate_or_test_in_the_middle_of_training(make_runner, make_loader):
    class TestsToo(Hook):
        def __init__(self):
            self.results = []

        def after_train_epoch(self, runner):
            self.results.append((runner.test(), runner.val()))

    hook = TestsToo()
    runner = make_runner(
        test_dataloader=make_loader(8), test_cfg={}, test_evaluator={"type": "Accuracy"}, custom_hooks=[hook]
    )
    runner.train()
    assert [len(results) for results in hook.results] == [2, 2]
    assert runner.epoch == 2


def test_a_hook_registered_by_the_runner_may_be_a_config(make_runner):
    runner = make_runner()
    runner.register_hook({"type": "IterTimerHook", "priority": "LOWEST"})
    assert type(runner.hooks[-1]).__name__ == "IterTimerHook"
    log = []
    runner.register_hook(named("mine", "NORMAL", log), priority=0)
    runner.call_hook("before_run")
    assert log == ["mine"]


# Questions that hooks ask.


class Position:
    def __init__(self, epoch=0, iteration=0, max_epochs=5, max_iters=20):
        self.epoch, self.iter, self.max_epochs, self.max_iters = epoch, iteration, max_epochs, max_iters


def test_every_n():
    hook = Hook()
    assert [e for e in range(9) if hook.every_n_epochs(Position(epoch=e), 3)] == [2, 5, 8]
    assert [e for e in range(9) if hook.every_n_epochs(Position(epoch=e), 3, start=2)] == [1, 4, 7]
    assert [i for i in range(9) if hook.every_n_train_iters(Position(iteration=i), 4)] == [3, 7]
    assert [i for i in range(9) if hook.every_n_train_iters(Position(iteration=i), 4, start=1)] == [0, 4, 8]
    assert [i for i in range(9) if hook.every_n_inner_iters(i, 2)] == [1, 3, 5, 7]
    for n in (0, -1):
        assert not any(hook.every_n_epochs(Position(epoch=e), n) for e in range(9))
        assert not any(hook.every_n_inner_iters(i, n) for i in range(9))
        assert not any(hook.every_n_train_iters(Position(iteration=i), n) for i in range(9))


def test_the_last_ones():
    hook = Hook()
    assert [e for e in range(6) if hook.is_last_train_epoch(Position(epoch=e))] == [4]
    assert [i for i in range(30) if hook.is_last_train_iter(Position(iteration=i))] == [19]
    assert [i for i in range(6) if hook.end_of_epoch([0] * 3, i)] == [2]
