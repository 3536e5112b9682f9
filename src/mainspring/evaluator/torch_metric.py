"""Metrics of torchmetrics."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..registry import METRICS
from ..utils import did_you_mean, require
from .held_back import HeldBack
from .metric import to_cpu, with_prefix
from .samples import find_column, find_pair

__all__ = ["TorchMetric", "as_torch_metric", "is_torch_metric"]

_DOMAINS = (
    "classification",
    "regression",
    "aggregation",
    "audio",
    "detection",
    "image",
    "nominal",
    "retrieval",
    "text",
    "wrappers",
)


@METRICS.register_module()
class TorchMetric:
    """Any metric of torchmetrics, which keeps its own state and gathers it over the ranks by itself.

    It moves to the device of the predictions. Many metrics look into their inputs at each update, which waits
    for the device; where torchmetrics offers it, ``validate_args=False`` avoids that. Samples that a sampler
    has repeated for even ranks are left out.

    In a list of metrics, ``dict(type='torchmetrics.MulticlassF1Score', num_classes=3)`` is short for this class with
    ``metric='MulticlassF1Score'``, and a metric of torchmetrics itself for this class around it.

    A result with one number for each class, or each output, becomes several: ``MulticlassRecall/0`` and so on, or
    ``MulticlassRecall/cat`` where the data set's ``metainfo`` has as many ``classes``. Other results, such as curves
    and confusion matrices, are handed on as they are, on the CPU; nothing can be compared by them.

    Args:
        metric: A ``torchmetrics.Metric`` or ``MetricCollection``, its class, or its name: ``"Accuracy"``, or
            with its module where ``import torchmetrics`` does not bring it, ``"segmentation.MeanIoU"``.
        pred_key: Name or position of the predictions in what the model's predict mode returns; by default as
            in :class:`Accuracy`. Arrays, and numbers and tensors of single samples, become tensors.
        target_key: The same for the targets.
        update_keys: The same for further arguments of the metric's ``update``, by their names: ``{"groups": 2}``.
        key: Name of the result of a metric that gives no dict; by default the name as given, or the name of the
            metric's class.
        keys: Which results to report, of a metric or collection that gives several; by default all.
        prefix: Put before the names of the results, with a slash.
        **kwargs: Arguments for the metric's constructor, where ``metric`` is a name or a class.

    Raises:
        ImportError: torchmetrics is not installed.
        ValueError: There is no metric of this name; or a result asked for is missing.
        TypeError: ``metric`` is something else.

    >>> metric = TorchMetric("Accuracy", key="acc", task="multiclass", num_classes=3)
    >>> metric.process(None, (torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])))
    >>> metric.evaluate(size=4)
    {'acc': 0.75}
    """

    def __init__(
        self,
        metric: Any,
        pred_key: str | int | None = None,
        target_key: str | int | None = None,
        update_keys: Mapping[str, str | int] | None = None,
        key: str | None = None,
        keys: Sequence[str] | None = None,
        prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.metric = _build(metric, kwargs)
        self.key = key or (metric.rpartition(".")[2] if isinstance(metric, str) else type(self.metric).__name__)
        self.pred_key = pred_key
        self.target_key = target_key
        self.update_keys = dict(update_keys or {})
        self.keys = None if keys is None else tuple(keys)
        self.prefix = prefix
        self.dataset_meta: dict[str, Any] | None = None
        self._held = HeldBack()
        self._device: torch.device | None = None  # that of the last predictions

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Take in what the model predicted for one batch."""
        for _, samples in self._held.push(data_batch, data_samples):
            self._update(samples)

    def discard(self) -> None:
        """Forget the state of an evaluation that was abandoned."""
        self._held.clear()
        self.metric.reset()

    def evaluate(self, size: int) -> dict[str, Any]:
        """Compute over all ranks, hand the results to all, and begin anew.

        Args:
            size: Number of samples in the data set.
        """
        try:
            for _, samples in self._held.finish(size):
                self._update(samples)
            answers = self._answers(self.metric.compute())
        finally:
            self._held.clear()
            self.metric.reset()
        return with_prefix(self.prefix, answers)

    def _update(self, samples: Any) -> None:
        predictions, targets = find_pair(samples, self.pred_key, self.target_key, self._name())
        if isinstance(predictions, torch.Tensor) and predictions.device != self._device:
            self._device = predictions.device
            self.metric.to(self._device)
        others = {
            name: find_column(samples, key, f"update_keys[{name!r}]", self._name())
            for name, key in self.update_keys.items()
        }
        self.metric.update(predictions, targets, **others)

    def _answers(self, computed: Any) -> dict[str, Any]:
        several = computed if isinstance(computed, Mapping) else {self.key: computed}
        for key in self.keys or ():
            if key not in several:
                raise ValueError(
                    f"{self._name()} gives no {key!r}.{did_you_mean(key, several)} There is: {', '.join(several)}."
                )
        answers: dict[str, Any] = {}
        for key in self.keys or several:
            value = several[key]
            if isinstance(value, tuple) and all(isinstance(one, torch.Tensor) and one.numel() == 1 for one in value):
                value = torch.stack([one.reshape(()) for one in value])  # such as a recall and its threshold
            if isinstance(value, torch.Tensor) and value.numel() > 1 and value.ndim == 1:
                numbers = value.tolist()
                answers |= {f"{key}/{name}": one for name, one in zip(self._parts(numbers), numbers, strict=True)}
            elif isinstance(value, torch.Tensor) and value.numel() == 1:
                answers[key] = float(value)
            else:
                answers[key] = float(value) if isinstance(value, int) else to_cpu(value)
        return answers

    def _parts(self, numbers: Sequence[float]) -> Sequence[Any]:
        """Return what the numbers of a result are of: classes, where there are as many, or else by position."""
        classes = (self.dataset_meta or {}).get("classes", ())
        return classes if len(classes) == len(numbers) else range(len(numbers))

    def _name(self) -> str:
        return f"TorchMetric({type(self.metric).__name__})"


def is_torch_metric(value: Any) -> bool:
    """Whether something is a metric of torchmetrics, or derived from one, without importing it."""
    bases = type(value).__mro__
    return any(b.__module__.startswith("torchmetrics.") and b.__name__ in ("Metric", "MetricCollection") for b in bases)


def as_torch_metric(item: Any) -> Any:
    """Return a :class:`TorchMetric` for a metric of torchmetrics, its config for a config of one, or else ``item``.

    >>> as_torch_metric({"type": "torchmetrics.MulticlassRecall", "num_classes": 3})
    {'type': 'TorchMetric', 'metric': 'MulticlassRecall', 'num_classes': 3}
    """
    if is_torch_metric(item):
        return TorchMetric(item)
    kind = item.get("type") if isinstance(item, Mapping) else None
    if isinstance(kind, type) and kind.__module__.startswith("torchmetrics."):
        metric: Any = kind
    elif isinstance(kind, str) and kind.startswith("torchmetrics."):
        metric = kind.removeprefix("torchmetrics.")
    else:
        return item
    return {"type": "TorchMetric", "metric": metric, **{key: value for key, value in item.items() if key != "type"}}


def _build(metric: Any, kwargs: dict[str, Any]) -> Any:
    torchmetrics = require("torchmetrics", extra="metrics", purpose="TorchMetric")
    if isinstance(metric, str):
        metric = _find(torchmetrics, metric)
    if isinstance(metric, type):
        metric = metric(**kwargs)
    elif kwargs:
        raise TypeError(
            f"TorchMetric got a metric that is built already ({type(metric).__name__}), and arguments for "
            f"its constructor: {', '.join(kwargs)}. Give them where it is built."
        )
    if not isinstance(metric, (torchmetrics.Metric, torchmetrics.MetricCollection)):
        raise TypeError(
            f"metric must be a metric of torchmetrics or its name, such as 'Accuracy', but it is {metric!r}."
        )
    return metric


def _find(torchmetrics: Any, name: str) -> Any:
    module, _, last = name.rpartition(".")
    if module:
        places = [_module(f"torchmetrics.{module}")]
    else:
        # The domains first: of many metrics, torchmetrics itself has only a deprecated copy.
        places = [*(getattr(torchmetrics, domain, None) for domain in _DOMAINS), torchmetrics]
    known: list[str] = []
    for place in filter(None, places):
        found = getattr(place, last, None)
        if isinstance(found, type):
            return found
        known += [key for key, value in vars(place).items() if isinstance(value, type) and key[0] != "_"]
    raise ValueError(
        f"There is no metric torchmetrics.{name}.{did_you_mean(last, known)} Give a name that torchmetrics "
        "or one of its domains has, such as 'Accuracy', or one with its module, 'segmentation.MeanIoU'."
    )


def _module(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and path.startswith(error.name):
            return None
        raise  # the module is there, and something that it needs is not
