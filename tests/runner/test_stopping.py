"""Signals in training: what is saved, what the process ends with, and that the run goes on as if nothing had been."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from mainspring import BaseMetric
from mainspring.checkpoint import find_latest_checkpoint, read_checkpoint
from mainspring.hooks import CheckpointHook, Hook
from mainspring.utils import DirectoryInUse

STAGES = ("before_train_iter", "after_train_iter", "after_train_epoch", "before_val_iter", "after_val_epoch")


class Sends(Hook):
    """Sends this process a signal at a stage, once so many iterations are done."""

    def __init__(self, stage: str, done: int, number: int = signal.SIGTERM) -> None:
        self.sent = False

        def act(runner, **kwargs):
            if runner.iter == done and not self.sent:
                self.sent = True
                signal.raise_signal(number)

        setattr(self, stage, act)


def end_of(runner):
    tensors = {**runner.model.state_dict(), **flat(runner.optim_wrapper.state_dict()["state"])}
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def flat(state):
    return {f"{place} {name}": value for place, entry in state.items() for name, value in entry.items()}


def exit_code_of(runner):
    try:
        runner.train()
    except SystemExit as end:
        return end.code
    return 0


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))


OPTIONS = {
    "optim_wrapper": {
        "optimizer": {"type": "Adam", "lr": 0.01}, "accumulative_counts": 3, "clip_grad": {"max_norm": 1.0}
    },
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "auto"}},
}  # fmt: skip
LOOPS = [{"max_epochs": 3}, {"by_epoch": False, "max_iters": 15, "val_interval": 4}]


@pytest.fixture
def make(make_runner, net, tmp_path):
    def build(name="run", **changes):
        torch.manual_seed(0)
        arguments = {"model": net(dropout=0.3), "work_dir": tmp_path / name, "train_cfg": LOOPS[0], **OPTIONS}
        return make_runner(**{**arguments, **changes})

    return build


@pytest.mark.parametrize("train_cfg", LOOPS, ids=["epochs", "iterations"])
@pytest.mark.parametrize("done", [0, 4, 5, 7, 8, 14])
@pytest.mark.parametrize("stage", STAGES)
def test_it_goes_on_as_if_nothing_had_been(make, stage, done, train_cfg):
    if stage == "after_train_epoch" and "max_iters" in train_cfg:
        pytest.skip("an iteration loop has one epoch")
    whole = make("whole", train_cfg=train_cfg)
    whole.train()

    sends = Sends(stage, done)
    first = make(train_cfg=train_cfg, custom_hooks=[sends])
    code = exit_code_of(first)
    assert code == (143 if sends.sent else 0)
    if code and first.iter > 0:
        # Within an iteration it is done to its end, and counted.
        assert first.iter == done + (stage in ("before_train_iter", "after_train_iter"))
        assert read_checkpoint(find_latest_checkpoint(first.work_dir))["train_loop"]["iter"] == first.iter
    second = make(train_cfg=train_cfg, resume="auto")
    second.train()
    assert end_of(second) == end_of(whole)
    assert hook_of(second).best == hook_of(whole).best
    names = [sorted(path.name for path in Path(runner.work_dir).glob("*.pth")) for runner in (second, whole)]
    assert names[0] == names[1], "what the signal has left is gone"


def test_a_stop_where_all_is_saved_saves_nothing_more(make):
    runner = make(custom_hooks=[Sends("before_val", 5)])
    with pytest.raises(SystemExit):
        runner.train()
    assert [path.name for path in Path(runner.work_dir).glob("*.pth")] == ["epoch_1.pth"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_each_signal_has_its_exit_code(make, number, capsys):
    runner = make(custom_hooks=[Sends("after_train_iter", 6, number)])
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code == 128 + number
    last = capsys.readouterr().out.splitlines()[-1]
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    assert f"Stopped by {name} after iteration 7" in last
    assert "goes on from" in last
    assert "iter_7.pth" in last


def test_usr1_may_save_and_go_on(make):
    whole = make("whole")
    whole.train()
    seen = []

    class Looks(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.checkpoint_writer.wait()
            seen.append((Path(runner.work_dir) / "iter_7.pth").exists())

    sends = Sends("before_train_iter", 6, signal.SIGUSR1)
    runner = make(env_cfg={"on_usr1": "save"}, custom_hooks=[sends, Looks()])
    runner.train()
    assert seen == [False] * 7 + [True] * 3 + [False] * 5
    assert end_of(runner) == end_of(whole)


def test_without_a_checkpoint_hook_nothing_is_saved(make, capsys):
    runner = make(default_hooks={"checkpoint": None}, custom_hooks=[Sends("after_train_iter", 6)])
    with pytest.raises(SystemExit):
        runner.train()
    assert "before the first checkpoint" in capsys.readouterr().out


def test_an_error_while_it_saves_is_not_hidden(make, tmp_path):
    class Breaks(Hook):
        def before_stop(self, runner):
            raise ValueError("cannot")

    with pytest.raises(ValueError, match="cannot"):
        make(custom_hooks=[Sends("after_train_iter", 6), Breaks()]).train()


def test_validating_alone_ends_at_once(make):
    runner = make(custom_hooks=[Sends("before_val_iter", 0)])
    with pytest.raises(SystemExit) as end:
        runner.val()
    assert end.value.code == 143


# Gradients of a group that is not complete.


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
@pytest.mark.parametrize("done", range(1, 8))
def test_gradients_of_a_group_go_on(make, done, dtype):
    kind = {} if dtype is None else {"type": "AmpOptimWrapper", "dtype": dtype}
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}}
    wrapper = {"optim_wrapper": {**OPTIONS["optim_wrapper"], **kind}, "default_hooks": hooks}
    whole = make("whole", **wrapper)
    whole.train()
    with pytest.raises(SystemExit):
        make(custom_hooks=[Sends("after_train_iter", done - 1)], **wrapper).train()
    second = make(resume="auto", **wrapper)
    second.train()
    assert end_of(second) == end_of(whole)


def test_a_step_with_two_losses_goes_on_within_its_group(make, net):
    class TwoLosses(net):
        def __init__(self):
            torch.manual_seed(0)
            super().__init__(0.3)

        def train_step(self, data, optim_wrapper):
            for _ in range(2):
                loss = self(*self.data_preprocessor(data, True), mode="loss")["loss"]
                optim_wrapper.update_params(loss)
            return {"loss": loss}

    # Iteration 2 ends with 4 losses, one into the second group; counted in iterations it would be two into the first.
    whole = make("whole", model=TwoLosses())
    whole.train()
    with pytest.raises(SystemExit):
        make(model=TwoLosses(), custom_hooks=[Sends("after_train_iter", 1)]).train()
    second = make(model=TwoLosses(), resume="auto")
    second.train()
    assert end_of(second) == end_of(whole)


# Generators that run on.


@pytest.mark.parametrize("done", [3, 5, 8])
def test_running_streams_go_on(make, done):
    streams = {"randomness": {"seed": 3, "running_streams": True}}
    whole = make("whole", **streams)
    whole.train()
    with pytest.raises(SystemExit):
        make(custom_hooks=[Sends("after_train_iter", done - 1)], **streams).train()
    second = make(resume="auto", **streams)
    second.train()
    assert end_of(second) == end_of(whole)


def test_running_streams_are_not_those_of_the_position(make):
    class Draws(Hook):
        def __init__(self) -> None:
            self.drawn = []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.drawn.append(torch.rand(()).item())

    drawn = {}
    for running in (False, True):
        hook = Draws()
        make(f"running {running}", randomness={"seed": 3, "running_streams": running}, custom_hooks=[hook]).train()
        drawn[running] = hook.drawn
    assert not set(drawn[False]) & set(drawn[True])
    assert len(set(drawn[True])) == 15


# What a run finds in its directory.


def test_a_run_that_begins_anew_moves_what_it_finds_when_it_saves(make, tmp_path, capsys):
    make().train()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pth")}
    capsys.readouterr()

    with pytest.raises(SystemExit):  # before its first checkpoint it has changed nothing
        make(custom_hooks=[Sends("before_train_epoch", 0)]).train()
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pth")} == before

    make(randomness={"seed": 9}).train()
    (folder,) = (tmp_path / "run").glob("earlier_*")
    assert {path.name: path.read_bytes() for path in folder.glob("*.pth")} == before
    assert (folder / "last_checkpoint").exists()
    assert "This run begins anew" in capsys.readouterr().out
    assert read_checkpoint(tmp_path / "run" / "epoch_3.pth")["meta"]["seed"] == 9

    make(randomness={"seed": 9}).train()
    assert len(list((tmp_path / "run").glob("earlier_*"))) == 2


def test_what_is_no_checkpoint_of_a_run_stays(make, tmp_path):
    make().train()
    torch.save({"w": torch.zeros(1)}, tmp_path / "run" / "pretrained.pth")
    make().train()
    assert (tmp_path / "run" / "pretrained.pth").exists()


def test_weights_from_an_earlier_run_in_the_same_directory(make, tmp_path):
    make().train()
    runner = make(load_from=tmp_path / "run" / "epoch_2.pth")
    runner.train()
    assert (runner.epoch, runner.iter) == (3, 15)


def test_what_a_killed_writer_has_left_is_removed(make, tmp_path):
    (tmp_path / "run").mkdir()
    for name in (".epoch_7.pth.tmp", ".last_checkpoint.tmp"):
        (tmp_path / "run" / name).write_bytes(b"half")
    make().train()
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_names_in_a_checkpoint_stay_in_the_directory(tmp_path):
    precious = tmp_path / "precious.pth"
    precious.write_bytes(b"mine")
    hook = CheckpointHook(save_best="accuracy", rule="greater")
    best = {"accuracy": {"score": 0.5, "file": "../precious.pth", "unit": "epoch", "number": 1}}
    names = ["../precious.pth", "..", "epoch_1.pth"]
    hook.load_state_dict(
        {"kept": names, "best": best, "metrics": ["accuracy"], "stop_file": "../precious.pth", "superfluous": names}
    )
    state = hook.state_dict()
    assert state["kept"] == state["superfluous"] == ["epoch_1.pth"]
    assert (state["best"], state["stop_file"]) == ({}, "")


@pytest.mark.parametrize("template", ["../epoch_{}.pth", "/tmp/epoch_{}.pth", "sub/epoch_{}.pth", "..\\epoch_{}.pth"])
def test_a_template_that_leads_out_of_the_directory_is_refused(template):
    with pytest.raises(ValueError, match="filename_tmpl must be the name of a file"):
        CheckpointHook(filename_tmpl=template)


def test_what_one_kill_has_left_the_next_checkpoint_removes(make, tmp_path):
    """A kill between the renaming of a checkpoint and the deletion of the one before leaves both."""
    keep_one = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 1}}
    with pytest.raises(SystemExit):
        make(default_hooks=keep_one, custom_hooks=[Sends("before_train_epoch", 10)]).train()
    (tmp_path / "run" / "iter_10.pth").unlink()
    (tmp_path / "run" / "epoch_1.pth").write_bytes(b"left over")
    make(default_hooks=keep_one, resume="auto").train()
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["epoch_3.pth"]


# The fingerprint.


CHANGES = {
    "samples in the training data: 20 then, 24 now": lambda make_loader: {
        "train_dataloader": make_loader(24, shuffle=True)
    },
    "sampler: RandomSampler then, SequentialSampler now": lambda make_loader: {"train_dataloader": make_loader()},
    "batch size x accumulated iterations x processes: 12 then, 4 now": lambda make_loader: {
        "optim_wrapper": {"optimizer": {"type": "Adam", "lr": 0.01}}
    },
    "optimizer: Adam then, SGD now": lambda make_loader: {
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.01}, "accumulative_counts": 3}
    },
    "seed: 3 then, 4 now": lambda make_loader: {"randomness": {"seed": 4}},
    "randomness.sample_seeding: True then, False now": lambda make_loader: {
        "randomness": {"seed": 3, "sample_seeding": False}
    },
}


@pytest.mark.parametrize("told", CHANGES)
def test_what_moves_the_data_or_the_updates_is_refused(make, make_loader, told):
    make().train()
    with pytest.raises(ValueError, match="differs from this one") as error:
        make(resume="auto", train_cfg={"max_epochs": 4}, **CHANGES[told](make_loader)).train()
    assert told in str(error.value)


def test_layers_in_another_order_are_refused(make, net):
    class Ordered(net):
        def __init__(self, names):
            super().__init__()
            for name in names:
                setattr(self, name, torch.nn.Linear(2, 2))

    make(model=Ordered(["a", "b"])).train()
    with pytest.raises(ValueError, match=r"trained parameters: number 6 was 'a\.weight' and is 'b\.weight'"):
        make(model=Ordered(["b", "a"]), resume="auto").train()


def test_a_name_that_cannot_be_allowed_is_refused(make):
    with pytest.raises(ValueError, match=r"allow_changed names 'batchsize'\. Did you mean 'batch_size'"):
        make(allow_changed=["batchsize"])
    with pytest.raises(ValueError, match="allow_changed names 'optimizer'"):
        make(allow_changed=["optimizer"])


def test_another_number_of_threads_is_told(make, capsys):
    make().train()
    torch.set_num_threads(2)
    try:
        make(resume="auto", train_cfg={"max_epochs": 4}).train()
    finally:
        torch.set_num_threads(1)
    assert "threads was 1 and is 2 (sums of another number of parts round otherwise)" in capsys.readouterr().out


def test_two_hooks_share_a_directory(make, tmp_path):
    make().train()
    by_iteration = CheckpointHook(interval=4, by_epoch=False)
    make(custom_hooks=[by_iteration]).train()
    names = {path.name for path in (tmp_path / "run").glob("*.pth")}
    assert {"epoch_1.pth", "epoch_2.pth", "epoch_3.pth", "iter_4.pth", "iter_8.pth", "iter_12.pth"} <= names


def test_the_validation_loader_may_have_workers_when_a_signal_comes(make):
    data = TensorDataset(torch.randn(8, 6), torch.arange(8) % 3)
    loader = DataLoader(data, batch_size=2, num_workers=2)
    with pytest.raises(SystemExit) as end:
        make(val_dataloader=loader, custom_hooks=[Sends("before_val_iter", 5)]).train()
    assert end.value.code == 143


# What a review has found.


class Stream(IterableDataset):
    """Data that keep their own place."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self):
        while self.next < 40:
            self.next += 1
            yield torch.full((6,), float(self.next)), self.next % 3

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def test_data_that_keep_their_own_place_lose_no_batch(make):
    class Sees(Hook):
        def __init__(self) -> None:
            self.seen = []

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.seen += data_batch[0][:, 0].int().tolist()

    sees = [Sees(), Sees()]
    by_iteration = {"train_cfg": {"by_epoch": False, "max_iters": 8}, "val_cfg": ...}
    by_iteration |= {"val_dataloader": ..., "val_evaluator": ..., "default_hooks": ...}
    for hooks in ([sees[0], Sends("before_train_iter", 3)], [sees[1]]):
        loader = DataLoader(Stream(), batch_size=4)
        exit_code_of(make(train_dataloader=loader, resume="auto", custom_hooks=hooks, **by_iteration))
    assert sees[0].seen + sees[1].seen == list(range(1, 33))


def test_a_validation_that_a_hook_asks_for_belongs_to_the_run(make):
    class Validates(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 1:
                runner.val()

    runner = make(custom_hooks=[Validates(), Sends("after_train_iter", 3)])
    assert exit_code_of(runner) == 143
    assert runner.iter == 4


@pytest.mark.parametrize("train_cfg", LOOPS, ids=["epochs", "iterations"])
def test_in_one_process_it_goes_on_too(make, train_cfg):
    """As in a notebook, after Ctrl-C."""
    whole = make("whole", train_cfg=train_cfg)
    whole.train()
    runner = make(train_cfg=train_cfg, custom_hooks=[Sends("after_train_iter", 5, signal.SIGINT)])
    assert exit_code_of(runner) == 130
    state = runner.optim_wrapper.state_dict()  # six iterations are two whole groups
    assert state["accumulated"]["gradients"] == {}
    runner.train()
    assert end_of(runner) == end_of(whole)


class Counting(BaseMetric):
    """Counts what reaches it."""

    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_batch[0])

    def compute_metrics(self, results):
        return {"count": len(results)}


def test_a_validation_that_was_abandoned_leaves_nothing_in_the_metrics(make):
    runner = make(custom_hooks=[Sends("after_val_iter", 5)], val_evaluator=Counting(), default_hooks=...)
    assert exit_code_of(runner) == 143
    assert runner.val_evaluator.metrics[0].results == [1] * 4
    runner.val_loop.run_iter(0, next(iter(runner.val_dataloader)))
    runner.val_evaluator.discard()
    assert runner.val_evaluator.metrics[0].results == []
    assert runner.val() == {"count": 8}


def test_the_branch_that_was_left_is_moved(make, tmp_path):
    every = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}}
    make(default_hooks=every).train()
    sends = Sends("after_train_iter", 6)
    run = {"load_from": tmp_path / "run" / "iter_4.pth", "resume": True, "default_hooks": every}
    assert exit_code_of(make(custom_hooks=[sends], **run)) == 143
    assert Path(find_latest_checkpoint(tmp_path / "run")).name == "iter_7.pth"
    (folder,) = (tmp_path / "run").glob("earlier_*")
    assert sorted(path.name for path in folder.glob("iter_1?.pth")) == [f"iter_1{n}.pth" for n in range(6)]


def test_without_the_optimizer_in_the_others_a_stop_saves_it(make):
    partial = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "save_optimizer": False}}
    assert exit_code_of(make(default_hooks=partial, custom_hooks=[Sends("after_train_iter", 3)])) == 143
    runner = make(default_hooks=partial, resume="auto")
    runner.train()
    assert runner.iter == 15


def test_processes_of_the_users_own_can_be_ended(make):
    class Pools(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 1:
                with multiprocessing.get_context("fork").Pool(2) as pool:
                    self.result = pool.map(abs, [-1, -2])

    hook = Pools()
    make(custom_hooks=[hook]).train()
    assert hook.result == [1, 2]


def test_one_out_dir_for_two_runs_of_one_name_is_refused(make, tmp_path):
    class Starts(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            other.train()

    hooks = {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "out_dir": tmp_path / "out", "interval": 1}}}
    other = make("b/exp", **hooks)
    with pytest.raises(DirectoryInUse):
        make("a/exp", custom_hooks=[Starts()], **hooks).train()


def test_a_checkpoint_that_came_while_the_runner_was_built(make):
    assert exit_code_of(make(custom_hooks=[Sends("before_train_epoch", 5)])) == 143
    late = make(resume="auto")
    assert exit_code_of(make(resume="auto", custom_hooks=[Sends("before_train_epoch", 10)])) == 143
    begun = []

    class Notes(Hook):
        def before_train(self, runner):
            begun.append(runner.iter)

    late.register_hook(Notes())
    late.train()
    assert begun == [10]


@pytest.mark.parametrize("train_cfg", LOOPS, ids=["epochs", "iterations"])
def test_workers_have_ended_when_the_stop_is_done(make, make_loader, train_cfg):
    runner = make(
        train_cfg=train_cfg,
        train_dataloader=make_loader(shuffle=True, num_workers=1),
        custom_hooks=[Sends("after_train_iter", 6)],
    )
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert multiprocessing.active_children() == []
    assert end.value.code == 143
