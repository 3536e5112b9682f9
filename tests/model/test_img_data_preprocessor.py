from __future__ import annotations

import copy
from collections import namedtuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mainspring.model.img_data_preprocessor import ImgDataPreprocessor
from mainspring.registry import MODELS
from mainspring.utils import StackedList, StackedTuple

MEAN = [123.675, 116.28, 103.53]
STD = [58.395, 57.12, 57.375]


def image(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def normalized(images, mean=MEAN, std=STD):
    mean, std = (torch.tensor(numbers, dtype=torch.float64).view(-1, 1, 1) for numbers in (mean, std))
    return ((images.double() - mean) / std).float()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    st.integers(1, 8),
    st.sampled_from([0, 3.5, -1]),
    st.booleans(),
    st.booleans(),
)
def test_a_list_of_images_is_normalised_padded_and_stacked(sizes, divisor, pad_value, reverse, channels_last):
    images = [image(3, *size) for size in sizes]
    before = [one.clone() for one in images]
    preprocessor = ImgDataPreprocessor(MEAN, STD, divisor, pad_value, bgr_to_rgb=reverse, channels_last=channels_last)

    batch = preprocessor({"inputs": images, "data_samples": None})["inputs"]

    assert batch.dtype == torch.float32
    for axis in (1, 2):
        largest = max(one.shape[axis] for one in images)
        assert batch.shape[axis + 1] % divisor == 0
        assert largest <= batch.shape[axis + 1] < largest + divisor
    for one, written in zip(images, batch, strict=True):
        _, height, width = one.shape
        expected = normalized(one.flip(0) if reverse else one)
        torch.testing.assert_close(written[:, :height, :width], expected, rtol=0, atol=1e-6)
        assert (written[:, height:] == pad_value).all()  # in the units of the result
        assert (written[:, :, width:] == pad_value).all()
    assert all(torch.equal(one, old) for one, old in zip(images, before, strict=True))


@pytest.mark.parametrize("options", [{}, {"mean": MEAN, "std": STD}, {"rgb_to_bgr": True}, {"pad_size_divisor": 5}])
def test_one_tensor_gives_what_a_list_gives(options):
    images = image(4, 3, 6, 7)
    preprocessor = ImgDataPreprocessor(pad_value=2, **options)

    from_tensor = preprocessor([images])[0]
    from_list = preprocessor([list(images)])[0]
    one_by_one = torch.cat([preprocessor([[one]])[0] for one in images])

    assert torch.equal(from_tensor, from_list)
    assert torch.equal(from_tensor, one_by_one)


@pytest.mark.parametrize("kind", [StackedList, StackedTuple])
@pytest.mark.parametrize("options", [{}, {"mean": MEAN, "std": STD}, {"bgr_to_rgb": True, "pad_size_divisor": 5}])
def test_what_a_worker_put_together_is_moved_as_one(kind, options):
    moved = []

    class Watching(ImgDataPreprocessor):
        def cast_data(self, data):
            moved.append(type(data))
            return super().cast_data(data)

    images = image(4, 3, 6, 7)

    batch = Watching(**options)({"inputs": kind(images), "data_samples": None})

    assert torch.equal(batch["inputs"], ImgDataPreprocessor(**options)([images])[0])
    assert moved.count(torch.Tensor) == 1


def test_elements_that_were_exchanged_are_seen():
    images = StackedList(image(2, 3, 4, 4))
    images[1] = image(3, 4, 4)

    assert torch.equal(ImgDataPreprocessor()({"inputs": images})["inputs"], torch.stack(images).float())


LARGE = (7, 3, 512, 512)  # of which the last part is smaller, where a processor does some at a time


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("options", [{}, {"mean": MEAN, "std": STD, "bgr_to_rgb": True}, {"mean": [3], "std": [2]}])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_large_batches_have_the_bits_of_single_images(options, channels_last, dtype):
    images = image(*LARGE).to(dtype)
    preprocessor = ImgDataPreprocessor(**options, channels_last=channels_last, pad_size_divisor=5)
    one_by_one = [preprocessor([[one]])[0].clone() for one in images]

    for layout in (images, list(images), StackedList(images)):
        batch = preprocessor([layout])[0]
        assert all(torch.equal(batch[index : index + 1], one) for index, one in enumerate(one_by_one))
        del batch


def test_a_batch_has_the_memory_of_an_earlier_one_that_nobody_holds():
    preprocessor = ImgDataPreprocessor(MEAN, STD)
    images = image(*LARGE)
    first = preprocessor([images])[0]
    expected, address = first.clone(), first.data_ptr()

    second = preprocessor([image(*LARGE)])[0]

    assert second.data_ptr() != address
    assert torch.equal(first, expected)
    address = second.data_ptr()
    del second
    third = preprocessor([images])[0]
    assert third.data_ptr() == address
    assert torch.equal(third, expected)


def test_what_a_model_keeps_for_later_is_not_written_over():
    preprocessor, conv = ImgDataPreprocessor(MEAN, STD), nn.Conv2d(3, 2, 3)
    batches = [image(2, 3, 300, 300) for _ in range(3)]
    sum(conv(preprocessor([images])[0]).mean() for images in batches).backward()
    together = [parameter.grad.clone() for parameter in conv.parameters()]
    conv.zero_grad()

    for images in batches:
        conv(ImgDataPreprocessor(MEAN, STD)([images])[0]).mean().backward()

    for grad, parameter in zip(together, conv.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad)


def test_a_copy_of_the_model_has_memory_of_its_own():
    preprocessor = ImgDataPreprocessor(MEAN, STD)
    preprocessor([image(*LARGE)])
    copied = copy.deepcopy(preprocessor)
    first = preprocessor([image(*LARGE)])[0]
    before = first.clone()

    copied([image(*LARGE)])

    assert torch.equal(first, before)


def test_without_options_images_become_floats_of_the_same_values():
    images = image(2, 3, 4, 5)

    batch = ImgDataPreprocessor()([images])[0]

    assert batch.dtype == torch.float32
    assert torch.equal(batch, images.float())


def test_both_names_of_the_conversion_reverse_the_channels():
    images = image(2, 3, 4, 5)

    for option in ("bgr_to_rgb", "rgb_to_bgr"):
        assert torch.equal(ImgDataPreprocessor(**{option: True})([images])[0], images.flip(1).float())


def test_mean_and_std_are_in_the_order_after_conversion():
    images = torch.tensor([1, 2, 3], dtype=torch.uint8).view(1, 3, 1, 1)

    batch = ImgDataPreprocessor([3, 2, 1], [1, 1, 1], bgr_to_rgb=True)([images])[0]

    assert batch.flatten().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("channels", "mean", "std"), [(1, [3], [2]), (5, [3], [2]), (4, [1, 2, 3, 4], [2]), (2, [1], [2, 3])]
)
def test_any_number_of_channels(channels, mean, std):
    images = image(2, channels, 4, 4)

    batch = ImgDataPreprocessor(mean, std)([images])[0]

    torch.testing.assert_close(batch, normalized(images, mean, std))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int16, torch.int64, torch.float16, torch.float64])
def test_images_of_any_real_dtype(dtype):
    images = image(2, 3, 4, 4).to(dtype)

    for shape in (images, [images[0], images[1, :, :2]]):
        batch = ImgDataPreprocessor(MEAN, STD)([shape])[0]
        torch.testing.assert_close(batch[0], normalized(images[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16", "torch.float16", "float64"])
def test_the_result_is_rounded_once_to_the_dtype_asked_for(dtype):
    images = image(2, 3, 4, 4)
    plain = ImgDataPreprocessor(MEAN, STD)([images])[0]

    preprocessor = ImgDataPreprocessor(MEAN, STD, dtype=dtype)

    assert str(preprocessor.dtype).endswith(str(dtype).removeprefix("torch."))
    assert torch.equal(preprocessor([images])[0], plain.to(preprocessor.dtype))


@pytest.mark.parametrize("options", [{}, {"mean": MEAN, "std": STD}, {"pad_size_divisor": 5}])
def test_channels_last(options):
    images = image(2, 3, 6, 7)

    batch = ImgDataPreprocessor(channels_last=True, **options)([images])[0]

    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch, ImgDataPreprocessor(**options)([images])[0])


def test_a_batch_for_which_nothing_is_to_be_done_is_handed_on():
    images = torch.rand(2, 3, 4, 4)

    assert ImgDataPreprocessor()([images])[0] is images


def test_floating_images_are_not_changed():
    images = torch.rand(2, 3, 4, 4)
    before = images.clone()

    batch = ImgDataPreprocessor([0.5], [0.5])([images])[0]
    batch.zero_()

    assert torch.equal(images, before)


def test_gradients_flow_to_images_that_ask_for_them():
    images = torch.rand(2, 3, 4, 4, requires_grad=True)

    ImgDataPreprocessor([0.5, 0.4, 0.3], [0.5, 0.25, 0.2], pad_size_divisor=8)([images])[0].sum().backward()

    assert images.grad[:, :, 0, 0].tolist() == [[2, 4, 5], [2, 4, 5]]


def test_an_empty_batch_keeps_its_shape():
    assert ImgDataPreprocessor(MEAN, STD, 8)([image(0, 3, 5, 5)])[0].shape == (0, 3, 8, 8)


def test_everything_else_in_the_batch_is_moved_and_handed_on():
    Sample = namedtuple("Sample", "picture label name")
    images, labels = image(2, 3, 4, 4), torch.tensor([0, 1])
    preprocessor = ImgDataPreprocessor(MEAN, STD).to("meta")

    for batch in ([images, labels, "n"], (images, labels, "n"), Sample(images, labels, "n")):
        out = preprocessor(batch)
        assert type(out) is type(batch)
        assert out[0].device.type == out[1].device.type == "meta"
        assert out[0].dtype == torch.float32
        assert out[2] == "n"
        assert batch[0] is images


def test_a_dict_of_images_alone_gains_data_samples():
    images = image(1, 3, 4, 4)
    batch = {"inputs": images}

    assert ImgDataPreprocessor()(batch)["data_samples"] is None
    assert batch == {"inputs": images}
    assert list(ImgDataPreprocessor()({"inputs": images, "labels": 1})) == ["inputs", "labels"]


class Seen(nn.Module):
    def forward(self, data):
        return {"inputs": data["inputs"].add(1000), "dtype": data["inputs"].dtype}


def test_augments_see_the_normalised_batch_in_training_only():
    preprocessor = ImgDataPreprocessor(MEAN, STD, augments=[Seen()])
    images = image(1, 3, 4, 4)
    plain = preprocessor({"inputs": images})["inputs"]

    out = preprocessor({"inputs": images}, training=True)

    assert out["dtype"] == torch.float32
    assert torch.equal(out["inputs"], plain + 1000)


def test_mean_and_std_are_buffers_that_are_not_saved():
    preprocessor = ImgDataPreprocessor(MEAN, STD)

    assert {"mean", "std"} <= dict(preprocessor.named_buffers()).keys()
    assert preprocessor.mean.shape == preprocessor.std.shape == (3, 1, 1)
    assert not preprocessor.state_dict()
    assert preprocessor.to("meta").mean.device.type == "meta"


def test_a_subclass_may_register_statistics_of_its_own():
    class Tracking(ImgDataPreprocessor):
        def __init__(self):
            super().__init__(MEAN, STD)
            self.register_buffer("mean", torch.tensor(MEAN).view(1, -1, 1, 1), persistent=False)

    assert Tracking().mean.shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    "convert",
    [
        nn.Module.half,
        nn.Module.double,
        lambda module: module.half().float(),
        lambda module: module.to_empty(device="cpu"),
    ],
)
def test_converting_the_model_does_not_change_the_images(convert):
    images = image(2, 3, 4, 4)
    preprocessor = ImgDataPreprocessor(MEAN, STD)
    before = preprocessor([images])[0]

    convert(nn.ModuleList([preprocessor]))

    assert torch.equal(preprocessor([images])[0], before)


@pytest.mark.parametrize("images", [image(2, 3, 4, 4), [image(3, 4, 4), image(3, 2, 5)]])
def test_the_host_never_asks_the_device(images):
    # A tensor on "meta" has no values: reading one is an error, as is a shape that depends on them.
    preprocessor = ImgDataPreprocessor(MEAN, STD, 4, bgr_to_rgb=True, channels_last=True, dtype="bfloat16").to("meta")

    batch = preprocessor([images])[0]

    assert batch.shape[:2] == (2, 3)
    assert batch.device.type == "meta"


def test_it_is_built_from_a_config():
    preprocessor = MODELS.build({"type": "ImgDataPreprocessor", "mean": [0], "std": [255], "dtype": "float16"})

    assert preprocessor([image(1, 3, 2, 2)])[0].dtype == torch.float16


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bgr_to_rgb": True, "rgb_to_bgr": True}, ValueError, "both True"),
        ({"mean": MEAN}, ValueError, "go together"),
        ({"std": STD}, ValueError, "go together"),
        ({"mean": MEAN, "std": [1, 2]}, ValueError, "mean has 3 and std 2"),
        ({"mean": [], "std": []}, ValueError, "mean has 0 and std 0"),
        ({"mean": 1.0, "std": 1.0}, TypeError, "mean must be a list of numbers"),
        ({"mean": "123", "std": "123"}, TypeError, "mean must be a list of numbers.*'123'"),
        ({"mean": [0], "std": [0]}, ValueError, "std positive"),
        ({"mean": [float("nan")], "std": [1]}, ValueError, "mean must be finite"),
        ({"pad_size_divisor": 0}, ValueError, "at least 1"),
        ({"dtype": "bfloat61"}, ValueError, "bfloat61.*Did you mean 'bfloat16'"),
        ({"dtype": torch.uint8}, ValueError, "floating"),
    ],
)
def test_impossible_options(options, error, message):
    with pytest.raises(error, match=message):
        ImgDataPreprocessor(**options)


@pytest.mark.parametrize(
    ("options", "batch", "error", "message"),
    [
        ({}, {"input": image(1, 3, 2, 2)}, KeyError, "has the keys 'input'.*Did you mean"),
        ({}, (), ValueError, "position 0.*0 elements"),
        ({}, image(1, 3, 2, 2), TypeError, "a tuple, a list or a dict, but got Tensor"),
        ({}, ["name"], TypeError, "but got str"),
        ({}, [[]], ValueError, "empty list"),
        ({}, [[image(3, 2, 2), 1]], TypeError, "element 1 of the list is of type int"),
        ({}, [image(3, 2, 2)], ValueError, r"got a tensor of shape \(3, 2, 2\)"),
        ({}, [[image(2, 2)]], ValueError, r"has the shape \(2, 2\).*\(1, H, W\)"),
        ({}, [[image(3, 2, 2), image(1, 2, 2)]], ValueError, r"\(3, 2, 2\), element 1 \(1, 2, 2\)"),
        ({"mean": MEAN, "std": STD}, [image(1, 1, 2, 2)], ValueError, r"3 channels, but the images have 1 \(shape"),
        ({"mean": MEAN, "std": STD}, [[image(4, 2, 2)]], ValueError, "3 channels, but the images have 4"),
        ({"bgr_to_rgb": True}, [image(1, 4, 2, 2)], ValueError, "reverses three channels.*have 4"),
    ],
)
def test_batches_that_do_not_fit(options, batch, error, message):
    with pytest.raises(error, match=message):
        ImgDataPreprocessor(**options)(batch)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("images", [image(4, 3, 8, 8), [image(3, 4, 4), image(3, 2, 5)]])
def test_on_a_device_without_a_wait(images):
    preprocessor = ImgDataPreprocessor(MEAN, STD, 8, bgr_to_rgb=True)
    expected = preprocessor([images])[0]
    on_device = [one.cuda() for one in images] if isinstance(images, list) else images.cuda()
    preprocessor.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = preprocessor([on_device])[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(batch.cpu(), expected, rtol=0, atol=1e-6)
