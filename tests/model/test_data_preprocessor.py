from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, defaultdict, namedtuple
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mainspring.model.data_preprocessor import BaseDataPreprocessor
from mainspring.registry import MODELS
from mainspring.structures import BaseDataElement

Pair = namedtuple("Pair", "image label")
Edge = namedtuple("Edge", "frm to")  # a field called like the method


class Row(list):
    pass


@pytest.fixture
def on_meta():
    return BaseDataPreprocessor().to("meta")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: (t, 1),
        lambda t: [t, "name"],
        lambda t: {"a": t},
        lambda t: Pair(t, 3),
        lambda t: Edge(t, 3),
        lambda t: Row([t]),
        lambda t: OrderedDict(a=t),
        lambda t: {"a": [{"b": (t, None)}]},
    ],
)
def test_tensors_are_moved_and_containers_keep_their_type(wrap, on_meta):
    tensor = torch.zeros(2)
    data = wrap(tensor)

    moved = on_meta.cast_data(data)

    def shape(x):
        if isinstance(x, dict):
            return type(x), [(k, shape(v)) for k, v in x.items()]
        if isinstance(x, (list, tuple)):
            return type(x), [shape(v) for v in x]
        return str(x.device) if isinstance(x, torch.Tensor) else x

    assert "meta" in str(shape(moved))
    assert shape(moved) == shape(wrap(tensor.to("meta")))
    assert shape(data) == shape(wrap(tensor))  # the given containers are as they were


def test_a_defaultdict_keeps_its_default(on_meta):
    moved = on_meta.cast_data(defaultdict(list, a=torch.zeros(1)))

    assert moved["a"].device.type == "meta"
    assert moved["new"] == []


def test_a_mapping_that_cannot_be_filled_becomes_a_dict_only_if_it_must(on_meta):
    moved = on_meta.cast_data(MappingProxyType({"a": torch.zeros(1)}))

    assert type(moved) is MappingProxyType
    assert moved["a"].device.type == "meta"


@pytest.mark.parametrize("value", ["s", b"b", 1, 2.5, True, 1j, Fraction(1, 3), np.float32(2), np.bool_(True), None])
def test_what_has_no_place_on_a_device_is_handed_on(value, on_meta):
    assert on_meta.cast_data(value) is value
    assert on_meta.cast_data([value])[0] is value


def test_a_packed_sequence_stays_one(on_meta):
    packed = nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)])

    moved = on_meta.cast_data({"text": packed})["text"]

    assert type(moved) is nn.utils.rnn.PackedSequence
    assert moved.data.device.type == "meta"
    assert moved.batch_sizes.device.type == "cpu"


def test_a_data_element_is_moved_with_its_metainfo(on_meta):
    element = BaseDataElement(metainfo={"name": "x"}, mask=torch.ones(3))

    (moved,) = on_meta.cast_data([element])

    assert moved.mask.device.type == "meta"
    assert moved.metainfo == {"name": "x"}
    assert element.mask.device.type == "cpu"


class Boxes:
    def __init__(self, device="cpu"):
        self.device = device

    def to(self, device):
        return Boxes(str(device))


class Graph:
    non_blocking = None

    def to(self, device, non_blocking=False):
        self.non_blocking = non_blocking
        return self


def test_anything_with_a_method_to_is_moved_by_it(on_meta):
    assert on_meta.cast_data((Boxes(), 1))[0].device == "meta"


@pytest.mark.parametrize(
    ("option", "device", "expected"), [(True, "meta", True), (False, "meta", False), (True, "cpu", False)]
)
def test_only_copies_to_an_accelerator_run_ahead(option, device, expected):
    # The host would read a copy to the CPU before it is whole.
    preprocessor = BaseDataPreprocessor(non_blocking=option).to(device)

    assert preprocessor.cast_data([Graph()])[0].non_blocking is expected


def test_copies_run_ahead_by_default():
    assert BaseDataPreprocessor().non_blocking is True


def test_objects_that_know_no_device_are_handed_on(on_meta):
    array, thing = np.zeros(2), object()

    cast = on_meta({"inputs": torch.zeros(1), "meta": [array, thing]})

    assert cast["inputs"].device.type == "meta"
    assert cast["meta"][0] is array
    assert cast["meta"][1] is thing


def test_what_lies_on_the_device_is_handed_on_itself():
    images, labels = torch.zeros(2), torch.zeros(2)
    batch = [images, {"labels": labels}]

    moved = BaseDataPreprocessor()(batch)

    assert moved[0] is images
    assert moved[1]["labels"] is labels
    assert moved is not batch
    assert moved[1] is not batch[1]


def test_the_device_follows_every_way_to_move_a_parent():
    parent = nn.Sequential(nn.Linear(1, 1), nn.ModuleDict({"p": BaseDataPreprocessor()}))
    preprocessor = parent[1]["p"]
    assert preprocessor.device == torch.device("cpu")

    parent.to("meta")
    assert preprocessor.device == torch.device("meta")
    parent.to_empty(device="cpu")
    assert preprocessor.device == torch.device("cpu")
    with torch.device("meta"):
        assert BaseDataPreprocessor().device == torch.device("meta")


@pytest.mark.parametrize("convert", ["half", "double", "bfloat16"])
def test_a_model_of_another_dtype_leaves_the_data_alone(convert):
    preprocessor = BaseDataPreprocessor()
    getattr(nn.ModuleList([preprocessor]), convert)()

    images = torch.zeros(2, dtype=torch.float32)
    assert preprocessor([images])[0] is images


def test_nothing_of_it_is_saved():
    assert not BaseDataPreprocessor(augments={"type": "MixUp", "num_classes": 2}).state_dict()


def test_it_can_be_copied_and_pickled(on_meta):
    for twin in (copy.deepcopy(on_meta), pickle.loads(pickle.dumps(on_meta))):
        assert twin.device.type == "meta"


class Add(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.register_buffer("number", torch.tensor(float(number)))

    def forward(self, data):
        return [data[0] + self.number, *data[1:]]


class Double(nn.Module):
    def forward(self, data):
        return [data[0] * 2, *data[1:]]


def test_augments_take_part_in_training_only_and_in_order():
    preprocessor = BaseDataPreprocessor(augments=[Add(1), Double()])
    batch = [torch.tensor(3.0), "label"]

    assert preprocessor(batch, True) == [torch.tensor(8.0), "label"]
    assert preprocessor(batch, training=False) == batch
    assert preprocessor(batch) == batch


def test_one_augment_needs_no_list_and_a_config_will_do():
    images, labels = torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 1, 0])

    one = BaseDataPreprocessor(augments={"type": "MixUp", "num_classes": 2})
    many = MODELS.build({"type": "BaseDataPreprocessor", "augments": [{"type": "MixUp", "num_classes": 2}]})

    assert one([images, labels], True)[1].shape == (4, 2)
    assert many([images, labels], True)[1].shape == (4, 2)


def test_augments_follow_the_device():
    preprocessor = BaseDataPreprocessor(augments=Add(1)).to("meta")

    assert preprocessor([torch.zeros(2)], True)[0].device.type == "meta"


def test_an_augment_that_is_no_module_is_named():
    with pytest.raises(TypeError, match=r"augments of BaseDataPreprocessor\[1\] must be an nn\.Module.*function"):
        BaseDataPreprocessor(augments=[Double(), lambda data: data])


def test_an_override_of_cast_data_sees_every_element():
    class Shortened(BaseDataPreprocessor):
        def cast_data(self, data):
            return data[:5] if isinstance(data, str) else super().cast_data(data)

    assert Shortened()({"names": ["a long name", "short"]}) == {"names": ["a lon", "short"]}


class MixUpDataPreprocessor(BaseDataPreprocessor):
    """The one of the model tutorial."""

    def __init__(self, num_class, alpha):
        super().__init__()
        self.num_class = num_class
        self.alpha = alpha

    def forward(self, data, training=True):
        data = self.cast_data(data)
        if not training:
            return data
        img, label = data
        label = F.one_hot(label, self.num_class)
        index = torch.randperm(len(label))
        lam = np.random.beta(self.alpha, self.alpha)
        img = lam * img + (1 - lam) * img[index, :]
        label = lam * label + (1 - lam) * label[index, :]
        return img, label


def test_the_tutorials_preprocessor_works():
    preprocessor = MixUpDataPreprocessor(num_class=3, alpha=1.0)
    batch = (torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]))

    images, labels = preprocessor(batch, training=True)

    assert images.shape == batch[0].shape
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    assert preprocessor(batch, training=False)[1] is batch[1]


def test_a_preprocessor_may_return_another_layout_and_still_augment():
    class Adapted(BaseDataPreprocessor):
        def forward(self, data, training=False):
            images, labels, _ = data
            return super().forward({"pixels": images, "target": labels}, training)

    augment = {"type": "MixUp", "num_classes": 2, "inputs": "pixels", "labels": "target"}
    batch = (torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), "unused")

    out = Adapted(augments=[augment])(batch, True)

    assert list(out) == ["pixels", "target"]
    assert out["target"].shape == (2, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_batches_travel_without_a_wait():
    preprocessor = BaseDataPreprocessor().cuda()
    images = torch.arange(1000.0).pin_memory()
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = preprocessor([images])[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert preprocessor.device.type == "cuda"
    torch.testing.assert_close(moved.cpu(), images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_batches_travel_beside_the_computation():
    preprocessor = BaseDataPreprocessor().cuda()
    weight = torch.randn(2048, 2048, device="cuda")
    batches = [torch.full((1_000_000,), float(number)).pin_memory() for number in range(20)]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        sums = []
        for batch in batches:  # memory of batches is used again while copies and products are under way
            for _ in range(5):
                weight = (weight @ weight).tanh()
            sums.append(preprocessor([batch])[0].sum())
        torch.cuda.synchronize()
    assert [one.item() for one in sums] == [1e6 * number for number in range(20)]
    copies = {e.device_resource_id for e in profile.events() if "Memcpy HtoD" in e.name}
    products = {e.device_resource_id for e in profile.events() if "gemm" in e.name}
    assert copies.isdisjoint(products)
