from collections import OrderedDict, defaultdict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mainspring.dataset import default_collate, pseudo_collate
from mainspring.registry import FUNCTIONS
from mainspring.structures import BaseDataElement


class Point(NamedTuple):
    x: int
    name: str


ELEMENT = BaseDataElement(metainfo={"path": "a.png"}, label=torch.ones(1))


def test_pseudo_collate_keeps_what_is_inside():
    images = [torch.zeros(3, 4, 5), torch.zeros(3, 6, 7)]  # of different sizes
    batch = pseudo_collate([{"inputs": image, "data_samples": ELEMENT, "name": "n"} for image in images])
    assert batch["inputs"][0] is images[0]
    assert batch["inputs"][1] is images[1]
    assert batch["data_samples"] == [ELEMENT, ELEMENT]
    assert batch["name"] == ["n", "n"]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([(1, "a"), (2, "b")], [(1, 2), ("a", "b")]),
        ([[1, 2], [3, 4]], [(1, 3), (2, 4)]),
        ([Point(1, "a"), Point(2, "b")], Point((1, 2), ("a", "b"))),
        ([1.5, 2.5], [1.5, 2.5]),
        ([b"a", b"b"], [b"a", b"b"]),
        ([{"a": {"b": (1, 2)}}] * 2, {"a": {"b": [(1, 1), (2, 2)]}}),
        ([OrderedDict(a=1)] * 2, OrderedDict(a=[1, 1])),
        ([range(2), range(2)], [(0, 0), (1, 1)]),
        ([defaultdict(int, a=1)] * 2, defaultdict(int, a=[1, 1])),
    ],
)
def test_pseudo_collate_walks_containers(samples, expected):
    batch = pseudo_collate(samples)
    assert batch == expected
    if not isinstance(samples[0], (range, tuple)) or isinstance(samples[0], Point):
        assert type(batch) is type(expected)


def test_default_collate_stacks():
    batch = default_collate([{"image": np.full((2, 3), n, np.uint8), "label": n, "name": "x"} for n in range(3)])
    assert batch["image"].shape == (3, 2, 3)
    assert batch["image"].dtype == torch.uint8
    assert batch["label"].tolist() == [0, 1, 2]
    assert batch["name"] == ["x", "x", "x"]


def test_default_collate_keeps_data_elements_and_named_tuples():
    batch = default_collate([(ELEMENT, Point(1, "a")), (ELEMENT, Point(2, "b"))])
    assert list(batch[0]) == [ELEMENT, ELEMENT]
    assert isinstance(batch[1], Point)
    assert batch[1].x.tolist() == [1, 2]
    assert batch[1].name == ("a", "b")


def test_a_shape_that_differs_is_named_with_its_field():
    samples = [{"meta": 1, "img": (torch.zeros(3, 4, 4), 0)}, {"meta": 1, "img": (torch.zeros(3, 5, 4), 0)}]
    with pytest.raises(ValueError, match=r"sample\['img'\]\[0\] .*: \(3, 4, 4\), \(3, 5, 4\)\. .*pseudo_collate"):
        default_collate(samples)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([None, None], TypeError, r"sample\['x'\] is None, which cannot become part of a tensor"),
        ([1, None], TypeError, r"sample\['x'\] is of different kinds in one batch: a number, None"),
        ([torch.zeros(2), 0], TypeError, "a tensor, a number"),
        ([object(), object()], TypeError, "an object of class object, which cannot"),
        (
            [[1, 2], [1, 2, 3]],
            ValueError,
            r"sample\['x'\] is a list with different lengths in one batch: 2, 3",
        ),
        (
            [{"a": 1}, 3],
            TypeError,
            r"sample\['x'\] is a dict in the first sample of a batch, but a int in number 1",
        ),
        ([{"a": 1}, {"b": 1}], KeyError, r"sample\['x'\] number 1 of a batch has no key 'a'"),
        ([(1, 2), "ab"], TypeError, "a tuple in the first sample of a batch, but a str in number 1"),
    ],
)
def test_samples_that_do_not_fit_together(values, error, message):
    with pytest.raises(error, match=message):
        default_collate([{"x": value} for value in values])


def test_the_error_reaches_the_main_process_whole():
    loader = DataLoader(
        [(torch.zeros(2), 0), (torch.zeros(3), 1)], batch_size=2, collate_fn=default_collate, num_workers=1
    )
    with pytest.raises(ValueError, match=r"sample\[0\] has different shapes in one batch: \(2,\), \(3,\)"):
        next(iter(loader))


def test_collate_functions_are_found_by_name():
    assert FUNCTIONS.get("pseudo_collate") is pseudo_collate
    assert FUNCTIONS.get("default_collate") is default_collate
