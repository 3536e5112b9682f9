"""Loops that users wrote, which iterate over ``self.dataloader`` in their own way: they go on exactly, too."""

from __future__ import annotations

import signal

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from mainspring.hooks import CheckpointHook, Hook
from mainspring.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

BATCHES = 7
EPOCHS = 3


class OwnEpoch(EpochBasedTrainLoop):
    """One method is the user's."""

    def run_epoch(self):
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for idx, batch in enumerate(self.dataloader):
            self.run_iter(idx, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


class OwnRun(OwnEpoch):
    """So is the other, which knows nothing of validations that are due."""

    def run(self):
        self.runner.call_hook("before_train")
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model


class OwnAll(BaseLoop):
    """All is the user's, the numbers too; each epoch ends early."""

    def __init__(self, runner, dataloader, max_epochs):
        super().__init__(runner, dataloader)
        self._epoch, self._iter = 0, 0
        self.max_epochs, self.max_iters = max_epochs, max_epochs * (BATCHES - 1)

    @property
    def epoch(self):
        return self._epoch

    @property
    def iter(self):
        return self._iter

    def run(self):
        runner = self.runner
        runner.call_hook("before_train")
        while self._epoch < self.max_epochs:
            runner.call_hook("before_train_epoch")
            runner.model.train()
            for idx, batch in enumerate(self.dataloader):
                runner.call_hook("before_train_iter", batch_idx=idx, data_batch=batch)
                outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
                runner.call_hook("after_train_iter", batch_idx=idx, data_batch=batch, outputs=outputs)
                self._iter += 1
                if self._iter == (self._epoch + 1) * (BATCHES - 1):
                    break
            runner.call_hook("after_train_epoch")
            self._epoch += 1
        runner.call_hook("after_train")


class Turns:
    """Goes over a loader again and again, and tells its sampler."""

    def __init__(self, loader):
        self.loader, self.epoch = loader, 0
        self.batches = iter(loader)

    def __next__(self):
        try:
            return next(self.batches)
        except StopIteration:
            self.epoch += 1
            if hasattr(self.loader.sampler, "set_epoch"):
                self.loader.sampler.set_epoch(self.epoch)
            self.batches = iter(self.loader)
            return next(self.batches)


class OwnTurns(IterBasedTrainLoop):
    """Holds its iterator from the beginning, and drops what is used up when it goes on."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.turns = Turns(self.dataloader)

    def run(self):
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        for _ in range(self._iter):
            next(self.turns)
        self.runner.model.train()
        while self._iter < self._max_iters:
            self.run_iter(next(self.turns))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")


class OwnPasses(IterBasedTrainLoop):
    """Goes over the data again and again, wherever it begins."""

    def run(self):
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        while self._iter < self._max_iters:
            for batch in self.dataloader:
                self.run_iter(batch)
                if self._iter == self._max_iters:
                    break
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")


class Looks(Hook):
    """Reads the training data at a stage: one batch, or all."""

    def __init__(self, stage, whole):
        self.whole = whole
        self.seen = []
        setattr(self, stage, self.look)

    def look(self, runner, **kwargs):
        for batch in runner.train_dataloader:
            self.seen.append((runner.iter, tuple(batch[0][:, 0].tolist())))
            if not self.whole:
                break


class Log(Hook):
    """Notes what is trained on; it stops the run after so many iterations."""

    priority = "LOWEST"

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(tuple(data_batch[0][:, 0].tolist()))
        if runner.iter + 1 == self.stop_after:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def trained(make_runner, make_loader, net, tmp_path):
    def train(name, loop, stop_after=None, data=None, sampler=None, hooks=(), **options):
        log = Log(stop_after)
        torch.manual_seed(0)
        loader = data or make_loader(26, shuffle=sampler is None)
        if sampler is not None:
            loader = {"dataset": loader.dataset, "batch_size": 4, "sampler": sampler, "collate_fn": "default_collate"}
        by_iter = issubclass(loop, IterBasedTrainLoop)
        length = {"max_iters": BATCHES * EPOCHS} if by_iter else {"max_epochs": EPOCHS}
        runner = make_runner(
            model=net(dropout=0.3),
            work_dir=tmp_path / name,
            train_dataloader=loader,
            train_cfg={"type": loop, **length},
            default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "auto"}},
            custom_hooks=[*hooks, log],
            **options,
        )
        if stop_after is None:
            runner.train()
        else:
            with pytest.raises(SystemExit):
                runner.train()
        return runner, log.seen

    return train


def best_of(runner):
    return next(hook.best for hook in runner.hooks if isinstance(hook, CheckpointHook))


@pytest.mark.parametrize("stop_after", [1, 4, 6, 7, 8, 13, 16])
@pytest.mark.parametrize("loop", [OwnEpoch, OwnRun, OwnAll, OwnTurns, OwnPasses])
def test_it_goes_on_as_if_nothing_had_been(trained, loop, stop_after):
    whole, seen = trained("whole", loop)
    first, before = trained("run", loop, stop_after)
    assert first.iter == stop_after
    second, after = trained("run", loop, resume="auto")
    assert before + after == seen
    assert second.iter == whole.iter == len(seen)
    weights = [runner.model.state_dict() for runner in (whole, second)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert best_of(second) == best_of(whole)
    assert second.max_iters == whole.max_iters


@pytest.mark.parametrize("sampler", [None, {"type": "DefaultSampler", "shuffle": True}])
@pytest.mark.parametrize("loop", [OwnEpoch, OwnTurns, OwnPasses])
def test_each_pass_has_an_order_of_its_own(trained, loop, sampler):
    _, seen = trained("run", loop, sampler=sampler)
    passes = [seen[number * BATCHES : (number + 1) * BATCHES] for number in range(EPOCHS)]
    contents = [sorted(value for batch in one for value in batch) for one in passes]
    assert contents[0] == contents[1] == contents[2]
    assert len({tuple(one) for one in passes}) == EPOCHS


class Stream(IterableDataset):
    def __len__(self):
        return 28

    def __iter__(self):
        yield from ((torch.full((6,), float(number)), number % 3) for number in range(28))


def test_it_says_when_the_place_in_the_data_cannot_be_found(trained, capsys):
    trained("run", OwnEpoch, stop_after=9, data=DataLoader(Stream(), 4))
    capsys.readouterr()
    trained("run", OwnEpoch, data=DataLoader(Stream(), 4), resume="auto", log_level="WARNING")
    assert (
        "OwnEpoch iterates over train_dataloader itself, and DataLoader over Stream cannot begin within a pass: unless"
        " the loop drops them, the 2 batches that were used before the run stopped are trained on once more."
        in capsys.readouterr().out
    )


STAGES = ("before_train", "before_train_epoch", "before_train_iter", "after_train_iter", "after_train_epoch")


@pytest.mark.parametrize("whole", [False, True], ids=["a batch", "all"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("loop", [EpochBasedTrainLoop, IterBasedTrainLoop, OwnEpoch, OwnAll, OwnPasses])
def test_hooks_that_read_the_data_change_nothing(trained, loop, stage, whole):
    _, seen = trained("whole", loop)
    _, beside = trained("beside", loop, hooks=[Looks(stage, whole)])
    assert beside == seen
    _, before = trained("run", loop, 9, hooks=[Looks(stage, whole)])
    _, after = trained("run", loop, hooks=[Looks(stage, whole)], resume="auto")
    assert before + after == seen


@pytest.mark.parametrize("loop", [EpochBasedTrainLoop, OwnEpoch])
def test_what_hooks_read_does_not_depend_on_workers_that_persist(trained, make_loader, loop):
    found = []
    for options in ({}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}):
        looks = Looks("after_train_epoch", whole=False)
        within = Looks("after_train_iter", whole=False)
        data = make_loader(10, shuffle=True, **options)
        _, seen = trained(f"run{len(found)}", loop, data=data, hooks=[looks, within])
        found.append((seen, looks.seen, within.seen))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) == 3 * EPOCHS
