from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.model.stack import stack_batch

sizes = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=4)


@settings(deadline=None)
@given(sizes, st.integers(1, 8), st.integers(0, 255))
def test_each_tensor_lies_at_the_front_of_the_smallest_batch(sizes, divisor, pad_value):
    tensors = [torch.randint(0, 256, (2, *size), dtype=torch.uint8) for size in sizes]

    batch = stack_batch(tensors, divisor, pad_value)

    assert batch.dtype == torch.uint8
    assert batch.shape[:2] == (len(tensors), 2)
    for axis in (2, 3):
        largest = max(tensor.shape[axis - 1] for tensor in tensors)
        assert batch.shape[axis] % divisor == 0
        assert largest <= batch.shape[axis] < largest + divisor
    for image, tensor in zip(batch, tensors, strict=True):
        _, height, width = tensor.shape
        assert torch.equal(image[:, :height, :width], tensor)
        assert (image[:, height:] == pad_value).all()
        assert (image[:, :, width:] == pad_value).all()


def test_any_number_of_dimensions_will_do():
    assert stack_batch([torch.zeros(3), torch.zeros(3)], 8).shape == (2, 3)
    assert stack_batch([torch.zeros(3, 4), torch.zeros(3, 7)]).shape == (2, 3, 7)
    assert stack_batch([torch.zeros(3, 4, 1, 2), torch.zeros(3, 2, 2, 5)], 2).shape == (2, 3, 4, 2, 6)


def test_the_batch_is_new():
    tensor = torch.ones(1, 2, 2)

    stack_batch([tensor]).zero_()

    assert torch.equal(tensor, torch.ones(1, 2, 2))


def test_dtypes_are_promoted():
    batch = stack_batch([torch.ones(1, 1, dtype=torch.uint8), torch.full((1, 2), 0.5)])

    assert batch.tolist() == [[[1.0, 0.0]], [[0.5, 0.5]]]


def test_gradients_flow_back():
    small, large = torch.ones(1, 2, requires_grad=True), torch.ones(1, 3, requires_grad=True)

    (stack_batch([small, large], pad_value=5) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()

    assert small.grad.tolist() == [[1.0, 2.0]]
    assert large.grad.tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((torch.zeros(2, 3, 4),), TypeError, "must be a list of tensors, but it is of type Tensor"),
        (([],), ValueError, "empty"),
        (([torch.zeros(1), 3],), TypeError, r"tensor_list\[1\] must be a tensor, but it is of type int"),
        (([torch.zeros(3, 4), torch.zeros(3, 4, 4)],), ValueError, r"\(3, 4\), \(3, 4, 4\)"),
        (([torch.zeros(3, 4), torch.zeros(1, 4)],), ValueError, r"channels.*\(3, 4\), \(1, 4\)"),
        (([torch.tensor(1.0)],), ValueError, "at least one"),
        (([torch.zeros(1)], 0), ValueError, "pad_size_divisor must be at least 1"),
    ],
)
def test_errors_say_what_was_given(given, error, message):
    with pytest.raises(error, match=message):
        stack_batch(*given)
