import pytest
import torch
from torch import nn

from mainspring.optim.kept_buffers import KeptBuffers


class Holder(nn.Module):
    def __init__(self, **buffers):
        super().__init__()
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor)


def put_back(kept, flag):
    """In the way that knows whether, or in the one that does not."""
    kept.restore() if flag is None else kept.restore_where(torch.tensor(flag))


def bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).tolist()


PUT_BACK = pytest.mark.parametrize("flag", [None, 1.0], ids=["restore", "restore_where"])


@PUT_BACK
def test_buffers_of_every_dtype_and_layout_come_back_with_their_bits(flag):
    before = {
        "floats": torch.tensor([0.1, float("nan"), -0.0]),
        "halves": torch.randn(2, 3).bfloat16(),
        "numbers": torch.arange(4),
        "flags": torch.tensor([True, False]),
        "turned": torch.randn(3, 4).t(),
        "scalar": torch.tensor(2.5),
        "nothing": torch.zeros(0),
    }
    model = nn.Sequential(Holder(**{name: tensor.clone() for name, tensor in before.items()}), nn.BatchNorm1d(2))
    kept = KeptBuffers(model)
    kept.keep()
    same = dict(model.named_buffers())
    for buffer in model.buffers():
        buffer.zero_() if buffer.dtype is torch.bool else buffer.add_(1)
    put_back(kept, flag)
    assert all(dict(model.named_buffers())[name] is buffer for name, buffer in same.items())
    for name, tensor in before.items():
        assert bits(model[0].get_buffer(name)) == bits(tensor)
    assert model[1].running_var.tolist() == [1, 1]
    assert model[1].num_batches_tracked.item() == 0


def test_flag_of_zero_leaves_what_has_changed():
    model = Holder(a=torch.zeros(2))
    kept = KeptBuffers(model)
    kept.keep()
    model.a += 1
    kept.restore_where(torch.tensor(0.0))
    assert model.a.tolist() == [1, 1]


@PUT_BACK
def test_second_keeping_replaces_the_first(flag):
    model = Holder(a=torch.zeros(2))
    kept = KeptBuffers(model)
    for _ in range(2):
        kept.keep()
        model.a += 1
    put_back(kept, flag)
    assert model.a.tolist() == [1, 1]


@PUT_BACK
@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "a", model.a + 5),
        lambda model: setattr(model, "a", torch.zeros(7)),
        lambda model: setattr(model, "a", None),
        lambda model: model.a.resize_(5).fill_(9),
        lambda model: setattr(model, "late", torch.ones(3)),
        lambda model: model._buffers.pop("a"),
    ],
    ids=["replaced", "other shape", "none", "resized", "from none", "removed"],
)
def test_buffer_that_is_another_tensor_afterwards_comes_back(change, flag):
    model = Holder(a=torch.tensor([1.0, 2.0]), late=None)
    kept = KeptBuffers(model)
    kept.keep()
    change(model)
    put_back(kept, flag)
    assert model.a.tolist() == [1, 2]
    assert model.late is None


def test_buffer_of_another_shape_stays_where_the_flag_is_zero():
    model = Holder(a=torch.zeros(2))
    kept = KeptBuffers(model)
    kept.keep()
    model.a = torch.ones(3)
    kept.restore_where(torch.tensor(0.0))
    assert model.a.tolist() == [1, 1, 1]
    kept.keep()
    model.a += 1
    put_back(kept, 1.0)
    assert model.a.tolist() == [1, 1, 1]


def test_tensor_whose_elements_share_memory_is_left_alone():
    model = Holder(positions=torch.zeros(1).expand(4), a=torch.zeros(1))
    kept = KeptBuffers(model)
    kept.keep()
    model.a += 1
    put_back(kept, 1.0)
    assert model.a.tolist() == [0]
    assert model.positions.stride() == (0,)


def test_state_brings_back_what_was_kept_and_nothing_later():
    model = nn.Sequential(Holder(a=torch.zeros(2)), Holder(b=torch.zeros(1)))
    kept = KeptBuffers(model)
    kept.keep()
    state = kept.state_dict()
    model[0].a += 3
    kept.keep()
    assert {name: tensor.tolist() for name, tensor in state.items()} == {"0.a": [0, 0], "1.b": [0]}

    other = KeptBuffers(model)
    other.load_state_dict({"0.a": state["0.a"], "1.b": torch.zeros(9)})
    model[1].b += 1
    put_back(other, 1.0)
    assert model[0].a.tolist() == [0, 0]
    assert model[1].b.tolist() == [0]  # the saved one does not fit, so it was kept as it was
