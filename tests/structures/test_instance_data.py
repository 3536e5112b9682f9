import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mainspring.structures import BaseDataElement, InstanceData


class Polygons:
    """A field of a make of its own: slices, a length, and a way to join."""

    def __init__(self, sides):
        self.sides = list(sides)

    def __len__(self):
        return len(self.sides)

    def __getitem__(self, item):
        return Polygons(self.sides[item])

    def __eq__(self, other):
        return self.sides == other.sides

    __hash__ = None

    @staticmethod
    def cat(parts):
        return Polygons(side for part in parts for side in part.sides)


class Boxes(InstanceData):
    """With a typed field, as a user writes one."""

    @property
    def corners(self):
        return self._corners

    @corners.setter
    def corners(self, value):
        self.set_field(value, "_corners", dtype=torch.Tensor)

    @corners.deleter
    def corners(self):
        del self._corners


def instances(count, cls=InstanceData):
    """One field of each kind; entry k of each is made of the number k."""
    return cls(
        metainfo={"path": "a.png", "flips": []},
        boxes=torch.arange(4.0 * count).reshape(count, 4),
        scores=np.arange(count) / 8,
        names=[chr(97 + place) for place in range(count)],
        letters="abcdefghij"[:count],
        ids=tuple(range(count)),
        shapes=Polygons(range(count)),
        inner=InstanceData(labels=torch.arange(count)),
    )


def plain(value):
    """Return a field as lists and numbers, so that fields can be compared."""
    if isinstance(value, BaseDataElement):
        return {name: plain(inside) for name, inside in value.items()}
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return str(value.dtype), list(value.shape), value.tolist()
    return value.sides if isinstance(value, Polygons) else value


def names_at(places):
    return [chr(97 + place) for place in places]


# The algebra

counts = st.integers(0, 6)


@st.composite
def indexed(draw):
    """Some instances, an index of one of the kinds, and the places that it means."""
    count = draw(counts)
    place = st.integers(-count, count - 1) if count else st.nothing()
    kinds = ["slice", "mask", "list", "array"]
    kind = draw(st.sampled_from(kinds + (["one"] if count else [])))
    every = range(count)
    if kind == "slice":
        index = slice(
            draw(st.none() | st.integers(-7, 7)), draw(st.none() | st.integers(-7, 7)), draw(st.integers(1, 3))
        )
        return count, index, list(every[index])
    if kind == "one":
        index = draw(place)
        return count, draw(st.sampled_from([index, np.int64(index), torch.tensor(index)])), [every[index]]
    if kind == "mask":
        mask = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        form = draw(st.sampled_from([list, lambda m: np.array(m, bool), lambda m: torch.tensor(m, dtype=torch.bool)]))
        return count, form(mask), [k for k in every if mask[k]]
    places = draw(st.lists(place, max_size=8)) if count else []
    forms = {
        "list": [list],
        "array": [
            lambda p: np.array(p, np.int64),
            lambda p: np.array(p, np.int16),
            lambda p: torch.tensor(p, dtype=torch.int64),
            lambda p: torch.tensor(p, dtype=torch.int32),
        ],
    }
    return count, draw(st.sampled_from(forms[kind]))(places), [every[p] for p in places]


@given(indexed())
def test_an_index_means_the_same_for_every_kind_of_field(case):
    count, index, places = case
    whole = instances(count)
    part = whole[index]
    assert len(part) == len(places)
    assert part.keys() == whole.keys()
    assert part.metainfo == whole.metainfo
    assert torch.equal(part.boxes, whole.boxes[places])
    assert part.scores.tolist() == [place / 8 for place in places]
    assert part.names == names_at(places)
    assert part.letters == "".join(names_at(places))
    assert part.ids == tuple(places)
    assert part.shapes.sides == places
    assert part.inner.labels.tolist() == places
    assert plain(whole) == plain(instances(count)), "the whole is as it was"


@given(counts, st.lists(st.integers(0, 6), max_size=3))
def test_the_parts_joined_are_the_whole(count, cuts):
    whole = instances(count)
    bounds = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [whole[begin:end] for begin, end in itertools.pairwise(bounds)]
    joined = InstanceData.cat(parts)
    assert plain(joined) == plain(whole)
    assert joined.metainfo == whole.metainfo
    assert plain(InstanceData.cat(list(whole) or [whole])) == plain(whole), "and so are single instances"


@given(counts)
def test_conversions_there_and_back(count):
    whole = instances(count)
    assert plain(whole.clone()) == plain(whole)
    assert plain(whole.new()) == plain(whole)
    tensors = whole.to_tensor()
    assert isinstance(tensors.scores, torch.Tensor)
    assert plain(tensors.numpy()) == plain(whole.numpy())
    assert plain(whole.numpy().to_tensor()) == plain(tensors)
    assert plain(whole.to(torch.float16).to(torch.float32).boxes) == plain(whole.boxes)
    assert plain(pickle.loads(pickle.dumps(whole))) == plain(whole)
    assert plain(copy.deepcopy(whole)) == plain(whole)


class Scenes(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return instances(index)


def test_they_travel_through_the_workers_of_a_loader():
    loader = DataLoader(Scenes(), batch_size=2, num_workers=1, collate_fn=list)
    arrived = [element for batch in loader for element in batch]
    assert [plain(element) for element in arrived] == [plain(instances(count)) for count in range(5)]
    assert arrived[3].metainfo == instances(3).metainfo
    assert all(type(element) is InstanceData for element in arrived)


# Lengths


def test_a_field_of_another_length_is_refused_by_name():
    found = InstanceData(scores=torch.zeros(3), names=["a", "b", "c"])
    message = "labels of this InstanceData has length 2, but it must have length 3, as have scores, names"
    for assign in (
        lambda: setattr(found, "labels", [1, 0]),
        lambda: found.set_field([1, 0], "labels"),
        lambda: found.set_data({"labels": [1, 0]}),
        lambda: found.update(InstanceData(labels=[1, 0])),
        lambda: found.__setitem__("labels", [1, 0]),
    ):
        with pytest.raises(ValueError, match=message):
            assign()
    assert found.keys() == ["scores", "names"]
    with pytest.raises(
        ValueError, match="names of this InstanceData has length 1, but it must have length 3, as has scores"
    ):
        found.names = ["a"]
    with pytest.raises(ValueError, match="b of this InstanceData has length 1, but it must have length 0, as has a"):
        InstanceData(a=[], b=[1])
    with pytest.raises(ValueError, match=r"corners of this Boxes has length 1.*as has labels"):
        Boxes(labels=[1, 2], corners=torch.zeros(1, 4))


def test_the_only_field_may_get_another_length():
    found = InstanceData(scores=torch.zeros(3))
    found.scores = torch.zeros(5)
    assert len(found) == 5
    boxes = Boxes(corners=torch.zeros(2, 4))
    boxes.corners = torch.zeros(3, 4)
    assert len(boxes) == 3
    del boxes.corners
    assert len(boxes) == 0


@pytest.mark.parametrize("value", [3, None, torch.tensor(1.0)])
def test_a_field_without_a_length_is_refused(value):
    with pytest.raises(TypeError, match=r"size of InstanceData must have one entry for each instance.*set_metainfo"):
        InstanceData(size=value)
    assert InstanceData(metainfo={"size": value}, names=["a"]).size == value


def test_length_and_truth():
    assert len(InstanceData()) == 0
    assert len(InstanceData(metainfo={"path": "long"})) == 0
    assert len(instances(4)) == 4
    assert not InstanceData(names=[])
    assert len(list(instances(3))) == 3


# Indexing


def test_a_string_gives_the_field_and_sets_it():
    found = instances(3)
    assert found["names"] is found.names
    assert found["path"] == "a.png"
    found["extra"] = [1, 2, 3]
    assert found.extra == [1, 2, 3]
    with pytest.raises(AttributeError, match="Did you mean 'names'"):
        found["name"]


def test_a_part_is_a_view_with_metainfo_of_its_own():
    whole = instances(4)
    part = whole[1:3]
    part.boxes.zero_()
    part.flips.append("left")
    assert whole.boxes[1:3].sum() == 0
    assert whole.flips == []


def test_subclasses_stay_what_they_are():
    boxes = Boxes(corners=torch.arange(12.0).reshape(3, 4))
    for part in (boxes[0], boxes[:1], boxes[[0]], boxes[torch.tensor([True, False, False])], Boxes.cat([boxes[:1]])):
        assert type(part) is Boxes
        assert part.keys() == ["corners"]
        assert part.corners.tolist() == [[0, 1, 2, 3]]
    assert Boxes.cat([boxes, boxes]).corners.shape == (6, 4)


def test_one_that_needs_arguments_can_be_indexed():
    class Sized(InstanceData):
        def __init__(self, size, **kwargs):
            super().__init__(metainfo={"size": size}, **kwargs)

    sized = Sized((4, 4), names=["a", "b"])
    assert sized[1:].names == ["b"]
    assert sized[[0]].size == (4, 4)


@pytest.mark.parametrize("index", [5, -6, np.int64(7), torch.tensor(5)])
def test_a_single_number_out_of_range(index):
    with pytest.raises(IndexError, match="this InstanceData has 5 instances"):
        instances(5)[index]


def test_places_out_of_range():
    for field in ({"x": torch.zeros(3)}, {"x": np.zeros(3)}, {"x": [1, 2, 3]}):
        with pytest.raises(IndexError):
            InstanceData(**field)[[0, 3]]


def test_a_mask_of_another_length():
    for mask in ([True, False], np.zeros(6, bool), torch.zeros(0, dtype=torch.bool)):
        with pytest.raises(IndexError, match=rf"mask has length {len(mask)}, but this InstanceData has 5"):
            instances(5)[mask]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (1.0, r"by a number, a slice.*1\.0 \(float\)"),
        (None, "NoneType"),
        ((1, 2), r"\(tuple\)"),
        (True, r"\(bool\)"),
        ([0.5], r"list of float64.*\.long\(\)"),
        (np.zeros(5), "ndarray of float64"),
        (torch.zeros(5), "tensor of float32"),
        (torch.zeros(5, dtype=torch.uint8), r"of uint8.*\.bool\(\)"),
        (np.zeros(5, np.uint8), "of uint8"),
        (["a"], "list of str"),
    ],
)
def test_what_is_no_index(index, message):
    with pytest.raises(TypeError, match=message):
        instances(5)[index]


def test_an_index_of_several_dimensions():
    with pytest.raises(IndexError, match=r"the index has shape \(5, 1\)"):
        instances(5)[torch.zeros(5, 1, dtype=torch.bool)]


def test_an_array_that_runs_backwards_or_is_read_only_is_an_index():
    assert instances(3)[np.arange(3)[::-1]].ids == (2, 1, 0)
    fixed = np.array([1])
    fixed.flags.writeable = False
    assert instances(3)[fixed].ids == (1,)


def test_gradients_flow_through_parts_and_joins():
    boxes = torch.ones(3, 4, requires_grad=True)
    found = InstanceData(boxes=boxes)
    InstanceData.cat([found[[0, 0]], found[torch.tensor([False, True, False])]]).boxes.sum().backward()
    assert boxes.grad.sum(1).tolist() == [8, 4, 0]


def test_a_field_that_knows_slices_only():
    class Window:
        def __len__(self):
            return 2

        def __getitem__(self, item):
            return (10, 20)[item]

    found = InstanceData(window=Window())
    assert found[1].window == (20,)
    with pytest.raises(TypeError, match=r"window is of type Window.*cat\(list_of_parts\)"):
        found[[0]]
    with pytest.raises(TypeError, match=r"window is of type Window, which cannot be joined"):
        InstanceData.cat([found, found])


# Joining


def test_what_is_joined_is_new():
    whole = instances(2)
    alone = InstanceData.cat([whole])
    assert alone is not whole
    alone.extra = [1, 2]
    assert "extra" not in whole
    twice = InstanceData.cat([whole, whole])
    twice.names.append("x")
    assert whole.names == ["a", "b"]


def test_metainfo_is_that_of_the_first():
    parts = [InstanceData(metainfo={"path": path}, ids=[1]) for path in "ab"]
    assert InstanceData.cat(parts).metainfo == {"path": "a"}


def test_what_cannot_be_joined():
    with pytest.raises(ValueError, match="the list is empty"):
        InstanceData.cat([])
    with pytest.raises(ValueError, match="item 0 has a, b, and item 1 has a"):
        InstanceData.cat([InstanceData(a=[1], b=[1]), InstanceData(a=[1])])
    with pytest.raises(TypeError, match="item 1 is of type dict"):
        InstanceData.cat([InstanceData(a=[1]), {"a": [1]}])
    with pytest.raises(TypeError, match=r"cannot be joined with one another: list, tuple") as caught:
        InstanceData.cat([InstanceData(ids=[1]), InstanceData(ids=(1,))])
    assert caught.value.__notes__ == ["This was while joining ids of 2 elements."]
    with pytest.raises(RuntimeError) as caught:
        InstanceData.cat([InstanceData(boxes=torch.zeros(1, 4)), InstanceData(boxes=torch.zeros(1, 5))])
    assert caught.value.__notes__ == ["This was while joining boxes of 2 elements."]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_an_index_on_another_device_than_the_field():
    found = InstanceData(here=torch.arange(3), there=torch.arange(3).cuda(), names=["a", "b", "c"])
    for index in ([0, 2], torch.tensor([0, 2]), torch.tensor([0, 2]).cuda(), torch.tensor([True, False, True]).cuda()):
        part = found[index]
        assert (part.here.tolist(), part.there.tolist(), part.names) == ([0, 2], [0, 2], ["a", "c"])
        assert part.there.device.type == "cuda"
