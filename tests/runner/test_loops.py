import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from mainspring import EpochBasedTrainLoop, InfiniteSampler, IterBasedTrainLoop, TestLoop, ValLoop
from mainspring.hooks import Hook
from mainspring.registry import LOOPS
from mainspring.runner import BaseLoop, BaseTrainLoop

NO_VALIDATION = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}


class Validations(Hook):
    """Writes down after how many epochs and iterations validations came."""

    def __init__(self):
        self.epochs, self.iters = [], []

    def before_val(self, runner):
        self.epochs.append(runner.epoch)
        self.iters.append(runner.iter)


class StopsAfter(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            runner.train_loop.stop_training = True


@pytest.fixture
def train(make_runner, make_loader):
    def run(train_cfg, *hooks, **changes):
        runner = make_runner(
            train_cfg=train_cfg,
            custom_hooks=list(hooks),
            **{
                "train_dataloader": make_loader(4, 2),
                "val_dataloader": make_loader(2),
                "default_hooks": {"checkpoint": None, "summary": None, "logger": None},
                **changes,
            },
        )
        runner.train()
        return runner

    return run


def weights_of(runner):
    return torch.cat([value.flatten().double() for value in runner.model.state_dict().values()])


# When validations come. The answers are those of MMEngine 0.10.7.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"val_interval": 3}, [3, 6, 7]),
        ({"val_interval": 20}, [7]),
        ({"val_begin": 3}, [3, 4, 5, 6, 7]),
        ({"val_begin": 3, "val_interval": 2}, [4, 6, 7]),
        ({"val_begin": 5, "val_interval": 3}, [6, 7]),
        ({"val_interval": 2, "dynamic_intervals": [(4, 1)]}, [2, 3, 4, 5, 6, 7]),
        ({"val_interval": 3, "dynamic_intervals": [(3, 2), (5, 1)]}, [2, 4, 5, 6, 7]),
        ({"val_interval": 1, "dynamic_intervals": [(1, 5)]}, [5, 7]),
        ({"val_interval": 20, "dynamic_intervals": [(6, 2)]}, [6, 7]),
        ({"val_interval": 2, "dynamic_intervals": [(5, 1), (3, 20)]}, [4, 5, 6, 7]),  # in any order, unlike there
    ],
)
def test_validations_of_an_epoch_run(train, options, expected):
    validations = Validations()
    train({"max_epochs": 7, **options}, validations)
    assert validations.epochs == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [11]),  # the interval is 1000
        ({"val_interval": 1}, list(range(1, 12))),
        ({"val_interval": 3}, [3, 6, 9, 11]),
        ({"val_begin": 5, "val_interval": 2}, [6, 8, 10, 11]),
        ({"val_interval": 3, "dynamic_intervals": [(3, 2), (5, 1)]}, [2, 4, 5, 6, 7, 8, 9, 10, 11]),
        ({"val_interval": 2, "dynamic_intervals": [(4, 1)]}, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    ],
)
def test_validations_of_an_iteration_run(train, options, expected):
    validations = Validations()
    train({"max_iters": 11, **options}, validations)
    assert validations.iters == expected


def test_without_validation_data_there_is_no_validation(train):
    runner = train({"max_epochs": 2}, **NO_VALIDATION)
    assert runner.val_loop is None
    assert runner.epoch == 2


def test_the_model_trains_after_a_validation_and_evaluates_in_it(train):
    seen = []

    class Modes(Hook):
        def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
            seen.append((mode, runner.model.training, torch.is_grad_enabled()))

    train({"max_iters": 3, "val_interval": 2}, Modes())
    train, val = ("train", True, True), ("val", False, False)
    assert seen == [train, train, val, train, val]


# Length and stopping


def test_an_epoch_run_goes_over_the_data_as_often_as_it_is_told(train):
    runner = train({"by_epoch": True, "max_epochs": 3})
    assert (runner.epoch, runner.iter, runner.max_epochs, runner.max_iters) == (3, 6, 3, 6)
    assert type(runner.train_loop) is EpochBasedTrainLoop


def test_an_iteration_run_goes_over_the_data_as_often_as_it_takes(train):
    runner = train({"by_epoch": False, "max_iters": 5})
    assert (runner.iter, runner.max_epochs, runner.max_iters) == (5, 1, 5)
    assert type(runner.train_loop) is IterBasedTrainLoop


@pytest.mark.parametrize(
    ("cfg", "kind"),
    [
        ({"max_epochs": 1}, EpochBasedTrainLoop),
        ({"max_iters": 1}, IterBasedTrainLoop),
        ({"type": "EpochBasedTrainLoop", "max_epochs": 1}, EpochBasedTrainLoop),
        ({"type": IterBasedTrainLoop, "max_iters": 1}, IterBasedTrainLoop),
        ({"type": "IterBasedTrainLoop", "by_epoch": False, "max_iters": 1}, IterBasedTrainLoop),
    ],
)
def test_the_loop_is_known_from_the_configuration(train, cfg, kind):
    assert type(train(cfg).train_loop) is kind


def test_an_epoch_run_stops_at_the_end_of_its_epoch(train):
    validations = Validations()
    runner = train({"max_epochs": 5}, StopsAfter(3), validations)
    assert (runner.epoch, runner.iter) == (2, 4)
    assert validations.epochs == [1, 2]


def test_an_iteration_run_stops_at_once(train):
    runner = train({"max_iters": 9}, StopsAfter(3))
    assert runner.iter == 3


def test_to_train_again_a_finished_run_is_nothing(train):
    runner = train({"max_epochs": 2})
    before = weights_of(runner)
    runner.train()
    assert (runner.epoch, runner.iter) == (2, 4)
    assert torch.equal(weights_of(runner), before)


def test_epochs_and_iterations_train_alike(train, make_loader):
    arguments = {"train_dataloader": make_loader(20, shuffle=True), **NO_VALIDATION}
    by_epoch = train({"max_epochs": 3}, **arguments)
    by_iteration = train({"max_iters": 15}, **arguments)
    assert torch.equal(weights_of(by_epoch), weights_of(by_iteration))


# Data


class Stream(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        generator = torch.Generator().manual_seed(1)
        return ((torch.randn(6, generator=generator), i % 3) for i in range(self.count))


def test_a_stream_trains_by_iterations(train):
    runner = train({"max_iters": 7}, train_dataloader=DataLoader(Stream(10), batch_size=4))
    assert runner.iter == 7
    assert runner.train_loop.num_batches is None


def test_a_stream_does_not_train_by_epochs(train):
    with pytest.raises(TypeError, match=r"Training by epochs needs a data loader that knows its length"):
        train({"max_epochs": 1}, train_dataloader=DataLoader(Stream(10), batch_size=4))


def test_endless_data_do_not_train_by_epochs(train, make_loader):
    loader = make_loader()
    endless = DataLoader(loader.dataset, 2, sampler=InfiniteSampler(loader.dataset))
    with pytest.raises(ValueError, match="Training by epochs needs a data loader that comes to an end"):
        train({"max_epochs": 1}, train_dataloader=endless)
    assert train({"max_iters": 30}, train_dataloader=endless).iter == 30


def test_an_empty_stream_is_an_error_and_no_endless_loop(train):
    with pytest.raises(ValueError, match="train_dataloader gives no batch"):
        train({"max_iters": 3}, train_dataloader=DataLoader(Stream(0), batch_size=4))


# Evaluation


def test_a_validation_by_itself(make_runner):
    runner = make_runner()
    metrics = runner.val()
    assert list(metrics) == ["accuracy/top1"]
    assert type(runner.val_loop) is ValLoop
    assert runner.iter == 0


def test_a_test_by_itself_calls_test_step(make_runner, make_loader, net):
    called = []

    class Own(net):
        def test_step(self, data):
            called.append("test")
            return super().test_step(data)

    runner = make_runner(model=Own(), test_dataloader=make_loader(8), test_cfg={}, test_evaluator={"type": "Accuracy"})
    assert list(runner.test()) == ["accuracy/top1"]
    assert called == ["test", "test"]
    assert type(runner.test_loop) is TestLoop


def test_evaluation_in_lower_precision(make_runner, net):
    kinds = []

    class Looks(net):
        def forward(self, inputs, labels=None, mode="tensor"):
            kinds.append(self.layers[0](inputs).dtype)
            return super().forward(inputs, labels, mode)

    make_runner(model=Looks(), val_cfg={"fp16": True}).val()
    assert set(kinds) == {torch.bfloat16}
    kinds.clear()
    make_runner(model=Looks(), val_cfg={"fp16": False}).val()
    assert set(kinds) == {torch.float32}


# Loops of the users' own


@pytest.fixture
def registered():
    added = []

    def register(target):
        LOOPS.register_module(module=target)
        added.append(target.__name__)

    yield register
    for name in added:
        del LOOPS._module_dict[name]


class OwnEpochLoop(EpochBasedTrainLoop):
    """As a project writes it that knows MMEngine: all three methods anew, on the protected attributes."""

    def run(self):
        self.runner.call_hook("before_train")
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            due = self._epoch >= self.val_begin and self._epoch % self.val_interval == 0
            if self.runner.val_loop is not None and due:
                self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self):
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx, data_batch):
        self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook("after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


class OwnIterLoop(IterBasedTrainLoop):
    def run(self):
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            due = self._iter >= self.val_begin and self._iter % self.val_interval == 0
            if self.runner.val_loop is not None and due:
                self.runner.val_loop.run()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self, data_batch):
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1


@pytest.mark.parametrize(
    ("own", "ours", "cfg"),
    [
        (OwnEpochLoop, "EpochBasedTrainLoop", {"max_epochs": 3}),
        (OwnIterLoop, "IterBasedTrainLoop", {"max_iters": 15, "val_interval": 5}),
    ],
)
def test_a_loop_in_mmengines_style_trains_as_ours(train, registered, make_loader, own, ours, cfg):
    registered(own)
    arguments = {"train_dataloader": make_loader(20, shuffle=True), "default_hooks": {}}
    results = []
    for kind in (own.__name__, ours):
        validations = Validations()
        runner = train({"type": kind, **cfg}, validations, **arguments)
        results.append((weights_of(runner).tolist(), validations.iters, runner.iter))
    assert results[0] == results[1]


def test_a_loop_in_mmengines_style_is_resumed(train, registered, make_loader, tmp_path):
    registered(OwnEpochLoop)
    arguments = {"train_dataloader": make_loader(20, shuffle=True), "default_hooks": {}}
    whole = train({"type": "OwnEpochLoop", "max_epochs": 3}, work_dir=tmp_path / "whole", **arguments)
    train({"type": "OwnEpochLoop", "max_epochs": 1}, **arguments)
    resumed = train({"type": "OwnEpochLoop", "max_epochs": 3}, resume=True, **arguments)
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_a_method_may_be_wrapped(train, registered):
    class Counts(EpochBasedTrainLoop):
        calls = 0

        def run_iter(self, idx, data_batch):
            self.calls += 1
            super().run_iter(idx, data_batch)

    registered(Counts)
    assert train({"type": "Counts", "max_epochs": 3}).train_loop.calls == 6


def test_options_of_an_own_loop_reach_it_untouched(train, registered):
    class Twice(BaseTrainLoop):
        """Trains on each batch ``times`` times; has no options of the others."""

        def __init__(self, runner, dataloader, times, note=None):
            super().__init__(runner, dataloader)
            self.times, self.note = times, note
            self._max_iters = times * len(self.dataloader)

        def should_validate(self, epoch, iteration):
            return False

        def run(self):
            self.runner.call_hook("before_train")
            self.runner.call_hook("before_train_epoch")
            self.runner.model.train()
            for idx, data_batch in enumerate(batch for batch in self.dataloader for _ in range(self.times)):
                self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
                outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
                self.runner.call_hook("after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
                self._iter += 1
            self.runner.call_hook("after_train_epoch")
            self.runner.call_hook("after_train")

    registered(Twice)
    runner = train({"type": "Twice", "times": 3, "note": {"max_epoch": "mine"}})
    assert runner.iter == 6
    assert runner.train_loop.note == {"max_epoch": "mine"}
    with pytest.raises(TypeError, match=r"Twice has no argument 'time'\. Did you mean 'times'\?"):
        train({"type": "Twice", "time": 3})


def test_a_validation_loop_of_ones_own(make_runner, registered):
    class Counting(BaseLoop):
        mode = "val"

        def __init__(self, runner, dataloader, evaluator, limit):
            super().__init__(runner, dataloader)
            self.evaluator, self.limit = runner.build_evaluator(evaluator), limit

        def run(self):
            return {"batches": min(self.limit, len(self.dataloader))}

    registered(Counting)
    assert make_runner(val_cfg={"type": "Counting", "limit": 1}).val() == {"batches": 1}


def test_a_loop_may_be_given_as_an_object(make_runner, make_loader):
    runner = make_runner()
    loop = EpochBasedTrainLoop(runner, make_loader(4, 2), max_epochs=4)
    assert runner.build_train_loop(loop) is loop
