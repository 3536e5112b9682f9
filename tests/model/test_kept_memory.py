from __future__ import annotations

import copy
import gc
import pickle

import pytest
import torch
from torch._subclasses import FakeTensor, FakeTensorMode

from mainspring.model.kept_memory import KeptMemory

SHAPE = (4, 3, 256, 512)


def filled(memory, number=0.0, **options):
    return memory.empty(SHAPE, **options).fill_(number)


def test_memory_that_is_free_is_used_again():
    memory = KeptMemory()
    addresses = {filled(memory).data_ptr() for _ in range(5)}
    assert len(addresses) == 1


def test_a_tensor_is_like_any_other():
    memory = KeptMemory()
    for _ in range(2):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            for dtype in (torch.float32, torch.bfloat16):
                tensor = memory.empty(SHAPE, dtype, memory_format=memory_format)
                assert tensor.shape == SHAPE
                assert tensor.dtype == dtype
                assert tensor.stride() == torch.empty(SHAPE, memory_format=memory_format).stride()
                assert tensor.untyped_storage().nbytes() == tensor.nbytes
                assert not tensor._is_view()
                assert not tensor.requires_grad


WEIGHT = torch.ones(SHAPE, requires_grad=True)

HOLDERS = {
    "itself": lambda tensor: tensor,
    "a part": lambda tensor: tensor[0, 1],
    "turned": lambda tensor: tensor.detach().flatten(),
    "bits": lambda tensor: tensor.view(torch.int32)[1],
    "numpy": lambda tensor: tensor.numpy(),
    "part of numpy": lambda tensor: tensor.numpy()[1:2, 0],
    "memoryview": lambda tensor: memoryview(tensor.numpy()),
    "storage": lambda tensor: tensor.untyped_storage(),
    "capsule": torch.utils.dlpack.to_dlpack,
    "a graph": lambda tensor: (tensor * WEIGHT).sum(),
    "a function's context": lambda tensor: torch.nn.functional.conv2d(
        tensor, torch.ones(1, 3, 1, 1, requires_grad=True)
    ),
    "a parameter": torch.nn.Parameter,
    "a cycle": lambda tensor: (lambda cell: cell.append(cell) or cell)([tensor]),
}


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize("again", [False, True])
def test_what_somebody_holds_is_not_written_over(name, again):
    memory = KeptMemory()
    if again:  # the tensor is one in memory that was used before
        filled(memory)
    tensor = filled(memory, 1.0)
    address = tensor.data_ptr()
    holder = HOLDERS[name](tensor)
    del tensor

    other = filled(memory, 2.0)

    assert other.data_ptr() != address
    del other, holder
    gc.collect()
    assert filled(memory).data_ptr() != address  # that one is not its any more


def test_gradients_of_a_step_whose_backward_comes_later_are_right():
    memory = KeptMemory()
    weight = torch.ones(SHAPE, requires_grad=True)
    losses = [(filled(memory, number) * weight).sum() for number in (1.0, 2.0, 3.0)]
    for loss in losses:
        loss.backward()
    assert torch.equal(weight.grad, torch.full(SHAPE, 6.0))


def test_memory_is_free_after_backward():
    memory = KeptMemory()
    weight = torch.ones(SHAPE, requires_grad=True)
    loss = (filled(memory, 1.0) * weight).sum()
    address = memory._kept[0].data_ptr()
    loss.backward()
    assert filled(memory).data_ptr() == address
    assert loss.item() == weight.numel()


def test_memory_that_other_processes_may_see_is_given_up():
    memory = KeptMemory()
    shared = filled(memory).share_memory_()
    address = shared.data_ptr()
    del shared
    assert filled(memory).data_ptr() != address


def test_a_tensor_of_another_size_takes_the_place():
    memory = KeptMemory()
    filled(memory)
    small = memory.empty((512, 1024))
    assert small.untyped_storage().nbytes() == small.nbytes
    assert [storage.nbytes() for storage in memory._kept] == [small.nbytes]


def test_a_tensor_that_was_resized_does_not_harm_the_next():
    memory = KeptMemory()
    filled(memory).resize_(2 * SHAPE[0], *SHAPE[1:])
    assert filled(memory, 3.0).sum() == 3 * torch.Size(SHAPE).numel()


def test_batches_of_an_evaluation_and_of_training_take_turns():
    memory = KeptMemory()
    with torch.inference_mode():
        assert filled(memory).is_inference()
    tensor = filled(memory, 1.0)
    assert not tensor.is_inference()
    tensor.add_(WEIGHT.detach())
    (tensor * WEIGHT).sum().backward()
    with torch.inference_mode():
        assert filled(memory).is_inference()


def test_small_tensors_and_other_devices_are_left_to_torch():
    memory = KeptMemory()
    memory.empty((3, 4))
    assert memory.empty(SHAPE, device=torch.device("meta")).device.type == "meta"
    assert not memory._kept


def test_tensors_without_memory_are_not_kept():
    memory = KeptMemory()
    filled(memory)
    with FakeTensorMode():
        assert isinstance(memory.empty(SHAPE), FakeTensor)
    assert type(filled(memory, 1.0)) is torch.Tensor


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda memory: pickle.loads(pickle.dumps(memory))])
def test_copies_begin_without_memory(duplicate):
    memory = KeptMemory()
    filled(memory)
    other = duplicate(memory)
    assert not other._kept
    assert filled(other).data_ptr() != filled(memory).data_ptr()
