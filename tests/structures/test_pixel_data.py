import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.structures import PixelData


class Mask(PixelData):
    @property
    def inside(self):
        return self._inside

    @inside.setter
    def inside(self, value):
        self.set_field(value, "_inside", dtype=torch.Tensor)


def pixels(height=4, width=5):
    return PixelData(
        metainfo={"img_shape": (height, width)},
        scores=torch.arange(3.0 * height * width).reshape(3, height, width),
        mask=np.arange(height * width).reshape(1, height, width),
    )


def test_height_and_width_become_one_channel():
    flat = torch.zeros(4, 5)
    data = PixelData(mask=flat, edges=np.ones((4, 5)))
    assert data.mask.shape == (1, 4, 5)
    assert data.edges.shape == (1, 4, 5)
    assert data.shape == (4, 5)
    data.mask.add_(1)
    assert flat.sum() == 20, "the memory is shared"
    assert Mask(inside=flat).inside.shape == (1, 4, 5)


def test_shape_without_fields():
    assert PixelData().shape is None
    assert PixelData(metainfo={"img_shape": (1, 1)})[0, 0].shape is None
    with pytest.raises(AttributeError):
        PixelData().shape = (1, 2)


def test_a_field_of_another_size_is_refused_by_name():
    data = pixels()
    with pytest.raises(
        ValueError,
        match=r"edges of this PixelData has height and width \(4, 6\), but it must have \(4, 5\), as have scores, mask",
    ):
        data.edges = torch.zeros(4, 6)
    assert data.keys() == ["scores", "mask"]
    with pytest.raises(ValueError, match=r"inside of this Mask has height and width \(1, 1\).*as has other"):
        Mask(other=torch.zeros(2, 2), inside=torch.zeros(1, 1))


def test_the_only_field_may_get_another_size():
    data = PixelData(mask=torch.zeros(4, 5))
    data.mask = torch.zeros(6, 7)
    assert data.shape == (6, 7)


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3, 3), ()])
def test_other_shapes(shape):
    with pytest.raises(ValueError, match=r"mask of PixelData must have the shape \(height, width\) or"):
        PixelData(mask=torch.zeros(shape))


def test_other_types():
    with pytest.raises(TypeError, match="mask of PixelData must be a tensor or an array, but it is of type list"):
        PixelData(mask=[[0, 1]])


cuts = st.slices(4) | st.integers(-4, 3)


@given(cuts, cuts)
def test_slicing_commutes_with_reading_a_field(rows, columns):
    for cut in (rows, columns):
        if isinstance(cut, slice) and (cut.step or 1) < 0:
            return  # which tensors have not
    data = pixels(4, 4)
    part = data[rows, columns]
    kept = [cut if isinstance(cut, slice) else slice(cut % 4, cut % 4 + 1) for cut in (rows, columns)]
    assert torch.equal(part.scores, data.scores[:, kept[0], kept[1]])
    assert np.array_equal(part.mask, data.mask[:, kept[0], kept[1]])
    assert part.shape == part.scores.shape[1:]
    assert part.metainfo == data.metainfo


def test_parts_keep_their_class_and_share_memory():
    data = Mask(inside=torch.zeros(4, 4))
    part = data[1:3, -1]
    assert type(part) is Mask
    part.inside += 1
    assert data.inside.sum() == 2


@pytest.mark.parametrize("index", [(4, 0), (0, 5), (-5, 0)])
def test_out_of_range(index):
    with pytest.raises(IndexError, match=r"There is no -?\d among the (rows|columns): this PixelData has [45]"):
        pixels()[index]


@pytest.mark.parametrize("index", [2, (0, 0, 0), "mask", [0, 1], (0.5, 0), (True, 0), (torch.tensor([1]), 0)])
def test_what_is_no_index(index):
    with pytest.raises(TypeError, match="rows"):
        pixels()[index]


def test_conversions_keep_the_shape():
    data = pixels()
    assert data.to_tensor().numpy().mask.tolist() == data.mask.tolist()
    assert data.to(torch.float16).shape == (4, 5)
