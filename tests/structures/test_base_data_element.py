import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.structures import BaseDataElement, MissingFieldError


class Detection(BaseDataElement):
    """As a user writes one: a typed data field and a typed piece of metainfo."""

    anchors = 9

    @property
    def boxes(self):
        return self._boxes

    @boxes.setter
    def boxes(self, value):
        self.set_field(value, "_boxes", dtype=torch.Tensor)

    @boxes.deleter
    def boxes(self):
        del self._boxes

    @property
    def source(self):
        return self._source

    @source.setter
    def source(self, value):
        self.set_field(value, "_source", dtype=(str, bytes), field_type="metainfo")

    @property
    def area(self):
        return self.boxes.sides  # a slip in the user's code

    @property
    def count(self):
        return len(self.boxes)


def sample():
    return BaseDataElement(metainfo={"img_shape": (32, 48), "path": "a.png"}, scores=torch.tensor([0.5, 0.25]), label=3)


def test_metainfo_and_data_are_apart():
    element = sample()
    assert element.keys() == ["scores", "label"]
    assert element.metainfo_keys() == ["img_shape", "path"]
    assert element.all_keys() == ["img_shape", "path", "scores", "label"]
    assert element.metainfo_values() == [(32, 48), "a.png"]
    assert element.values()[1] == 3
    assert list(element.metainfo_items()) == [("img_shape", (32, 48)), ("path", "a.png")]
    assert dict(element.all_items()).keys() == set(element.all_keys())
    assert len(element.all_values()) == 4
    assert element.metainfo == {"img_shape": (32, 48), "path": "a.png"}
    assert element.img_shape == (32, 48)
    assert element.label == 3


def test_metainfo_is_deep_copied():
    given_metainfo = {"flips": ["left"], "nested": ([1],)}
    element = BaseDataElement(metainfo=given_metainfo)
    given_metainfo["flips"].append("right")
    given_metainfo["nested"][0].append(2)
    assert element.flips == ["left"]
    assert element.nested == ([1],)


def test_metainfo_keeps_what_its_values_share():
    shared = [1]
    element = BaseDataElement(metainfo={"first": shared, "second": shared})
    element.first.append(2)
    assert element.second == [1, 2]


def test_metainfo_is_read_only_as_an_attribute():
    element = sample()
    with pytest.raises(AttributeError, match=r"'img_shape' is metainfo.*set_metainfo\(\{'img_shape'"):
        element.img_shape = (1, 1)
    element.set_metainfo({"img_shape": (1, 1)})
    assert element.img_shape == (1, 1)
    with pytest.raises(AttributeError, match=r"'metainfo' cannot be a field.*set_metainfo"):
        element.metainfo = {}
    element.metainfo["img_shape"] = (9, 9)  # changes the caller's dict only
    assert element.img_shape == (1, 1)


def test_a_name_has_one_kind():
    with pytest.raises(AttributeError, match="'label' is a data field"):
        sample().set_metainfo({"label": 1})
    with pytest.raises(AttributeError, match="'path' is metainfo"):
        BaseDataElement(metainfo={"path": "a"}, path="b")
    with pytest.raises(AttributeError, match="'label' is metainfo"):
        sample().new(metainfo={"label": 1})
    element = sample()
    del element.path
    element.path = "now data"
    assert element.keys() == ["scores", "label", "path"]


def test_a_method_cannot_be_hidden_by_a_field():
    element = sample()
    for name in ("keys", "to", "_metainfo", "__class__"):
        with pytest.raises(AttributeError, match="cannot be a field"):
            setattr(element, name, 1)
    with pytest.raises(AttributeError, match="cannot be a field"):
        BaseDataElement(metainfo={"values": 3})
    assert element.keys() == ["scores", "label"]


def test_set_field():
    element = BaseDataElement()
    element.set_field(2, "count", dtype=(int, float))
    element.set_field("x.png", "path", dtype=str, field_type="metainfo")
    assert element.keys() == ["count"]
    assert element.metainfo_keys() == ["path"]
    with pytest.raises(TypeError, match="count of BaseDataElement must be of type int or float, but it is of type str"):
        element.set_field("two", "count", dtype=(int, float))
    with pytest.raises(ValueError, match="field_type must be 'data' or 'metainfo'"):
        element.set_field(1, "other", field_type="meta")
    assert element.count == 2


def test_a_miss_names_the_near_field():
    element = sample()
    with pytest.raises(AttributeError, match=r"no field 'score'\. Did you mean 'scores'\? It has: img_shape"):
        _ = element.score
    with pytest.raises(AttributeError, match="Did you mean 'img_shape'"):
        _ = element.image_shape
    with pytest.raises(AttributeError, match="Did you mean 'label'"):
        del element.lable
    with pytest.raises(KeyError, match="Did you mean 'label'"):
        element.pop("labels")
    assert not hasattr(element, "score")
    assert getattr(element, "score", None) is None


def test_the_error_of_a_miss_survives_pickling():
    with pytest.raises(MissingFieldError) as caught:
        _ = sample().score
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert str(MissingFieldError("from a worker")) == "from a worker"


def test_get_contains_pop_and_delete():
    element = sample()
    assert "label" in element
    assert "path" in element
    assert "other" not in element
    assert 3 not in element
    assert element.get("label") == 3
    assert element.get("path") == "a.png"
    assert element.get("other") is None
    assert element.get("other", default=7) == 7
    assert element.pop("label") == 3
    assert element.pop("path", None) == "a.png"
    assert element.pop("label", 8) == 8
    with pytest.raises(TypeError, match="at most one default"):
        element.pop("label", 1, 2)
    del element.scores
    del element["img_shape"]
    assert element.all_keys() == []


def test_update_replaces_and_adds():
    element = sample()
    element.update(BaseDataElement(metainfo={"path": "b.png", "id": 5}, label=4))
    assert element.path == "b.png"
    assert element.all_keys() == ["img_shape", "path", "id", "scores", "label"]
    assert element.label == 4
    with pytest.raises(TypeError, match=r"given a dict.*set_data"):
        element.update({"label": 5})
    for setter in (element.set_data, element.set_metainfo):
        with pytest.raises(TypeError, match="must be a dict"):
            setter([1])


def test_new_clone_and_what_they_share():
    element = sample()
    element.set_metainfo({"flips": []})
    for twin in (element.new(), element.clone()):
        assert twin is not element
        assert twin.scores is element.scores
        assert twin.flips is not element.flips
        assert twin.all_keys() == element.all_keys()
        twin.extra = 1
    assert "extra" not in element
    other = element.new(metainfo={"id": 1}, weight=2)
    assert other.all_keys() == ["id", "weight"]
    assert element.new(weight=2).all_keys() == ["img_shape", "path", "flips", "weight"]


def test_conversions_reach_nested_elements_and_leave_the_original():
    element = BaseDataElement(
        metainfo={"offset": torch.ones(1)},
        scores=torch.tensor([0.5, 0.25], requires_grad=True),
        inner=BaseDataElement(boxes=torch.zeros(2, 4)),
        names=["a"],
    )
    moved = element.to("meta", dtype=torch.float16)
    assert moved.scores.device.type == moved.inner.boxes.device.type == "meta"
    assert moved.inner.boxes.dtype == torch.float16
    assert moved.offset.device.type == "cpu"
    assert moved.names is element.names
    assert element.scores.device.type == "cpu"
    assert not element.detach().scores.requires_grad
    assert element.cpu().scores.requires_grad
    arrays = element.numpy()
    assert isinstance(arrays.scores, np.ndarray)
    assert isinstance(arrays.inner.boxes, np.ndarray)
    assert isinstance(arrays.offset, torch.Tensor)
    tensors = arrays.to_tensor()
    assert torch.equal(tensors.scores, element.scores.detach())
    assert isinstance(tensors.inner.boxes, torch.Tensor)


def test_bfloat16_becomes_an_array_of_the_same_values():
    array = BaseDataElement(x=torch.tensor([1.5, -2.0], dtype=torch.bfloat16)).numpy().x
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_and_back():
    there = sample().cuda()
    assert there.scores.device.type == "cuda"
    assert there.cpu().scores.device.type == "cpu"
    assert there.numpy().scores.tolist() == [0.5, 0.25]


def test_a_field_of_a_foreign_type_is_converted_by_its_own_method():
    class Boxes:
        def __init__(self, place):
            self.place = place

        def to(self, place):
            return Boxes(place)

    element = BaseDataElement(boxes=Boxes("here"))
    assert element.to("there").boxes.place == "there"
    assert element.cpu().boxes.place == "here"


def test_to_dict():
    element = sample()
    element.inner = BaseDataElement(metainfo={"id": 1}, label=2)
    element.parts = [element.inner]
    plain = element.to_dict()
    assert plain["inner"] == {"id": 1, "label": 2}
    assert plain["parts"] == [element.inner]
    assert list(plain) == ["img_shape", "path", "scores", "label", "inner", "parts"]


def test_fields_may_be_deleted_and_added_on_the_way():
    element = sample()
    for name, value in element.items():
        del element[name]
        element.set_field(value, f"{name}_before")
    assert element.keys() == ["scores_before", "label_before"]
    for name, _ in element.metainfo_items():
        del element[name]
    assert element.metainfo == {}


def test_typed_property():
    detection = Detection(metainfo={"id": 1}, boxes=torch.zeros(2, 4))
    assert detection.keys() == ["boxes"]
    assert "boxes" in detection
    assert detection.get("boxes") is detection.boxes
    with pytest.raises(TypeError, match="boxes of Detection must be of type Tensor, but it is of type list"):
        detection.boxes = [0, 0, 1, 1]
    assert detection.to("meta").boxes.device.type == "meta"
    assert list(detection.to_dict()) == ["id", "boxes"]
    assert detection.new().boxes is detection.boxes
    assert isinstance(detection.numpy().boxes, np.ndarray)
    assert detection.pop("boxes").shape == (2, 4)
    assert "boxes" not in detection
    detection.update(Detection(boxes=torch.ones(1, 4)))
    del detection.boxes
    assert detection.keys() == []
    with pytest.raises(AttributeError, match="boxes of this Detection has not been set"):
        _ = detection.boxes
    with pytest.raises(AttributeError, match="no setter"):
        detection.count = 3


def test_typed_metainfo():
    detection = Detection(metainfo={"source": "camera"})
    assert detection.source == "camera"
    assert detection.metainfo == {"source": "camera"}
    assert detection.clone().metainfo_keys() == ["source"]
    with pytest.raises(TypeError, match="source of Detection must be of type str or bytes"):
        detection.source = 3
    with pytest.raises(AttributeError, match="'boxes' is a data field"):
        Detection(metainfo={"boxes": torch.zeros(1)})


def test_an_error_inside_a_property_is_not_swallowed():
    with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'sides'"):
        _ = Detection(boxes=torch.zeros(1, 4)).area


def test_a_default_of_the_class():
    detection = Detection()
    assert detection.anchors == 9
    detection.anchors = 3
    assert detection.keys() == ["anchors"]
    assert detection.anchors == 3
    with pytest.raises(AttributeError, match="attribute of the class Detection"):
        Detection(metainfo={"anchors": 3})


def test_a_subclass_may_check_what_is_set():
    class Checked(BaseDataElement):
        def __init__(self, size, **kwargs):
            super().__init__(metainfo={"size": size}, **kwargs)

        def set_field(self, value, name, dtype=None, field_type="data"):
            if field_type == "data" and len(value) != self.size:
                raise ValueError(f"{name} must have {self.size} items")
            super().set_field(value, name, dtype, field_type)

    checked = Checked(2, a=[1, 2])
    with pytest.raises(ValueError, match="b must have 2 items"):
        checked.b = [1]
    with pytest.raises(ValueError, match="c must have 2 items"):
        checked.set_data({"c": [1]})
    assert checked.clone().a == [1, 2]


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))], ids=["copy", "deep", "pickle"]
)
def test_copies_are_whole_and_apart(duplicate):
    original = Detection(metainfo={"id": 1, "source": "camera"}, boxes=torch.ones(1, 4))
    original.inner = BaseDataElement(label=1)
    twin = duplicate(original)
    assert type(twin) is Detection
    assert twin.metainfo == {"id": 1, "source": "camera"}
    assert twin.keys() == ["boxes", "inner"]
    assert torch.equal(twin.boxes, original.boxes)
    twin.extra = 1
    twin.set_metainfo({"id": 2})
    assert "extra" not in original
    assert original.id == 1


def test_deep_copy_keeps_cycles():
    element = BaseDataElement()
    element.me = element
    twin = copy.deepcopy(element)
    assert twin.me is twin
    assert twin is not element
    assert "this element again" in repr(element)


def test_repr_of_nested_elements_can_be_read():
    element = BaseDataElement(
        metainfo={"path": "a.png"},
        image=torch.zeros(3, 224, 224),
        inner=BaseDataElement(label=torch.tensor([1])),
        parts=[BaseDataElement(id=0)],
        grid=np.zeros((2, 2)),
        many=list(range(100)),
    )
    assert repr(element) == (
        "BaseDataElement(\n"
        "    metainfo:\n"
        "        path: 'a.png'\n"
        "    data:\n"
        "        image: tensor of shape (3, 224, 224), float32, cpu\n"
        "        inner: BaseDataElement(\n"
        "            data:\n"
        "                label: tensor([1])\n"
        "        )\n"
        "        parts: [\n"
        "            BaseDataElement(\n"
        "                data:\n"
        "                    id: 0\n"
        "            )\n"
        "        ]\n"
        "        grid: array([[0., 0.],\n"
        "                     [0., 0.]])\n"
        "        many: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...]\n"
        ")"
    )
    assert repr(BaseDataElement()) == "BaseDataElement()"
    assert repr(Detection(id=1)).startswith("Detection(\n    data:\n")


def test_repr_shows_the_first_of_many_items():
    text = repr(BaseDataElement(tensors=[torch.tensor(i) for i in range(40)]))
    assert "tensor(11)" in text
    assert "tensor(12)" not in text
    assert "... and 28 more" in text


names = st.sampled_from(["a", "b", "c"])
steps = st.lists(st.tuples(st.sampled_from(["data", "metainfo", "delete", "pop"]), names, st.integers()), max_size=20)


@given(steps)
def test_behaves_like_two_dicts_without_a_common_key(steps):
    element, data, metainfo = BaseDataElement(), {}, {}
    for action, name, value in steps:
        if action in ("data", "metainfo"):
            own, other = (data, metainfo) if action == "data" else (metainfo, data)
            if name in other:
                with pytest.raises(AttributeError):
                    element.set_field(value, name, field_type=action)
            else:
                element.set_field(value, name, field_type=action)
                own[name] = value
        elif action == "pop":
            assert element.pop(name, None) == data.pop(name, metainfo.pop(name, None))
        elif name in data or name in metainfo:
            delattr(element, name)
            data.pop(name, None)
            metainfo.pop(name, None)
    assert dict(element.items()) == data
    assert element.keys() == list(data)
    assert element.metainfo == metainfo
    assert {name for name in "abc" if name in element} == data.keys() | metainfo.keys()
    assert dict(element.clone().all_items()) == element.to_dict() == metainfo | data


def test_how_it_is_called_can_be_asked():
    class Own(BaseDataElement):
        def __init__(self, boxes, **kwargs):
            super().__init__(**kwargs)
            self.boxes = boxes

    assert list(inspect.signature(BaseDataElement).parameters) == ["metainfo", "kwargs"]
    assert inspect.signature(BaseDataElement).parameters["metainfo"].default is None
    assert list(inspect.signature(Own).parameters) == ["boxes", "kwargs"]
    assert "__signature__" not in sample()
    with pytest.raises(AttributeError):
        _ = sample().__signature__


def test_fields_whose_to_knows_no_non_blocking_are_moved_all_the_same():
    class Boxes:
        device = "cpu"

        def to(self, device):
            moved = Boxes()
            moved.device = device
            return moved

    element = BaseDataElement(boxes=Boxes(), scores=torch.zeros(2), inner=BaseDataElement(boxes=Boxes()))
    moved = element.to("meta", non_blocking=True)
    assert (moved.boxes.device, moved.inner.boxes.device, moved.scores.device.type) == ("meta", "meta", "meta")
    assert element.boxes.device == "cpu"
