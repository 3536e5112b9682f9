from __future__ import annotations

import random
from collections import Counter, namedtuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mainspring.model.batch_augments import BatchAugment, CutMix, MixUp, Mosaic, RandomChoice, soft_labels
from mainspring.model.img_data_preprocessor import ImgDataPreprocessor
from mainspring.registry import MODELS
from mainspring.utils import seed_generators

MIXERS = [MixUp, CutMix, Mosaic]

seeds = st.integers(0, 2**32)
mixers = st.sampled_from(MIXERS)


def one_hot_pixels(count, height=6, width=7):
    """Image i is 1 in channel i, and 0 elsewhere: the mean over its pixels is its label, one-hot."""
    return torch.eye(count)[:, :, None, None].expand(count, count, height, width).contiguous()


@settings(deadline=None)
@given(mixers, seeds, st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
def test_labels_are_the_shares_of_the_pixels(mixer, seed, count, height, width):
    seed_generators(seed)
    images, labels = one_hot_pixels(count, height, width), torch.arange(count)

    mixed, soft = mixer(num_classes=count)((images, labels))

    torch.testing.assert_close(mixed.mean((2, 3)), soft, rtol=0, atol=1e-5)
    torch.testing.assert_close(soft.sum(1), torch.ones(count))
    # Each image goes as often into the batch as it was there.
    if mixer is not Mosaic:
        torch.testing.assert_close(soft.sum(0), torch.ones(count))
    assert mixed.shape == images.shape
    assert soft.min() >= 0


@settings(deadline=None)
@given(mixers, seeds, st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_what_was_given_is_not_changed_and_soft_labels_conserve_their_mass(mixer, seed, dtype):
    seed_generators(seed)
    images = torch.rand(4, 3, 5, 5).to(dtype)
    labels = torch.rand(4, 3)
    batch = [images, labels]
    copies = [images.clone(), labels.clone()]

    mixed, soft = mixer()(batch)

    assert batch[0] is images
    assert torch.equal(images, copies[0])
    assert torch.equal(labels, copies[1])
    assert mixed.dtype == dtype
    mixed.zero_()
    assert torch.equal(images, copies[0])
    if mixer is not Mosaic:
        torch.testing.assert_close(soft.sum(0), labels.sum(0))


@settings(deadline=None)
@given(mixers, seeds)
def test_the_same_seed_gives_the_same_batch(mixer, seed):
    batch = (torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 1]))
    augment = RandomChoice([mixer(num_classes=3, probability=0.5), nn.Identity()])

    results = []
    for _ in range(2):
        seed_generators(seed)
        results.append([augment(batch) for _ in range(3)])

    for (images, labels), (again, labels_again) in zip(*results, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)


@pytest.mark.parametrize("mixer", MIXERS)
def test_another_seed_gives_another_batch(mixer):
    batch = (torch.rand(8, 3, 8, 8), torch.arange(8))
    results = []
    for seed in range(2):
        seed_generators(seed)
        results.append(mixer(num_classes=8)(batch)[0])

    assert not torch.equal(*results)
    assert not torch.equal(results[0], batch[0])


@settings(deadline=None)
@given(mixers, seeds)
def test_with_probability_zero_nothing_happens(mixer, seed):
    seed_generators(seed)
    batch = (torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))

    assert mixer(num_classes=2, probability=0)(batch) is batch


def test_probability_is_how_often_a_batch_is_augmented():
    seed_generators(0)
    augment = MixUp(num_classes=2, probability=0.3)
    batch = (torch.rand(2, 1, 2, 2), torch.tensor([0, 1]))

    changed = sum(augment(batch) is not batch for _ in range(1000))

    assert 250 < changed < 350  # 3.4 standard deviations


def test_mixup_is_linear():
    seed_generators(3)
    images, labels = torch.rand(5, 3, 4, 4), torch.arange(5)

    mixed, soft = MixUp(num_classes=5)((images, labels))

    torch.testing.assert_close(mixed, torch.einsum("ij,jchw->ichw", soft, images))


def test_the_share_of_mixup_is_beta_distributed():
    seed_generators(0)
    augment = MixUp(alpha=0.5, num_classes=64)
    images, labels = torch.zeros(64, 1, 1, 1), torch.arange(64)
    # The diagonal is the share of the image itself, unless it is mixed with itself.
    shares = torch.tensor([augment((images, labels))[1].diagonal().min() for _ in range(1000)])

    assert abs(shares.mean() - 1 / 2) < 0.04
    assert abs(shares.var() - 1 / 8) < 0.02  # 1 / (4 (2 alpha + 1))


def test_cutmix_takes_one_rectangle_from_one_other_image():
    seed_generators(1)
    values = torch.arange(1.0, 9.0).view(8, 1, 1, 1)
    images = values.expand(8, 1, 9, 9).clone()

    mixed, _ = CutMix(num_classes=8)((images, torch.arange(8)))

    changed = (mixed != images)[:, 0]
    assert changed.any()
    for image, mask in zip(mixed[:, 0], changed, strict=True):
        if mask.any():
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert box.all()
            assert image[mask].unique().numel() == 1


def test_mosaic_has_four_parts_around_one_point_within_range():
    seed_generators(5)
    images = torch.arange(1.0, 33.0).view(32, 1, 1, 1).expand(32, 1, 20, 40).clone()

    mosaic, soft = Mosaic(num_classes=32, center_range=(0.4, 0.6))((images, torch.arange(32)))

    rows = (mosaic[:, 0].diff(dim=1) != 0).any(2).any(0).nonzero().flatten()
    columns = (mosaic[:, 0].diff(dim=2) != 0).any(1).any(0).nonzero().flatten()
    assert len(rows) == len(columns) == 1
    assert 8 <= rows.item() + 1 <= 12
    assert 16 <= columns.item() + 1 <= 24
    assert torch.equal(mosaic[:, 0, 0, 0], images[:, 0, 0, 0])  # the first part is from the image itself
    assert (soft > 0).sum(1).max() == 4


def test_a_part_of_a_mosaic_is_a_crop_at_the_scale_of_the_image():
    seed_generators(0)
    column = torch.arange(16.0).expand(2, 1, 16, 16)

    mosaic, _ = Mosaic(num_classes=2)((column, torch.tensor([0, 1])))

    assert set(mosaic.diff(dim=3).flatten().tolist()) - {1.0}  # where two parts meet
    assert (mosaic.diff(dim=3) == 1).float().mean() > 0.9


@pytest.mark.parametrize("mixer", [CutMix, Mosaic])
def test_pixels_that_are_copied_may_be_bytes(mixer):
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)

    assert mixer(num_classes=4)((images, torch.arange(4)))[0].dtype == torch.uint8


def test_mixup_does_not_blend_bytes():
    with pytest.raises(TypeError, match=r"floating dtype, but got torch.uint8.*ImgDataPreprocessor"):
        MixUp(num_classes=2)((torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])))


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_memory_format_is_kept(mixer):
    images = torch.rand(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)

    assert mixer(num_classes=4)((images, torch.arange(4)))[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_layout_of_the_batch_is_kept(mixer):
    Sample = namedtuple("Sample", "picture target name")
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])

    for batch in ((images, labels, "n"), [images, labels, "n"], Sample(images, labels, "n")):
        out = mixer(num_classes=2)(batch)
        assert type(out) is type(batch)
        assert out[1].shape == (2, 2)
        assert out[2] == "n"
    batch = {"name": "n", "labels": labels, "inputs": images}
    out = mixer(num_classes=2)(batch)
    assert list(out) == ["name", "labels", "inputs"]
    assert out["labels"].shape == (2, 2)
    assert batch["labels"] is labels
    out = mixer(num_classes=2, inputs="x", labels="y")({"x": images, "y": labels})
    assert out["y"].shape == (2, 2)


@pytest.mark.parametrize("mixer", MIXERS)
def test_cross_entropy_takes_the_labels(mixer):
    images, labels = mixer(num_classes=3)((torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])))

    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        loss = F.cross_entropy(images.mean((2, 3)).to(dtype), labels)
        assert loss.isfinite()


def test_augments_chain():
    chain = ImgDataPreprocessor(
        [127.5], [127.5], augments=[MixUp(num_classes=4), CutMix(), {"type": "Mosaic", "num_classes": 4}]
    )
    batch = (torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), torch.arange(4))

    images, labels = chain(batch, training=True)

    assert images.dtype == torch.float32
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    assert chain(batch, training=False)[1] is batch[1]


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_host_never_asks_the_device(mixer):
    # A tensor on "meta" has no values: reading one is an error, as is a shape that depends on them.
    batch = (torch.rand(4, 3, 8, 8, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta"))

    images, labels = mixer(num_classes=5)(batch)

    assert images.shape == (4, 3, 8, 8)
    assert labels.shape == (4, 5)
    assert labels.device.type == "meta"


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=6))
def test_indices_become_one_hot(indices):
    labels = torch.tensor(indices, dtype=torch.int64)

    assert torch.equal(soft_labels(labels, 5), F.one_hot(labels, 5).float())


def test_an_ignored_label_adds_nothing_and_one_out_of_range_spoils_the_loss():
    logits = torch.rand(3, 4)

    ignored = soft_labels(torch.tensor([1, -100, 2]), 4)
    torch.testing.assert_close(
        F.cross_entropy(logits, ignored, reduction="sum"),
        F.cross_entropy(logits, torch.tensor([1, -100, 2]), reduction="sum"),
    )
    wrong = soft_labels(torch.tensor([1, 4, 2]), 4)
    assert F.cross_entropy(logits, wrong).isnan()
    assert wrong[[0, 2]].isfinite().all()


def test_labels_that_are_one_hot_already_need_no_num_classes():
    one_hot = torch.tensor([[0, 1], [1, 0]])

    assert soft_labels(one_hot, None).dtype == torch.float32
    soft = torch.rand(2, 2, dtype=torch.float64)
    assert soft_labels(soft, None) is soft
    assert soft_labels(soft, 2) is soft


def test_random_choice_follows_the_weights():
    class Named(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, data):
            return self.name

    random.seed(0)
    choice = RandomChoice([Named("a"), Named("b"), Named("c")], weights=[1, 3, 0])

    counts = Counter(choice(None) for _ in range(2000))

    assert set(counts) == {"a", "b"}
    assert abs(counts["b"] / 2000 - 3 / 4) < 0.04
    assert set(Counter(RandomChoice([Named("a"), Named("b")])(None) for _ in range(50))) == {"a", "b"}


def test_random_choice_is_built_from_configs():
    augments = [{"type": "MixUp", "num_classes": 2}, {"type": nn.Identity}]
    either = MODELS.build({"type": "RandomChoice", "augments": augments, "weights": [1, 0]})

    assert either((torch.rand(2, 1, 2, 2), torch.tensor([0, 1])))[1].shape == (2, 2)


def test_an_augmentation_of_ones_own():
    class Flip(BatchAugment):
        def augment(self, images, labels):
            return images.flip(-1), labels

    images = torch.rand(2, 1, 2, 2)

    out = Flip(num_classes=3)({"inputs": images, "labels": torch.tensor([0, 2])})

    assert torch.equal(out["inputs"], images.flip(-1))
    assert out["labels"].argmax(1).tolist() == [0, 2]


IMAGES = torch.rand(2, 3, 4, 4)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize(
    ("options", "batch", "error", "message"),
    [
        ({}, (IMAGES, LABELS), ValueError, r"class indices \(dtype int64.*Pass num_classes"),
        (
            {"num_classes": 2},
            {"inputs": IMAGES, "label": LABELS},
            KeyError,
            "'labels'.*keys 'inputs', 'label'.*mean 'label'",
        ),
        ({"num_classes": 2}, (IMAGES,), ValueError, "'labels' at position 1 of a batch that is a tuple, but it has 1"),
        ({"num_classes": 2}, IMAGES, TypeError, "a tuple, a list or a dict, but got Tensor"),
        ({"num_classes": 2}, ([IMAGES[0]], LABELS), TypeError, "one tensor, but got a list.*ImgDataPreprocessor"),
        ({"num_classes": 2}, (IMAGES.numpy(), LABELS), TypeError, "one tensor, but got ndarray"),
        ({"num_classes": 2}, (IMAGES[0], LABELS), ValueError, r"\(N, C, H, W\), but got a tensor of shape \(3, 4, 4\)"),
        ({"num_classes": 2}, (IMAGES, [0, 1]), TypeError, "labels in one tensor, but got list"),
        ({"num_classes": 2}, (IMAGES, LABELS[:1]), ValueError, r"a label for each image.*\(1,\)"),
        ({"num_classes": 3}, (IMAGES, torch.rand(2, 4)), ValueError, r"shape \(2, 4\), but with num_classes=3"),
        ({}, (IMAGES, LABELS.view(2, 1, 1)), ValueError, r"shape \(2, 1, 1\), but integers"),
    ],
)
def test_batches_that_do_not_fit(mixer, options, batch, error, message):
    with pytest.raises(error, match=message) as caught:
        mixer(**options)(batch)
    assert mixer.__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixUp(alpha=0), "alpha of MixUp must be a positive number, but it is 0"),
        (lambda: CutMix(alpha=-1.0), "alpha of CutMix"),
        (lambda: MixUp(num_classes=0), "num_classes of MixUp must be a positive integer"),
        (lambda: Mosaic(num_classes=2.0), "num_classes of Mosaic must be a positive integer"),
        (lambda: CutMix(probability=1.5), "probability of CutMix must lie between 0 and 1"),
        (lambda: Mosaic(center_range=(0.7, 0.3)), "ascending"),
        (lambda: RandomChoice([]), "at least one"),
        (lambda: RandomChoice([MixUp()], [1, 2]), "1 augments but 2 weights"),
        (lambda: RandomChoice([MixUp()], [0]), "not all of them zero"),
        (lambda: RandomChoice([MixUp()], [-1]), "at least zero"),
    ],
)
def test_impossible_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_choice_that_is_no_module_is_named():
    with pytest.raises(TypeError, match=r"augments of RandomChoice\[0\] must be an nn.Module.*'MixUp'"):
        RandomChoice(["MixUp"])


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_options_can_be_seen(mixer):
    assert "num_classes=7, probability=0.5" in repr(mixer(num_classes=7, probability=0.5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mixer", MIXERS)
def test_on_a_device_without_a_wait_and_by_the_seed(mixer):
    images, labels = one_hot_pixels(8).cuda(), torch.arange(8).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = []
        for _ in range(2):
            seed_generators(7, images.device)
            results.append(mixer(num_classes=8)((images, labels)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    (mixed, soft), (again, _) = results
    assert torch.equal(mixed, again)
    torch.testing.assert_close(mixed.mean((2, 3)), soft, rtol=0, atol=1e-5)
