"""What data sets, data loaders and metrics may get wrong, and what is said of it."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from mainspring.evaluator import BaseMetric
from mainspring.registry import RegistryError

ROWS = TensorDataset(torch.zeros(8, 6), torch.arange(8) % 3)


class Lazy(Dataset):
    """Eight samples, each made by a function of its index."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.make(index)


class Stream(IterableDataset):
    """As many samples as are asked for."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return ((torch.zeros(6), 1) for _ in range(self.count))


class Promising(Stream):
    """A stream that says that it has eight, however many come."""

    def __len__(self):
        return 8


EMPTY = {
    "data set": ({"dataset": [], "batch_size": 4}, "dataset is empty: len(list) is 0", "filters"),
    "data set in a loader": (DataLoader(TensorDataset(ROWS.tensors[0][:0]), batch_size=4), "gives no batch: 0 samples"),
    "drop_last": (
        {"dataset": ROWS, "batch_size": 9, "drop_last": True},
        "gives no batch: 8 samples",
        "drop_last=False",
    ),
    "drop_last in a loader": (
        DataLoader(ROWS, batch_size=9, drop_last=True),
        "gives no batch: 8 samples",
        "batch_size=9",
    ),
}
BY_ITERATION = {"by_epoch": False, "max_iters": 3}


class TestNoData:
    @pytest.mark.parametrize("what", ["train", "val"])
    @pytest.mark.parametrize("case", EMPTY, ids=str)
    def test_nothing_to_go_over(self, refused, what, case):
        loader, *words = EMPTY[case]
        refused(ValueError, f"{what}_dataloader", *words, what=what, **{f"{what}_dataloader": loader})

    @pytest.mark.parametrize(
        ("data", "cfg"), [(Promising(0), {"max_epochs": 2}), (Promising(0), BY_ITERATION), (Stream(0), BY_ITERATION)]
    )
    def test_a_stream_that_ends_at_once(self, refused, data, cfg):
        words = ("train_dataloader gives no batch", f"data set {type(data).__name__} ends at once", "path of its files")
        refused(ValueError, *words, train_dataloader=DataLoader(data, batch_size=4), train_cfg=cfg)

    def test_a_stream_that_ends_at_once_in_validation(self, refused):
        words = ("val_dataloader gives no batch", "Promising ends at once")
        refused(ValueError, *words, what="val", val_dataloader=DataLoader(Promising(0), batch_size=4))

    def test_a_stream_that_ends_at_its_second_pass(self, make_runner):
        class Once(Promising):
            def __iter__(self):
                count, self.count = self.count, 0
                return ((torch.zeros(6), 1) for _ in range(count))

        runner = make_runner(train_dataloader=DataLoader(Once(8), batch_size=4), train_cfg={"max_epochs": 2})
        with pytest.raises(ValueError, match="Once ends at once"):
            runner.train()
        assert (runner.epoch, runner.iter) == (1, 2)

    def test_a_stream_without_length(self, refused):
        stream = DataLoader(Stream(8), batch_size=4)
        words = ("a data loader that knows its length", "train_cfg=dict(by_epoch=False, max_iters=...)")
        refused(TypeError, *words, train_dataloader=stream)
        words = ("val data set Stream has no length", "__len__")
        refused(TypeError, *words, what="val", val_dataloader=stream)

    def test_the_length_is_missed_before_the_pass_and_not_after_it(self, make_runner):
        class Counted(Stream):
            passes = 0

            def __iter__(self):
                Counted.passes += 1
                return super().__iter__()

        with pytest.raises(TypeError, match="has no length"):
            make_runner(val_dataloader=DataLoader(Counted(8), batch_size=4)).val()
        assert Counted.passes == 0


GOOD = {"dataset": ROWS, "batch_size": 4, "collate_fn": "default_collate"}
LOADERS = {
    "a misspelt key": (
        {"num_worker": 2},
        ValueError,
        ".num_worker: there is no such key",
        "Did you mean 'num_workers'?",
    ),
    "workers": ({"num_workers": "2"}, TypeError, ".num_workers must be an integer, but it is '2'"),
    "workers below zero": ({"num_workers": -1}, ValueError, "num_workers", "Raised while building train_dataloader"),
    "batch size": ({"batch_size": "4"}, TypeError, ".batch_size must be an integer or None, but it is '4'"),
    "float batch size": ({"batch_size": 4.0}, TypeError, ".batch_size must be an integer or None, but it is 4.0"),
    "batch size zero": ({"batch_size": 0}, ValueError, "batch_size=0", "Raised while building train_dataloader"),
    "shuffle": ({"shuffle": "no"}, TypeError, ".shuffle must be True or False or None, but it is 'no'"),
    "drop_last": ({"drop_last": "no"}, TypeError, ".drop_last must be True or False"),
    "pin_memory": ({"pin_memory": "yes"}, TypeError, ".pin_memory must be True or False"),
    "collate": ({"collate_fn": "defaultcollate"}, ValueError, ".collate_fn", "Did you mean 'default_collate'?"),
    "collate number": ({"collate_fn": 3}, TypeError, ".collate_fn must be a function, a name in FUNCTIONS"),
    "sampler": ({"sampler": "DefaultSampler"}, TypeError, ".sampler must be a sampler", "dict(type='DefaultSampler'"),
    "sampler number": ({"sampler": 3}, TypeError, ".sampler must be a sampler"),
    "sampler name": ({"sampler": {"type": "DefaultSamplr"}}, RegistryError, "Did you mean 'DefaultSampler'"),
    "sampler key": ({"sampler": {"type": "DefaultSampler", "shufle": True}}, TypeError, "Did you mean 'shuffle'?"),
    "data set name": ({"dataset": "imagenet"}, TypeError, ".dataset must be a data set", "'imagenet' (str)"),
    "data set class": ({"dataset": TensorDataset}, TypeError, ".dataset must be a data set"),
    "no data set": ({"dataset": None}, TypeError, ".dataset must be a data set", "None (NoneType)"),
    "data set type": (
        {"dataset": {"type": "ImageNett"}},
        RegistryError,
        "'ImageNett' is not in the 'dataset' registry",
    ),
    "data set typeless": ({"dataset": {"root": "data"}}, RegistryError, "needs the key 'type'", "'root'"),
}


class TestLoaders:
    @pytest.mark.parametrize("case", LOADERS, ids=str)
    def test_a_key_of_the_config(self, refused, case):
        changes, kind, *words = LOADERS[case]
        text = refused(kind, *words, train_dataloader={**GOOD, **changes})
        assert "train_dataloader" in text or kind is RegistryError or "Sampler" in text

    @pytest.mark.parametrize("missing", ["dataset", "batch_size"])
    def test_a_key_that_it_needs(self, refused, missing):
        cfg = {key: value for key, value in GOOD.items() if key != missing}
        refused(TypeError, f"train_dataloader.{missing} is missing", train_dataloader=cfg)

    @pytest.mark.parametrize("given", [ROWS, [1, 2], iter([1]), "data"])
    def test_no_loader(self, refused, given):
        refused(TypeError, "train_dataloader must be a DataLoader or a dict", train_dataloader=given)


def unreadable(index):
    if index == 3:
        raise OSError("image 3 is unreadable")
    return torch.zeros(6), 1


def keyless(index):
    return {}["img"] if index == 3 else (torch.zeros(6), 1)


def growing(index):
    return torch.zeros(6 + index), 1


def forgetful(index):
    return None if index == 2 else (torch.zeros(6), 1)


@pytest.mark.parametrize("workers", [0, 2])
class TestSamples:
    @pytest.mark.parametrize(
        ("make", "kind", "words"), [(unreadable, OSError, "image 3 is unreadable"), (keyless, KeyError, "'img'")]
    )
    def test_an_error_of_the_data_set_stays_what_it_is(self, refused, workers, make, kind, words):
        refused(kind, words, train_dataloader={**GOOD, "dataset": Lazy(make), "num_workers": workers})

    def test_different_shapes(self, refused, workers):
        words = (
            "sample[0] has different shapes in one batch: (6,), (7,), (8,), (9,)",
            "Resize or pad",
            "pseudo_collate",
        )
        refused(ValueError, *words, train_dataloader={**GOOD, "dataset": Lazy(growing), "num_workers": workers})

    @pytest.mark.parametrize("collate", ["default_collate", "pseudo_collate"])
    @pytest.mark.parametrize("make", [forgetful, lambda index: None])
    def test_a_transform_that_forgets_to_return(self, refused, workers, collate, make):
        loader = {"dataset": Lazy(make), "batch_size": 4, "collate_fn": collate, "num_workers": workers}
        words = ("The data set returned None for sample number", "transforms return")
        refused(TypeError, *words, train_dataloader=loader)


def hanging(index):
    if index == 2:
        time.sleep(3600)
    return torch.zeros(6), 1


def dying(index):
    if index == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.zeros(6), 1


class TestWorkers:
    @pytest.mark.parametrize("what", ["train", "val"])
    def test_one_that_hangs_is_waited_for_as_long_as_was_said(self, refused, what):
        loader = {**GOOD, "dataset": Lazy(hanging), "num_workers": 1, "timeout": 0.5}
        words = ("No batch came from the 1 worker(s)", "of Lazy within its timeout of 0.5 seconds", "a longer timeout")
        refused(TimeoutError, *words, what=what, **{f"{what}_dataloader": loader})

    def test_one_that_hangs_in_a_loader_of_the_users_own(self, refused):
        class Own(DataLoader):
            def __iter__(self):
                return super().__iter__()

        loader = Own(Lazy(hanging), batch_size=4, num_workers=1, timeout=0.5)
        refused(TimeoutError, "within its timeout of 0.5 seconds", train_dataloader=loader)

    @pytest.mark.parametrize("what", ["train", "val"])
    def test_one_that_dies(self, refused, what):
        loader = {**GOOD, "dataset": Lazy(dying), "num_workers": 1}
        words = ("DataLoader worker (pid", "A worker of the data loader of Lazy is dead", "fewer workers")
        refused(RuntimeError, *words, what=what, **{f"{what}_dataloader": loader})

    @pytest.mark.parametrize(
        ("changes", "kind", "words"),
        [
            ({"timeout": "60"}, TypeError, ".timeout must be a number, but it is '60' (str). Write it without quotes."),
            ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
            ({"prefetch_factor": "2"}, TypeError, ".prefetch_factor must be an integer or None"),
            ({"num_batch_per_epoch": 0}, ValueError, ".num_batch_per_epoch must be 1 or more"),
            ({"num_batch_per_epoch": "5"}, TypeError, ".num_batch_per_epoch must be an integer or None"),
            ({"persistent_workers": "yes"}, TypeError, ".persistent_workers must be True or False"),
            ({"persistent_workers": "true"}, TypeError, "Write True or False, without quotes."),
            ({"disable_subprocess_warning": 1}, TypeError, ".disable_subprocess_warning must be True or False"),
            ({"sampler": {"type": "DefaultSampler", "shuffle": "no"}}, TypeError, ".sampler.shuffle must be True or"),
            ({"sampler": {"type": "DefaultSampler", "seed": "1"}}, TypeError, ".sampler.seed must be an integer"),
            ({"sampler": {"type": "InfiniteSampler", "shufle": 1}}, TypeError, "Did you mean 'shuffle'?"),
            ({"batch_sampler": {"type": "BatchSamplr"}}, RegistryError, ".batch_sampler: 'BatchSamplr' is not in"),
            ({"worker_init_fn": "worker_init"}, ValueError, ".worker_init_fn: 'worker_init' is not registered"),
            ({"drop_last": True, "batch_size": 9}, ValueError, "gives no batch: 8 samples, 1 rank(s), batch_size=9"),
        ],
    )
    def test_a_key_that_concerns_them_or_the_order(self, refused, changes, kind, words):
        refused(kind, words, train_dataloader={**GOOD, **changes})


class Answering(BaseMetric):
    def __init__(self, answer, prefix=None):
        super().__init__(prefix=prefix)
        self.answer = answer

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return self.answer


class TestMetrics:
    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (None, "None (NoneType)"),
            ([1.0], "[1.0] (list)"),
            (0.5, "0.5 (float)"),
            ({0: 1.0}, "{0: 1.0} (dict)"),
        ],
    )
    def test_one_that_answers_with_nothing_of_use(self, refused, answer, words):
        cure = ("The metric Answering returned", "{'accuracy': 97.5}", "compute_metrics")
        refused(ValueError, words, *cure, what="val", val_evaluator=Answering(answer))

    def test_two_with_one_key(self, refused):
        two = [{"type": "Accuracy"}, {"type": "Accuracy"}]
        words = ("metrics[1] is a second Accuracy", "the same keys", "Leave one out", "prefix")
        refused(ValueError, *words, what="val", val_evaluator=two)
        words = ("The metrics Answering and Answering both return 'x'", "another prefix")
        refused(ValueError, *words, what="val", val_evaluator=[Answering({"x": 1.0}), Answering({"x": 2.0})])

    def test_two_with_one_key_and_two_prefixes(self, make_runner):
        two = [Answering({"x": 1.0}, prefix="a"), Answering({"x": 2.0}, prefix="b")]
        assert make_runner(val_evaluator=two).val() == {"a/x": 1.0, "b/x": 2.0}

    @pytest.mark.parametrize(
        ("evaluator", "kind", "words"),
        [
            ({"type": "Acuracy"}, RegistryError, "Did you mean 'Accuracy'?"),
            ({"topk": 1}, RegistryError, "needs the key 'type'"),
            ({"type": "Accuracy", "topkk": 1}, TypeError, "no argument 'topkk'. Did you mean 'topk'?"),
            ({"type": "Accuracy", "topk": 0}, ValueError, "topk must be a positive integer or several"),
            ({"type": "Accuracy", "topk": 1.5}, ValueError, "topk must be a positive integer or several"),
            ({"type": "Accuracy", "topk": "1"}, ValueError, "topk must be a positive integer or several"),
            ({"type": "Accuracy", "topk": 5}, ValueError, "needs 5 classes, but there are only 3"),
            ({"metrics": {"type": "Accuracy"}, "size": 1}, TypeError, "Evaluator has no argument 'size'"),
            ([], ValueError, "an empty list of metrics"),
            (["Accuracy"], TypeError, "metrics[0] is 'Accuracy' (str), which is no metric"),
            ("Accuracy", TypeError, "Write dict(type='Accuracy')"),
            (3, TypeError, "An evaluator is an Evaluator, a metric"),
            (Answering, TypeError, "An evaluator is an Evaluator, a metric"),
        ],
    )
    def test_the_config(self, refused, evaluator, kind, words):
        refused(kind, words, what="val", val_evaluator=evaluator)

    @pytest.mark.parametrize(
        ("result", "words"), [(None, "None"), (torch.zeros(4, 3), "a float32 tensor of shape (4, 3)")]
    )
    def test_predictions_that_it_cannot_read(self, refused, net, result, words):
        class Predicting(net):
            def forward(self, inputs, labels=None, mode="tensor"):
                return result if mode == "predict" else super().forward(inputs, labels, mode)

        cure = ("Accuracy finds no predictions and targets", "(scores, labels)")
        refused(TypeError, words, *cure, what="val", model=Predicting())

    def test_one_that_has_gathered_nothing(self, refused):
        class Forgetful(Answering):
            def process(self, data_batch, data_samples):
                pass

            def compute_metrics(self, results):
                return {"mean": sum(results) / len(results)}

        words = ("division by zero", "There are no results: Forgetful.process has appended none")
        refused(ZeroDivisionError, *words, what="val", val_evaluator=Forgetful(None))
