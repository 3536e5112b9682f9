"""Evaluation on several ranks gives the same numbers as on one, although samplers repeat samples."""

from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp

from mainspring.dataset import DefaultSampler
from mainspring.evaluator import (
    Accuracy,
    BaseMetric,
    ConfusionMatrix,
    Evaluator,
    ModelLoss,
    StreamingMetric,
    TorchMetric,
)

CLASSES = 4


def labels_of(data_samples):
    return list(data_samples[1]) if isinstance(data_samples, tuple) else [one["label"] for one in data_samples]


class SumOfLabels(StreamingMetric):
    default_prefix = "sum"

    def __init__(self):
        super().__init__()
        self.reset()

    def reset(self):
        self.total = torch.zeros((), dtype=torch.int64)

    def update(self, data_batch, data_samples):
        self.total = self.total + sum(labels_of(data_samples))

    def merge(self, others):
        self.total = self.total + sum(other.total for other in others)

    def compute(self):
        return {"labels": self.total.item()}


class Order(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(labels_of(data_samples))

    def compute_metrics(self, results):
        return {"order": [label.item() for label in results]}


class FailsOnMain(Order):
    def compute_metrics(self, results):
        raise ZeroDivisionError("no such thing")


def data(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, CLASSES, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def evaluate(size: int, batch_size: int, *, columns: bool) -> dict:
    scores, labels = data(size)
    metrics = [Accuracy(topk=(1, 2)), ConfusionMatrix(items=("f1", "matrix")), ModelLoss(loss_of_batch)]
    if size > 1:  # torchmetrics warns of ranks that have no sample of their own
        metrics.append(TorchMetric("Accuracy", task="multiclass", num_classes=CLASSES))
    metrics += [SumOfLabels(), Order()]
    evaluator = Evaluator(metrics)
    indices = torch.tensor(list(DefaultSampler(range(size), shuffle=False)))
    for part in indices.split(batch_size):
        if columns:
            evaluator.process((scores[part], labels[part]), {"labels": labels[part], "name": "x"})
        else:
            evaluator.process([{"pred_score": scores[n], "label": labels[n]} for n in part], [list(labels[part])])
    return evaluator.evaluate(size)


def loss_of_batch(batch):
    labels = batch["labels"] if isinstance(batch, dict) else torch.stack(batch[0])
    return {"loss": labels.double().mean()}


# The rows and the columns of each size and each batch size in turn, which keeps the test short.
CASES = [(size, batch_size, (size + batch_size) % 2 == 0) for size in range(1, 18) for batch_size in range(1, 6)]


def evaluate_on_a_rank(rank: int, store: Path, expected: list[dict]) -> None:
    torch_dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        for (size, batch_size, columns), answers in zip(CASES, expected, strict=True):
            assert evaluate(size, batch_size, columns=columns) == answers, (size, batch_size, columns)

        failing = FailsOnMain()
        failing.process(None, [{"label": torch.tensor(1)}])
        error, message = (ZeroDivisionError, "no such thing") if rank == 0 else (RuntimeError, "FailsOnMain failed")
        with pytest.raises(error, match=message):
            failing.evaluate(3)
        assert failing.results == []

        # A list counts as one element for each sample: two columns in a list cannot be right.
        confused = SumOfLabels()
        for _ in range(2):
            confused.process(None, [{"label": torch.ones(8)}, {"label": torch.ones(8)}])
        with pytest.raises(ValueError, match=r"has 3 samples, but the ranks have processed \[4, 4\]"):
            confused.evaluate(3)
        with pytest.raises(TypeError, match=r"Cannot tell how many samples there are .*: an object of class object"):
            confused.process(None, object())
    finally:
        torch_dist.destroy_process_group()


def test_two_ranks_answer_like_one(tmp_path):
    expected = [evaluate(size, batch_size, columns=columns) for size, batch_size, columns in CASES]
    mp.spawn(evaluate_on_a_rank, args=(tmp_path / "store", expected), nprocs=2)
