"""Several metrics as one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from ..logging import print_log
from ..registry import EVALUATOR, FUNCTIONS, METRICS, build
from .dump_results import DumpResults
from .metric import Metric
from .samples import with_dicts
from .torch_metric import as_torch_metric

__all__ = ["Evaluator"]


@EVALUATOR.register_module()
class Evaluator:
    """Hands predictions to metrics and puts their results together.

    Args:
        metrics: A metric, of torchmetrics too; a config dict for ``METRICS``, or one with a type such as
            ``'torchmetrics.MulticlassF1Score'``; or a sequence of these.

    Raises:
        TypeError: One of them is no metric.
        ValueError: There is none.

    >>> from mainspring.evaluator import Accuracy
    >>> import torch
    >>> evaluator = Evaluator([Accuracy(), dict(type="Accuracy", topk=2, prefix="again")])
    >>> evaluator.process((torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 1])))
    >>> evaluator.evaluate(size=2)
    {'accuracy/top1': 50.0, 'again/top2': 100.0}
    """

    def __init__(self, metrics: Metric | Mapping[str, Any] | Sequence[Metric | Mapping[str, Any]]) -> None:
        given = [metrics] if isinstance(metrics, (Mapping, str)) or not isinstance(metrics, Sequence) else metrics
        if not given:
            raise ValueError("Evaluator got an empty list of metrics; give at least one, or leave the evaluator out.")
        self.metrics: list[Metric] = []
        for number, item in enumerate(given):
            metric = as_torch_metric(build(as_torch_metric(item), METRICS))
            if not isinstance(metric, Metric):
                raise TypeError(
                    f"metrics[{number}] is {metric!r} ({type(metric).__name__}), which is no metric. Give a "
                    "BaseMetric, a StreamingMetric, a config such as dict(type='Accuracy'), or an object "
                    "with process, evaluate and dataset_meta."
                )
            twin = next((other for other in self.metrics if _are_twins(metric, other)), None)
            if twin is not None:
                raise ValueError(
                    f"metrics[{number}] is a second {type(metric).__name__} with the same settings, so both would"
                    " return the same keys. Leave one out, or give one of them a prefix of its own: prefix='...'."
                )
            self.metrics.append(metric)
        self._dataset_meta: dict[str, Any] | None = None

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """What the data set says about itself; setting it hands it on to each metric."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta
        for metric in self.metrics:
            metric.dataset_meta = dataset_meta

    def process(self, data_samples: Any, data_batch: Any = None) -> None:
        """Hand what the model predicted for one batch to each metric.

        Args:
            data_samples: What the model's predict mode returned. Each ``BaseDataElement`` in a list or tuple
                becomes a dict; anything else reaches the metrics as it is.
            data_batch: The batch, as it came from the loader.
        """
        samples = with_dicts(data_samples)
        for metric in self.metrics:
            metric.process(data_batch, samples)

    def discard(self) -> None:
        """Let the metrics forget an evaluation that was abandoned, such as by a signal."""
        for metric in self.metrics:
            discard = getattr(metric, "discard", None)  # a metric of another class need not have it
            if callable(discard):
                discard()

    def evaluate(self, size: int) -> dict[str, Any]:
        """Return the results of all metrics and begin anew.

        Args:
            size: Number of samples in the data set, by which the metrics leave out what samplers repeat.

        Raises:
            ValueError: A metric returns no dict, or two metrics return the same key.
        """
        answers: dict[str, Any] = {}
        source: dict[str, str] = {}
        for metric in self.metrics:
            name = type(metric).__name__
            for key, value in _answers(metric, size).items():
                if key in answers:
                    raise ValueError(
                        f"The metrics {source[key]} and {name} both return {key!r}. "
                        f"Give one of them another prefix: {name}(prefix='...')."
                    )
                answers[key] = value
                source[key] = name
        return answers

    def offline_evaluate(
        self, data_samples: Iterable[Any], data: Sequence[Any] | None = None, chunk_size: int = 1
    ) -> dict[str, Any]:
        """Evaluate predictions that were made earlier.

        Args:
            data_samples: One element for each sample: a dict, a ``BaseDataElement``, or whatever the metrics
                take.
            data: The samples of the data set, in the same order; batches of them reach the metrics as
                ``data_batch``, made by ``pseudo_collate``.
            chunk_size: How many samples the metrics get at a time.

        Raises:
            ValueError: ``data`` and ``data_samples`` differ in length, or ``chunk_size`` is below 1.
        """
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be 1 or more, but it is {chunk_size}.")
        if data is not None:
            data_samples = list(data_samples)
            if len(data_samples) != len(data):
                raise ValueError(
                    f"There must be one element of data for each of data_samples, but data has {len(data)} "
                    f"and data_samples has {len(data_samples)}."
                )
        batches = None if data is None else _chunks(data, chunk_size)
        size = 0
        for chunk in _chunks(data_samples, chunk_size):
            size += len(chunk)
            self.process(chunk, None if batches is None else _collate(next(batches)))
        return self.evaluate(size)


def _answers(metric: Metric, size: int) -> Mapping[str, Any]:
    answers: Any = metric.evaluate(size)
    if isinstance(answers, Mapping) and all(isinstance(name, str) for name in answers):
        if not answers and not isinstance(metric, DumpResults):  # one that only writes files has nothing to answer
            text = f"The metric {type(metric).__name__} returned an empty dict: there is nothing to log or to compare."
            print_log(text, logger="current", level=logging.WARNING)
        return answers
    raise ValueError(
        f"The metric {type(metric).__name__} returned {answers!r} ({type(answers).__name__}). It must return a dict of"
        " names and numbers, such as {'accuracy': 97.5}; look at what its compute_metrics or compute returns."
    )


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _collate(samples: list[Any]) -> Any:
    pseudo_collate = FUNCTIONS.get("pseudo_collate")  # by name, since data sets stand on the same floor
    if pseudo_collate is None:
        raise KeyError("pseudo_collate is not registered in FUNCTIONS.")
    return pseudo_collate(samples)


def _are_twins(one: Any, other: Any) -> bool:
    """Whether two metrics are of one class and set up alike, as far as their attributes can be compared."""
    if type(one) is not type(other):
        return False
    try:
        mine, theirs = vars(one), vars(other)
        return mine.keys() == theirs.keys() and all(_are_equal(mine[name], theirs[name]) for name in mine)
    except (TypeError, ValueError, RuntimeError):  # no attributes, or such as cannot be compared, arrays above all
        return False


def _are_equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)
