"""Evaluation: metrics that gather, metrics that stream, and the evaluator that holds them."""

from .accuracy import Accuracy
from .evaluator import Evaluator
from .metric import BaseMetric, Metric
from .streaming import StreamingMetric
from .torch_metric import TorchMetric

__all__ = ["Accuracy", "BaseMetric", "Evaluator", "Metric", "StreamingMetric", "TorchMetric"]
