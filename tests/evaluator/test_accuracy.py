import itertools
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from mainspring.device import may_run_ahead
from mainspring.evaluator import Accuracy, StreamingMetric
from mainspring.registry import METRICS
from mainspring.structures import BaseDataElement

SCORES = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.4, 0.5, 0.1], [0.2, 0.3, 0.5]])
LABELS = torch.tensor([1, 2, 2, 2])  # right; second; third; right


def evaluate(data_samples, **arguments):
    metric = Accuracy(**arguments)
    metric.process(None, data_samples)
    return metric.evaluate(size=len(LABELS))


def test_known_values():
    assert evaluate((SCORES, LABELS)) == {"accuracy/top1": 50.0}
    assert evaluate((SCORES, LABELS), topk=(1, 2, 3), prefix="val") == {
        "val/top1": 50.0,
        "val/top2": 75.0,
        "val/top3": 100.0,
    }


ROWS = list(zip(SCORES, LABELS, strict=True))


@pytest.mark.parametrize(
    "data_samples",
    [
        (SCORES.half(), LABELS[:, None]),
        (SCORES.numpy(), LABELS.numpy()),
        (SCORES, LABELS.tolist()),
        (SCORES, tuple(LABELS.tolist())),
        {"scores": SCORES, "labels": LABELS, "loss": torch.tensor(0.1)},
        {"pred_label": SCORES.argmax(1), "gt_label": LABELS},
        [{"pred_score": s, "gt_label": y} for s, y in ROWS],
        [{"pred_scores": s, "gt_label": y[None]} for s, y in ROWS],
        [{"scores": s.numpy(), "label": y.item()} for s, y in ROWS],
        [{"pred_label": s.argmax().item(), "label": np.int64(y)} for s, y in ROWS],
        [BaseDataElement(pred_label=s.argmax()[None], gt_label=y[None]) for s, y in ROWS],
        tuple({"pred_score": s, "gt_label": y} for s, y in ROWS),
        ROWS,
    ],
)
def test_layouts(data_samples):
    assert evaluate(data_samples) == {"accuracy/top1": 50.0}


def test_keys_and_positions():
    assert evaluate({"a": SCORES, "b": LABELS}, pred_key="a", target_key="b") == {"accuracy/top1": 50.0}
    samples = (torch.tensor(0.7), SCORES, LABELS)
    assert evaluate(samples, pred_key=1, target_key=-1) == {"accuracy/top1": 50.0}
    # A score and a label of one's own are preferred to what the keys find by default.
    both = {"pred_score": SCORES, "gt_label": LABELS, "other": torch.zeros(4, dtype=torch.int64)}
    assert evaluate(both, target_key="other") == {"accuracy/top1": 25.0}


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    seed=st.integers(0, 99),
)
def test_the_result_does_not_depend_on_how_the_data_are_cut(labels, cuts, seed):
    scores = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(seed))
    target = torch.tensor(labels)
    whole, in_parts, merged = (Accuracy(topk=(1, 3)) for _ in range(3))
    whole.process(None, (scores, target))
    bounds = sorted({0, len(labels), *(cut for cut in cuts if cut < len(labels))})
    others = []
    for start, end in itertools.pairwise(bounds):
        in_parts.process(None, (scores[start:end], target[start:end]))
        other = Accuracy(topk=(1, 3))
        other.process(None, (scores[start:end], target[start:end]))
        others.append(other)
    merged.merge(others)
    expected = whole.evaluate(len(labels))
    assert in_parts.evaluate(len(labels)) == expected
    assert merged.compute() == {key.removeprefix("accuracy/"): value for key, value in expected.items()}


def test_each_evaluation_begins_anew():
    metric = Accuracy()
    metric.process(None, (SCORES, LABELS))
    metric.evaluate(4)
    metric.process(None, (SCORES[:1], LABELS[:1]))
    assert metric.evaluate(1) == {"accuracy/top1": 100.0}


def test_updating_never_reads_a_tensor_and_keeps_the_counters_on_its_device():
    metric = Accuracy(topk=(1, 5))
    for _ in range(3):  # tensors on meta have no values to be read
        metric.process(None, (torch.empty(8, 10, device="meta"), torch.empty(8, device="meta", dtype=torch.int64)))
    assert metric.correct.device.type == "meta"
    assert metric.samples == 24


@pytest.mark.parametrize("repeats", [1, 100, 2000])
def test_memory_does_not_grow(repeats):
    """Batches wait to be counted together; they are few, or have few samples."""
    metric = Accuracy()
    batch = (SCORES.repeat(repeats, 1), LABELS.repeat(repeats))
    sizes = []
    for _ in range(200):
        metric.process(None, batch)
        pairs = metric._waiting
        sizes.append(sum(value.numel() for pair in pairs for value in pair))
    assert len(sizes) == metric.samples / len(batch[1])
    assert max(sizes) <= 2 * (4096 + len(batch[1]))
    assert max(sizes) == max(sizes[:64])
    assert metric.evaluate(4 * 200 * repeats) == {"accuracy/top1": 50.0}


def test_outputs_may_be_written_over_when_they_were_taken_in():
    """As where a model has a place of its own for them, or runs as a CUDA graph."""
    for outputs in ((SCORES.clone(), LABELS.clone()), (SCORES.argmax(1), LABELS.clone())):
        metric = Accuracy()
        metric.process(None, outputs)
        for column in outputs:
            column.zero_()
        assert metric.evaluate(4) == {"accuracy/top1": 50.0}


def test_the_counters_can_be_read_at_any_time():
    metric = Accuracy(topk=(1, 2))
    for done in (1, 2, 3):
        metric.process(None, (SCORES, LABELS))
        assert metric.correct.tolist() == [2 * done, 3 * done]
        assert metric.out_of_range.item() == 0


def test_the_number_of_classes_may_change():
    """Labels are compared with the classes of their own batch."""
    metric = Accuracy()
    metric.process(None, (SCORES, LABELS))
    metric.process(None, (SCORES[:, :2], LABELS % 2))
    metric.process(None, (torch.tensor([7, 5]), torch.tensor([7, 6])))
    assert metric.evaluate(10) == {"accuracy/top1": 50.0}
    metric.process(None, (SCORES, LABELS))
    metric.process(None, (SCORES[:, :2], LABELS))
    with pytest.raises(ValueError, match="3 of 8 labels"):
        metric.evaluate(8)


def test_it_works_where_the_update_runs_in_inference_mode_and_the_next_does_not():
    metric = Accuracy()
    with torch.inference_mode():
        metric.process(None, (SCORES, LABELS))
    metric.process(None, (SCORES, LABELS))
    assert metric.evaluate(8) == {"accuracy/top1": 50.0}


@pytest.mark.parametrize(
    ("data_samples", "error", "message"),
    [
        (SCORES, TypeError, r"predict mode returned: a float32 tensor of shape \(4, 3\)\. Return a tuple"),
        (None, TypeError, "predict mode returned: None"),
        ([SCORES, LABELS], TypeError, r"predict mode returned: a list of 2 \(first a float32 tensor"),
        ([], TypeError, "an empty list"),
        ((SCORES, LABELS, LABELS), ValueError, "a position from 0 to 2"),
        ({"logits": SCORES, "label": LABELS}, ValueError, "finds only 'logits', 'label'. .* pred_key="),
        ({"scores": SCORES, "y": LABELS}, ValueError, "'gt_label', .* finds only 'scores', 'y'. .* target_key="),
        ([{"scores": SCORES[0], "label": 1}, {"scores": SCORES[0]}], ValueError, "'label' in the first sample"),
        ((SCORES[None], LABELS), TypeError, r"the predictions must be scores .* a float32 tensor of shape \(1, 4"),
        ((SCORES[:, 0], LABELS), TypeError, r"but they are a float32 tensor of shape \(4,\)"),
        ((SCORES, LABELS.float()), TypeError, r"the labels must be integers of shape \[N\], .* float32"),
        ((SCORES, torch.eye(3)[LABELS]), TypeError, r"the labels must be integers .* shape \(4, 3\)"),
        ((SCORES, LABELS[:3]), ValueError, "got 4 predictions and 3 labels"),
    ],
)
def test_what_cannot_be_understood_is_described(data_samples, error, message):
    with pytest.raises(error, match=message):
        evaluate(data_samples)


def test_a_misspelt_key():
    with pytest.raises(ValueError, match=r"no pred_key='score'\. Did you mean 'scores'"):
        evaluate({"scores": SCORES, "labels": LABELS}, pred_key="score")


def test_topk_must_fit():
    with pytest.raises(ValueError, match=r"topk=\(1, 5\) needs 5 classes, but there are only 3"):
        evaluate((SCORES, LABELS), topk=(1, 5))
    with pytest.raises(ValueError, match=r"topk=\(2,\) needs scores of shape \[N, classes\]"):
        evaluate((LABELS, LABELS), topk=2)
    for topk in (0, (), (1, -1), (1.0,), True):
        with pytest.raises(ValueError, match="topk must be a positive integer"):
            Accuracy(topk=topk)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_that_no_class_has_are_an_error_at_the_end(wrong):
    labels = LABELS.clone()
    labels[2] = wrong
    with pytest.raises(ValueError, match="1 of 4 labels are below 0, or not below the number of classes"):
        evaluate((SCORES, labels))


def test_no_sample_at_all():
    with pytest.raises(ValueError, match="Accuracy has seen no sample"):
        Accuracy().evaluate(10)


def test_it_is_a_streaming_metric_built_by_name():
    metric = METRICS.build({"type": "Accuracy", "topk": [1, 5]})
    assert isinstance(metric, StreamingMetric)
    assert metric.topk == (1, 5)


def test_no_copy_to_the_cpu_runs_ahead():
    """The host would read it before it is whole."""

    class Copies(TorchFunctionMode):
        ahead: ClassVar[list[bool]] = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.Tensor.to:
                self.ahead.append((kwargs or {}).get("non_blocking", False))
            return func(*args, **(kwargs or {}))

    metric = Accuracy()
    with Copies() as copies:
        metric.process(None, (torch.eye(3), torch.arange(3)))
        assert metric.evaluate(size=3) == {"accuracy/top1": 100}
    assert copies.ahead == [False] * 2
    assert may_run_ahead(torch.device("cuda"))
