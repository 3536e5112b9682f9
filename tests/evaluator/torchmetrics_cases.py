"""Runs each metric of torchmetrics by name, and prints a table that says which.

The classification, regression and detection metrics are taken, with inputs of the kind that their documentation shows;
``python tests/evaluator/torchmetrics_cases.py`` prints the table of docs/evaluation.md.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch

from mainspring.evaluator import Evaluator

DOMAINS = ("classification", "regression", "detection")
CLASSES, SAMPLES = 3, 24
# Those of the detection domain that torchmetrics hands out only where their libraries are installed.
OPTIONAL = {
    "detection.mean_ap.MeanAveragePrecision": "torchvision and pycocotools",
    "detection.iou.IntersectionOverUnion": "torchvision",
    "detection.giou.GeneralizedIntersectionOverUnion": "torchvision",
    "detection.diou.DistanceIntersectionOverUnion": "torchvision",
    "detection.ciou.CompleteIntersectionOverUnion": "torchvision",
}


@dataclass
class Case:
    """A metric, how it is made, and what it gets."""

    name: str
    predictions: Any
    targets: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """What a user writes."""
        config = {"type": f"torchmetrics.{self.name}", **self.arguments}
        if self.others:
            config |= {
                "pred_key": 0,
                "target_key": 1,
                "update_keys": {name: place for place, name in enumerate(self.others, 2)},
            }
        return config

    def by_name(self) -> dict[str, Any]:
        """Return the results through an evaluator, in two batches."""
        evaluator = Evaluator(self.config)
        columns = (self.predictions, self.targets, *self.others.values())
        for part in (slice(0, SAMPLES // 2), slice(SAMPLES // 2, None)):
            evaluator.process(tuple(column[part] for column in columns))
        return evaluator.evaluate(len(self.targets))

    def directly(self) -> Any:
        """Return what the metric itself computes of the same batches."""
        module, _, name = self.name.rpartition(".")
        metric = getattr(importlib.import_module(f"torchmetrics.{module}"), name)(**self.arguments)
        for part in (slice(0, SAMPLES // 2), slice(SAMPLES // 2, None)):
            others = {name: column[part] for name, column in self.others.items()}
            metric.update(self.predictions[part], self.targets[part], **others)
        return metric.compute()


def names() -> list[str]:
    """Return the metrics of the three domains."""
    found = []
    for domain in DOMAINS:
        module = importlib.import_module(f"torchmetrics.{domain}")
        found += [f"{domain}.{name}" for name, value in sorted(vars(module).items()) if inspect.isclass(value)]
    return found + [name for name in OPTIONAL if name not in found]


def case(name: str) -> Case:
    """Return the case of a metric."""
    domain, metric = name.split(".")[0], name.rpartition(".")[2]
    generator = torch.Generator().manual_seed(1)
    if domain == "classification":
        return _classification(name, metric, generator)
    if domain == "regression":
        return _regression(name, metric, generator)
    if "Panoptic" in metric:
        maps = torch.randint(3, (2, SAMPLES, 4, 4, 2), generator=generator)
        return Case(name, maps[0], maps[1], {"things": {0, 1}, "stuffs": {2}})
    corner = 10 * torch.rand(SAMPLES, 1, 2, generator=generator)
    boxes = torch.cat([corner, corner + 8], 2)
    found = [{"boxes": box + 1, "scores": torch.ones(1), "labels": torch.zeros(1).long()} for box in boxes]
    return Case(name, found, [{"boxes": box, "labels": torch.zeros(1).long()} for box in boxes])


def _classification(name: str, metric: str, generator: torch.Generator) -> Case:
    arguments: dict[str, Any] = {}
    for key in ("min_precision", "min_recall", "min_sensitivity", "min_specificity"):
        if f"At{'Fixed' * ('Recall' in metric or 'Precision' in metric)}{key[4:].capitalize()}" in metric:
            arguments[key] = 0.5
    if "FBeta" in metric:
        arguments["beta"] = 2.0
    labels = torch.arange(SAMPLES) % CLASSES
    scores = torch.rand(SAMPLES, CLASSES, generator=generator).softmax(1)
    if metric.startswith("Multilabel"):
        return Case(name, scores, (scores > 0.35).roll(1, 0).long(), {"num_labels": CLASSES, **arguments})
    binary = Case(name, scores[:, 0], labels.clamp(max=1), arguments)
    if "Fair" in metric or "Group" in metric:
        binary.arguments["num_groups"] = 2
        binary.others = {"groups": torch.arange(SAMPLES) % 2}
        return binary
    if metric.startswith("Binary"):
        return binary
    if not metric.startswith("Multiclass"):
        arguments["task"] = "multiclass"
    if metric.endswith("ExactMatch"):
        predictions, targets = torch.randint(CLASSES, (2, SAMPLES, 2), generator=generator)
        return Case(name, predictions, targets, {"num_classes": CLASSES, **arguments})
    return Case(name, scores, labels, {"num_classes": CLASSES, **arguments})


def _regression(name: str, metric: str, generator: torch.Generator) -> Case:
    values = 1 + torch.rand(2, SAMPLES, generator=generator)
    arguments = {"MinkowskiDistance": {"p": 3}, "CriticalSuccessIndex": {"threshold": 1.5}}.get(metric, {})
    if metric in ("CosineSimilarity", "KLDivergence", "JensenShannonDivergence"):
        rows = torch.rand(2, SAMPLES, 4, generator=generator).softmax(2)
        return Case(name, rows[0], rows[1])
    if metric == "ContinuousRankedProbabilityScore":
        return Case(name, torch.rand(SAMPLES, 5, generator=generator), values[1])
    return Case(name, values[0], values[1], arguments)


def table() -> str:
    """Run all of them, and return the table."""
    lines = ["| metric | run | arguments | results |", "|---|---|---|---|"]
    for name in names():
        one = case(name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = one.by_name()
        except ModuleNotFoundError:
            lines.append(f"| `{name}` | no: needs {OPTIONAL[name]} | | |")
            continue
        given = ", ".join(f"`{key}={value!r}`" for key, value in one.config.items() if key != "type")
        numbers = [value for value in results.values() if isinstance(value, (int, float))]
        kind = "a number" if len(numbers) == 1 else f"{len(numbers)} numbers" if numbers else "curves or counts"
        lines.append(f"| `{name}` | yes | {given} | {kind} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
