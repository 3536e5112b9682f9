from collections import OrderedDict, defaultdict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mainspring.dataset import default_collate, pseudo_collate
from mainspring.registry import FUNCTIONS
from mainspring.structures import BaseDataElement
from mainspring.utils import whole_of


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


def of_workers(samples, workers=1):
    """Return the batch that a loader makes of the samples."""
    (batch,) = DataLoader(samples, batch_size=len(samples), collate_fn=pseudo_collate, num_workers=workers)
    return batch


def image(number, shape=(3, 4, 5), dtype=torch.uint8):
    return torch.full(shape, number, dtype=dtype)


def test_images_of_one_size_leave_a_worker_as_one():
    samples = [{"inputs": image(n), "boxes": torch.zeros(n, 4), "data_samples": ELEMENT} for n in range(4)]
    batch = of_workers(samples)
    assert isinstance(batch["inputs"], list)
    assert torch.equal(whole_of(batch["inputs"]), torch.stack([image(n) for n in range(4)]))
    assert len({one.untyped_storage().data_ptr() for one in batch["inputs"]}) == 1
    assert whole_of(batch["inputs"]).is_shared()
    assert type(batch["boxes"]) is list  # they differ in size
    assert [len(boxes) for boxes in batch["boxes"]] == [0, 1, 2, 3]
    assert type(batch["data_samples"]) is list


def test_a_tuple_of_tensors_stays_a_tuple_in_a_worker():
    images, labels = of_workers([(image(n), torch.tensor(n)) for n in range(3)])
    assert isinstance(images, tuple)
    assert isinstance(labels, tuple)
    assert torch.equal(whole_of(labels), torch.arange(3))


UNLIKE = {
    "sizes": [image(1), image(1, (3, 5, 4))],
    "dtypes": [image(1), image(1, dtype=torch.int16)],
    "kinds": [image(1), 1],
    "one alone": [image(1)],
    "sparse": [image(1).to_sparse(), image(2).to_sparse()],
    "conjugates": [torch.ones(2, dtype=torch.complex64).conj(), torch.ones(2, dtype=torch.complex64)],
    "meta": [image(1).to("meta"), image(2).to("meta")],
    "parameters": [torch.nn.Parameter(torch.zeros(2), requires_grad=False) for _ in range(2)],
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own, in each process that gets one
@pytest.mark.parametrize("name", UNLIKE)
def test_what_is_not_alike_stays_apart_in_a_worker(name):
    stayed = of_workers([{"x": value} for value in UNLIKE[name]])["x"]
    assert type(stayed) is list
    assert whole_of(stayed) is None
    for one, other in zip(stayed, UNLIKE[name], strict=True):
        assert type(one) is type(other)
        if isinstance(one, torch.Tensor):
            assert (one.shape, one.dtype, one.layout) == (other.shape, other.dtype, other.layout)


@pytest.mark.parametrize(
    "values",
    [
        [torch.rand(3, 4).t(), torch.rand(3, 4).t()],
        [torch.zeros(0, 4), torch.zeros(0, 4)],
        [torch.tensor(True), torch.tensor(False)],
    ],
)
def test_the_values_are_those_without_workers(values):
    for one, other in zip(of_workers([{"x": value} for value in values])["x"], values, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype


def test_without_workers_the_tensors_are_those_of_the_data_set():
    images = [image(1), image(2)]
    batch = of_workers([{"inputs": one} for one in images], workers=0)["inputs"]
    assert type(batch) is list
    assert batch[0] is images[0]


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
