from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.utils import apply_to, describe, rebuilt_sequence

Pair = namedtuple("Pair", ["left", "right"])


class Items(list):
    pass


class Group(tuple):
    __slots__ = ()


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.binary(max_size=3)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=4)
        | st.builds(Pair, inner, inner)
        | st.lists(inner, max_size=3).map(Items)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


def is_int(value):
    return type(value) is int


def skeleton(data):
    """Return the data with types in the place of containers' names, to compare with ``==``."""
    if isinstance(data, dict):
        return type(data), [(key, skeleton(value)) for key, value in data.items()]
    if isinstance(data, (list, tuple)):
        return type(data), [skeleton(value) for value in data]
    return type(data), data


@given(nested)
def test_the_identity_keeps_everything(data):
    assert skeleton(apply_to(data, is_int, lambda value: value)) == skeleton(data)


@given(nested)
def test_two_walks_are_one_walk_of_both(data):
    twice = apply_to(apply_to(data, is_int, lambda v: v + 1), is_int, lambda v: v * 2)
    assert skeleton(twice) == skeleton(apply_to(data, is_int, lambda v: (v + 1) * 2))


@given(nested)
def test_every_leaf_that_meets_the_condition_is_met_once_and_the_data_is_untouched(data):
    before = skeleton(data)
    met = []
    apply_to(data, is_int, met.append)
    assert len(met) == repr(before).count("<class 'int'>")
    assert skeleton(data) == before


def test_containers_are_asked_first():
    assert apply_to([(1, 2), [3]], lambda v: isinstance(v, tuple), sum) == [3, [3]]


def test_mappings_with_constructors_of_their_own():
    counts = defaultdict(list, a=[1])
    walked = apply_to(counts, is_int, lambda v: v + 1)
    assert walked == {"a": [2]}
    assert walked["new"] == []
    assert "new" not in counts


def test_subclasses_of_tuple_keep_their_type():
    walked = apply_to(Group((1, 2)), is_int, lambda v: v + 1)
    assert type(walked) is Group
    assert walked == (2, 3)


def test_strings_and_sets_are_leaves():
    data = ["abc", {1, 2}, b"12"]
    assert apply_to(data, is_int, lambda v: v + 1) == data


def test_a_sequence_that_cannot_be_made_from_a_list_becomes_one():
    assert rebuilt_sequence(range(2), [3, 4]) == [3, 4]
    assert rebuilt_sequence(Pair(0, 0), [3, 4]) == Pair(3, 4)
    assert type(rebuilt_sequence(Items(), [3, 4])) is Items


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        ("abc", "'abc'"),
        (np.zeros((2, 3)), "a float64 array of shape (2, 3)"),
        ([torch.zeros(3)] * 2, "a list of 2 (first a float32 tensor of shape (3,))"),
        ((1, 2, 3, 4, 5), "a tuple of (1, 2, 3, 4, ...)"),
        ([], "an empty list"),
        ((), "an empty tuple"),
        ({"a": 1, 2: 3}, "a dict with the keys 'a', 2"),
        ({}, "an empty dict"),
        (object(), "an object of class object"),
    ],
)
def test_values_in_a_few_words(value, words):
    assert describe(value) == words
