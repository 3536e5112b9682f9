"""Data sets made of others: which sample is where, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import IterableDataset, TensorDataset

from mainspring.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
    build_dataloader,
    pass_over,
    resumable,
)
from mainspring.registry import DATASETS


class Letters(BaseDataset):
    """A sample for each letter of a text; its class is the letter."""

    METAINFO = {"alphabet": "latin", "weights": np.arange(3)}  # noqa: RUF012

    def __init__(self, text, **options):
        self.text = text
        super().__init__(**options)

    def load_data_list(self):
        return [{"letter": letter} for letter in self.text]

    def get_cat_ids(self, idx):
        letter = self.get_data_info(idx)["letter"]
        return [] if letter == " " else [ord(letter)]


def text_of(dataset):
    return "".join(sample["letter"] for sample in dataset)


texts = st.text("abc ", max_size=6)


@given(st.lists(texts, min_size=1, max_size=4), st.data())
def test_one_after_the_other(parts, data):
    joined = ConcatDataset([Letters(part) for part in parts])
    whole = "".join(parts)
    assert len(joined) == len(whole)
    assert text_of(joined) == whole
    if whole:
        index = data.draw(st.integers(-len(whole), len(whole) - 1))
        assert joined[index]["letter"] == whole[index]
        assert joined.get_data_info(index)["letter"] == whole[index]
        assert joined.get_cat_ids(index) == Letters(whole).get_cat_ids(index)
    assert joined.cumulative_sizes == [len("".join(parts[: count + 1])) for count in range(len(parts))]


@given(texts, st.integers(1, 3))
def test_several_times(text, times):
    repeated = RepeatDataset(Letters(text), times)
    assert text_of(repeated) == text * times
    assert [repeated.get_data_info(index)["sample_idx"] for index in range(len(repeated))] == list(
        range(len(text))
    ) * times
    if text:
        assert repeated[-1]["letter"] == text[-1]
        assert repeated.get_cat_ids(len(text) * times - 1) == Letters(text).get_cat_ids(-1)


@given(texts, st.floats(0, 1))
def test_rare_classes_come_several_times(text, threshold):
    balanced = ClassBalancedDataset(Letters(text), threshold)
    expected = ""
    for letter in text:
        share = text.count(letter) / len(text)
        times = 1 if letter == " " else math.ceil(max(1, math.sqrt(threshold / share)))
        expected += letter * times
    assert text_of(balanced) == expected
    assert len(balanced) == len(expected) == len(balanced.repeat_indices)


def test_the_rarest_class_of_a_sample_counts():
    class Pairs(Letters):
        def get_cat_ids(self, idx):
            return [1, 2] if self.get_data_info(idx)["letter"] == "x" else [1]

    assert text_of(ClassBalancedDataset(Pairs("aaax"), 1.0)) == "aaaxx"


def test_one_inside_another_and_by_config():
    DATASETS.register_module(module=Letters)
    try:
        dataset = DATASETS.build(
            {
                "type": "ClassBalancedDataset",
                "oversample_thr": 0.5,
                "dataset": {
                    "type": "RepeatDataset",
                    "times": 2,
                    "dataset": {
                        "type": "ConcatDataset",
                        "datasets": [{"type": "Letters", "text": t} for t in ("aa", "b")],
                    },
                },
            }
        )
    finally:
        del DATASETS._module_dict["Letters"]
    assert text_of(dataset) == "aabbaabb"
    assert dataset.metainfo["alphabet"] == "latin"


def test_data_sets_of_others():
    plain = TensorDataset(torch.arange(3))
    assert [int(item[0]) for item in RepeatDataset(ConcatDataset([plain, plain]), 2)] == [0, 1, 2] * 4
    assert ConcatDataset([plain]).metainfo == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda inside: ConcatDataset([inside]),
        lambda inside: RepeatDataset(inside, 2),
        lambda inside: ClassBalancedDataset(inside, 0.5),
    ],
    ids=["concat", "repeat", "balanced"],
)
class TestAll:
    def test_out_of_range(self, make):
        dataset = make(Letters("aab"))
        for index in (len(dataset), -len(dataset) - 1):
            for ask in (dataset.__getitem__, dataset.get_data_info, dataset.get_cat_ids):
                with pytest.raises(IndexError, match=rf"There is no sample {index}: \w+ has {len(dataset)} samples"):
                    ask(index)

    def test_metainfo_is_a_copy(self, make):
        dataset = make(Letters("a", metainfo={"classes": ["x"]}))
        dataset.metainfo["classes"].append("y")
        assert dataset.metainfo["classes"] == ["x"]
        assert dataset.metainfo["alphabet"] == "latin"

    def test_it_has_no_subsets(self, make):
        dataset = make(Letters("aab"))
        for method in (dataset.get_subset, dataset.get_subset_):
            with pytest.raises(NotImplementedError, match=r"Take the subset of the data set inside"):
                method([0])

    def test_what_is_no_data_set(self, make):
        class Endless(IterableDataset):
            def __iter__(self):
                return iter(())

        for wrong in (3, "Letters", Letters, {1, 2}, Endless()):
            with pytest.raises(TypeError, match="must be a data set with a length and samples by index"):
                make(wrong)

    def test_lazy_until_needed(self, make):
        inside = Letters("aab", lazy_init=True)
        reads = []
        read = inside.load_data_list
        inside.load_data_list = lambda: reads.append(1) or read()
        lazy = type(make(Letters("a")))
        arguments = {"ConcatDataset": [[inside]], "RepeatDataset": [inside, 2], "ClassBalancedDataset": [inside, 0.5]}
        dataset = lazy(*arguments[lazy.__name__], lazy_init=True)
        assert reads == []
        assert dataset[0]["letter"] == "a"
        dataset.full_init()
        assert len(dataset) >= 3
        assert reads == [1]


def test_metainfo_must_agree():
    one, other = Letters("a", metainfo={"classes": ["x"]}), Letters("b", metainfo={"classes": ["y"], "year": 1})
    with pytest.raises(
        ValueError,
        match=r"datasets\[0\] and datasets\[1\] differ: 'classes' is .*; 'year' is None and 1.*=\['classes', 'year'\]",
    ):
        ConcatDataset([one, other])
    for ignored in (["classes", "year"], ("classes", "year")):
        assert ConcatDataset([one, other], ignore_keys=ignored).metainfo["classes"] == ["x"]
    with pytest.raises(ValueError, match="differ: 'year'"):
        ConcatDataset([one, other], ignore_keys="classes")
    with pytest.raises(ValueError, match="differ: 'weights'"):
        ConcatDataset([one, Letters("b", metainfo={"classes": ["x"], "weights": np.arange(4)})])


def test_metainfo_from_files_is_compared_when_it_is_known():
    class Read(Letters):
        def load_data_list(self):
            self._metainfo["source"] = self.text
            return super().load_data_list()

    lazy = ConcatDataset([Read("a", lazy_init=True), Read("b", lazy_init=True)], lazy_init=True)
    with pytest.raises(ValueError, match="differ: 'source' is 'a' and 'b'"):
        len(lazy)
    once = RepeatDataset(Read("a", lazy_init=True), 2)
    assert once.metainfo["source"] == "a"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ConcatDataset([]), ValueError, "is an empty list"),
        (lambda: ConcatDataset({"type": "Letters"}), TypeError, "must be a list of data sets"),
        (lambda: ConcatDataset([[1]], ignore_keys=3), TypeError, "ignore_keys of ConcatDataset"),
        (lambda: RepeatDataset([1], 0), ValueError, "times of RepeatDataset must be 1 or more"),
        (lambda: RepeatDataset([1], 1.5), TypeError, "times of RepeatDataset must be an integer"),
        (lambda: ClassBalancedDataset(Letters("a"), -0.1), ValueError, "must be 0 or more"),
        (lambda: ClassBalancedDataset(Letters("a"), "0.1"), TypeError, "oversample_thr of ClassBalancedDataset"),
        (lambda: ClassBalancedDataset([1], 0.1), TypeError, r"list has no method get_cat_ids\(idx\)"),
    ],
)
def test_arguments_that_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_classes_that_a_data_set_does_not_tell():
    class Silent(BaseDataset):
        def load_data_list(self):
            return [{}]

    with pytest.raises(NotImplementedError, match=r"Silent does not say which classes.*get_cat_ids\(idx\)"):
        ClassBalancedDataset(Silent(), 0.5)


class Noise:
    """A transform with a generator of its own."""

    def __init__(self):
        self.generator = np.random.default_rng(0)

    def __call__(self, info):
        return info["letter"], float(self.generator.random())


def test_samples_do_not_depend_on_the_number_of_workers():
    def batches(workers):
        repeated = RepeatDataset(ConcatDataset([Letters("de", pipeline=[Noise()])]), 2)
        dataset = ConcatDataset([Letters("abc", pipeline=[Noise()]), repeated])
        loader = build_dataloader({"dataset": dataset, "batch_size": 2, "shuffle": True, "num_workers": workers}, 5)
        return list(pass_over(resumable(loader, 5), 1, seed=5, sample_seeding=True))

    assert batches(2) == batches(0)
