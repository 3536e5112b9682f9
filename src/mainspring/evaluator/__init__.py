"""Evaluation: metrics that gather, metrics that stream, and the evaluator that holds them."""

from .accuracy import Accuracy
from .confusion_matrix import ConfusionMatrix
from .dump_results import DumpResults
from .evaluator import Evaluator
from .mean_iou import MeanIoU
from .metric import BaseMetric, Metric
from .model_loss import ModelLoss
from .streaming import StreamingMetric
from .torch_metric import TorchMetric

__all__ = [
    "Accuracy",
    "BaseMetric",
    "ConfusionMatrix",
    "DumpResults",
    "Evaluator",
    "MeanIoU",
    "Metric",
    "ModelLoss",
    "StreamingMetric",
    "TorchMetric",
]
