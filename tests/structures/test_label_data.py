import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.structures import LabelData


@given(st.sets(st.integers(0, 6)), st.sampled_from([torch.int64, torch.int32, torch.uint8]))
def test_there_and_back(labels, dtype):
    onehot = LabelData.label_to_onehot(torch.tensor(sorted(labels), dtype=dtype), 7)
    assert onehot.dtype == dtype
    assert onehot.tolist() == [int(number in labels) for number in range(7)]
    assert LabelData.onehot_to_label(onehot).tolist() == sorted(labels)


def test_one_label_without_a_dimension_and_one_given_twice():
    assert LabelData.label_to_onehot(torch.tensor(1), 3).tolist() == [0, 1, 0]
    assert LabelData.label_to_onehot(torch.tensor([1, 1]), 3).tolist() == [0, 1, 0]


def test_vectors_of_other_dtypes():
    assert LabelData.onehot_to_label(torch.tensor([False, True])).tolist() == [1]
    assert LabelData.onehot_to_label(torch.tensor([1.0, 0.0])).tolist() == [0]


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        ([1], TypeError, "label must be a tensor, but it is of type list"),
        (torch.tensor([1.0]), TypeError, "of float32"),
        (torch.tensor([True]), TypeError, "of bool"),
        (torch.tensor([[1]]), ValueError, r"the shape \(1, 1\)"),
        (torch.tensor([2, 5]), ValueError, "numbers from 0 to 4, since num_classes is 5, but it holds 5"),
        (torch.tensor([-1, 2]), ValueError, "but it holds -1"),
    ],
)
def test_what_is_no_label(label, error, message):
    with pytest.raises(error, match=message):
        LabelData.label_to_onehot(label, 5)


@pytest.mark.parametrize(
    ("onehot", "error", "message"),
    [
        ([0, 1], TypeError, "onehot must be a tensor"),
        (torch.tensor([[0, 1]]), ValueError, r"the shape \(1, 2\)"),
        (torch.tensor([0.5, 0]), ValueError, "other values"),
        (torch.tensor([0, 2]), ValueError, "other values"),
    ],
)
def test_what_is_no_onehot(onehot, error, message):
    with pytest.raises(error, match=message):
        LabelData.onehot_to_label(onehot)


def test_it_is_an_element_like_others():
    data = LabelData(metainfo={"num_classes": 5}, item=torch.tensor([1]))
    assert data.to_dict() == {"num_classes": 5, "item": torch.tensor([1])}
