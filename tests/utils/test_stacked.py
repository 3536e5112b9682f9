from __future__ import annotations

import copy
import io
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from mainspring.model import BaseDataPreprocessor
from mainspring.utils import StackedList, StackedTuple, apply_to, whole_of

KINDS = pytest.mark.parametrize(("kind", "plain"), [(StackedList, list), (StackedTuple, tuple)])


def images(count=3):
    return torch.arange(count * 12).view(count, 3, 2, 2)


def same(items, others):
    return all(torch.equal(one, other) for one, other in zip(items, others, strict=True))


@KINDS
def test_it_is_a_list_of_the_parts(kind, plain):
    whole = images()
    items = kind(whole)
    assert isinstance(items, plain)
    assert same(items, whole)
    assert whole_of(items) is whole
    assert torch.equal(torch.stack(items), whole)
    assert type(items[1:]) is plain
    whole[2] += 1
    assert same(items, whole)


def replaced(items):
    items[1] = torch.zeros(3, 2, 2, dtype=torch.int64)


def turned(items):
    items[0].transpose_(1, 2)


def pointed_elsewhere(items):
    items[2].data = torch.zeros(3, 2, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    "change",
    [
        replaced,
        turned,
        pointed_elsewhere,
        list.reverse,
        list.pop,
        lambda items: items.append(items[0]),
        lambda items: items.__setitem__(0, "a name"),
        lambda items: items.__setitem__(0, items[0].float()),
    ],
)
def test_a_list_that_was_changed_is_not_taken_for_the_tensor(change):
    items = StackedList(images())
    change(items)
    assert whole_of(items) is None
    expected = list(items)
    for moved in (items.to("cpu"), BaseDataPreprocessor().cast_data(items)):
        assert all(one is other for one, other in zip(moved, expected, strict=True))
    received = pickle.loads(ForkingPickler.dumps(items))
    assert type(received) is list
    assert all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(received, items, strict=True)
    )


def test_an_element_that_has_a_gradient_of_its_own_is_not_forgotten():
    items = StackedList(images().float())
    items[1].requires_grad_()
    assert whole_of(items) is None


def test_what_is_changed_in_place_stays_one():
    items = StackedList(images())
    items[0].add_(100)
    assert torch.equal(whole_of(items)[0], images()[0] + 100)


@pytest.mark.parametrize("given", [[], [1, "a"], [torch.zeros(2), torch.zeros(3)]])
@KINDS
def test_any_elements(kind, plain, given):
    items = kind(given)
    assert items == plain(given)
    assert whole_of(items) is None
    assert whole_of(given) is None


@KINDS
def test_between_processes_it_is_one_tensor(kind, plain):
    message = ForkingPickler.dumps(kind(images(50)))
    received = pickle.loads(message)
    assert type(received) is kind
    assert same(received, images(50))
    assert torch.equal(whole_of(received), images(50))
    assert len(message) < 2 * len(ForkingPickler.dumps(images(50)))


@KINDS
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda items: pickle.loads(pickle.dumps(items))])
def test_copies_are_plain(kind, plain, duplicate):
    items = kind(images())
    duplicated = duplicate(items)
    assert type(duplicated) is plain
    assert same(duplicated, items)


@KINDS
def test_files_hold_plain_lists(kind, plain):
    file = io.BytesIO()
    torch.save({"inputs": kind(images())}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)["inputs"]
    assert type(loaded) is plain
    assert same(loaded, images())


@KINDS
def test_it_is_moved_as_one_into_a_plain_list(kind, plain):
    moved = BaseDataPreprocessor().to("meta").cast_data({"inputs": kind(images(4)), "names": ["a"]})["inputs"]
    assert type(moved) is plain
    assert [one.shape for one in moved] == [(3, 2, 2)] * 4
    assert {one.device.type for one in moved} == {"meta"}
    assert len({id(one._base) for one in moved}) == 1
    assert moved[0]._base.shape == (4, 3, 2, 2)


@KINDS
def test_without_a_move_the_elements_stay_themselves(kind, plain):
    items = kind(images())
    moved = BaseDataPreprocessor().cast_data([items])[0]
    assert type(moved) is plain
    assert all(one is other for one, other in zip(moved, items, strict=True))


@KINDS
def test_code_that_rebuilds_containers_gets_ordinary_ones(kind, plain):
    doubled = apply_to({"inputs": kind(images())}, torch.is_tensor, lambda one: one * 2)["inputs"]
    assert same(doubled, images() * 2)
    assert whole_of(doubled) is None


@KINDS
def test_a_loader_pins_it_as_one(kind, plain, monkeypatch):
    asked = []  # of torch, which can pin nothing where there is no accelerator

    def pin(tensor):
        asked.append(tensor.shape)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    pinned = pin_memory({"inputs": kind(images())})["inputs"]
    assert type(pinned) is kind
    assert torch.equal(whole_of(pinned), images())
    assert same(pinned, images())
    assert asked == [(3, 3, 2, 2)]
    assert pin_memory(kind([images()[0], "a"]))[1] == "a"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@KINDS
def test_pinned_memory_of_a_device(kind, plain):
    pinned = pin_memory({"inputs": kind(images())})["inputs"]
    assert type(pinned) is kind
    assert whole_of(pinned).is_pinned()
    moved = pinned.to("cuda", non_blocking=True)
    assert type(moved) is plain
    assert same([one.cpu() for one in moved], images())
