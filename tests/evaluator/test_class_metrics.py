"""Confusion matrix and mean IoU, against torchmetrics and by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.evaluator import ConfusionMatrix, MeanIoU
from mainspring.registry import METRICS
from mainspring.structures import BaseDataElement

torchmetrics = pytest.importorskip("torchmetrics")


def drawn(seed, *shape, classes=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape[0], classes, *shape[1:], generator=generator), torch.randint(
        classes, shape, generator=generator
    )


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 9))
def test_confusion_matrix_is_that_of_torchmetrics(seed, samples, batch):
    scores, labels = drawn(seed, samples)
    metric = ConfusionMatrix(items=("precision", "recall", "f1", "matrix"), per_class=True)
    for one, other in zip(scores.split(batch), labels.split(batch), strict=True):
        metric.process(None, (one, other))
    found = metric.evaluate(samples)
    domain = torchmetrics.classification
    matrix = domain.MulticlassConfusionMatrix(4)(scores, labels)
    assert found["confusion/matrix"] == matrix.tolist()
    occurs = (matrix.sum(0) + matrix.sum(1)) > 0
    for name, theirs in (
        ("precision", domain.MulticlassPrecision),
        ("recall", domain.MulticlassRecall),
        ("f1", domain.MulticlassF1Score),
    ):
        assert found[f"confusion/{name}"] == pytest.approx(100 * theirs(4)(scores, labels).item(), rel=1e-5)
        for number, value in enumerate(theirs(4, average=None)(scores, labels).tolist()):
            own = found[f"confusion/{name}/{number}"]
            assert own == pytest.approx(100 * value, rel=1e-5) if occurs[number] else math.isnan(own)


def test_confusion_matrix_of_labels_with_names():
    metric = METRICS.build({"type": "ConfusionMatrix", "items": "recall", "per_class": True})
    metric.dataset_meta = {"classes": ("cat", "dog")}
    metric.process(None, [{"pred_label": 0, "gt_label": 0}, {"pred_label": 0, "gt_label": 1}])
    assert metric.evaluate(2) == {"confusion/recall": 50.0, "confusion/recall/cat": 100.0, "confusion/recall/dog": 0.0}


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 4))
def test_mean_iou_is_that_of_torchmetrics_over_all_pixels(seed, samples, batch):
    scores, labels = drawn(seed, samples, 3, 5)
    labels[labels == 3] = 255
    labels[0, 0, 0] = 0
    metric = MeanIoU(per_class=True)
    for one, other in zip(scores.split(batch), labels.split(batch), strict=True):
        metric.process(None, (one, other))
    found = metric.evaluate(samples)
    matrix = torchmetrics.classification.MulticlassConfusionMatrix(4, ignore_index=255)(scores.argmax(1), labels)
    right = matrix.diagonal().double()
    iou = 100 * right / (matrix.sum(0) + matrix.sum(1) - right)
    assert found["mIoU"] == pytest.approx(iou.nanmean().item())
    assert found["mAcc"] == pytest.approx((100 * right / matrix.sum(1)).nanmean().item())
    assert found["aAcc"] == pytest.approx((100 * right.sum() / matrix.sum()).item())
    assert [found[f"IoU/{number}"] for number in range(4)] == pytest.approx(iou.tolist(), nan_ok=True)


def test_maps_of_many_forms_count_alike():
    scores, labels = drawn(5, 3, 4, 6)
    maps = scores.argmax(1)
    pixels = [
        BaseDataElement(pred_sem_seg=BaseDataElement(data=one[None]), gt_sem_seg=BaseDataElement(data=other[None]))
        for one, other in zip(maps, labels, strict=True)
    ]
    forms = [
        (scores, labels),
        (maps, labels),
        (maps.to(torch.uint8), labels[:, None]),
        {"pred_sem_seg": maps, "gt_sem_seg": labels},
        [{"pred_sem_seg": one, "gt_sem_seg": other} for one, other in zip(scores, labels, strict=True)],
        [element.to_dict() for element in pixels],
    ]
    results = []
    for form in forms:
        metric = MeanIoU(num_classes=4)
        metric.process(None, form)
        results.append(metric.evaluate(3))
    assert results == [results[0]] * len(forms)


def test_maps_of_different_sizes():
    metric = MeanIoU(num_classes=2)
    samples = [
        {"pred_sem_seg": torch.zeros(2, 2, dtype=torch.int64), "gt_sem_seg": torch.zeros(2, 2, dtype=torch.int64)},
        {"pred_sem_seg": torch.ones(1, 1, 4, dtype=torch.int64), "gt_sem_seg": torch.ones(1, 4, dtype=torch.uint8)},
    ]
    metric.process(None, samples)
    assert metric.evaluate(2) == {"mIoU": 100.0, "mAcc": 100.0, "aAcc": 100.0}


@pytest.mark.parametrize(
    ("metric", "samples", "error", "message"),
    [
        (ConfusionMatrix(), (torch.ones(2).long(), torch.ones(2).long()), ValueError, "cannot tell how many classes"),
        (
            ConfusionMatrix(2),
            (torch.ones(2), torch.ones(2).long()),
            TypeError,
            r"predictions must be integers of shape",
        ),
        (ConfusionMatrix(2), (torch.ones(2).long(), torch.ones(3).long()), ValueError, r"must be of one shape \[N\]"),
        (
            ConfusionMatrix(2),
            (torch.ones(2).long(), 2 * torch.ones(2).long()),
            ValueError,
            "2 labels or predictions are",
        ),
        (
            MeanIoU(2),
            (torch.zeros(1, 2, 2).long(), 3 + torch.zeros(1, 2, 2).long()),
            ValueError,
            "predictions, 255 apart",
        ),
        (
            MeanIoU(2),
            (torch.zeros(1, 2, 2).long(), 255 + torch.zeros(1, 2, 2).long()),
            ValueError,
            "seen no label that",
        ),
        (MeanIoU(2), (torch.zeros(2, 2).long(), torch.zeros(2, 3).long()), ValueError, r"of one shape \[N, H, W\]"),
    ],
)
def test_what_cannot_be_counted(metric, samples, error, message):
    with pytest.raises(error, match=message):  # some is found only when all is counted
        metric.process(None, samples)
        metric.evaluate(len(samples[0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConfusionMatrix(items=("recal",)), "no item 'recal'. Did you mean 'recall'"),
        (lambda: ConfusionMatrix(num_classes=0), "num_classes must be a positive integer, but it is 0"),
        (lambda: MeanIoU(num_classes=True), "num_classes must be a positive integer, but it is True"),
    ],
)
def test_impossible_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("metric", [ConfusionMatrix(3), MeanIoU(3)])
def test_no_batch_at_all(metric):
    with pytest.raises(ValueError, match="has seen no sample"):
        metric.evaluate(0)
