"""What an evaluation costs: ``Runner.val()`` with a streaming metric beside a loop by hand over the same loader.

A million samples of ten scores, in batches of 256; the accuracy is counted.

- A data set that reads a batch at once (``__getitems__``): a ratio of at most 1.2 is promised. Two seedings of the
  generators a batch, about 8 µs each, take more than that; without ``sample_seeding`` there is one an evaluation.
- One that reads sample by sample; fewer of them.
- How the memory grows, from a first evaluation of a tenth of the samples to the end of a whole one: by less than 10 MB,
  it is promised.
- A metric that gathers a result for each sample, for comparison.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

import measure
from mainspring import BaseMetric, BaseModel, Runner
from measure import MICRO, Taken, taken

BATCH = 256
PROMISED, PROMISED_MEGABYTES = 1.2, 10


class Scores(Dataset[Any]):
    """Scores and labels, of a table that is used again and again, read one by one."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.scores = torch.randn(4096, 10, generator=generator)
        self.labels = torch.randint(10, (4096,), generator=generator)
        self.rows = list(self.scores)
        self.numbers: list[int] = self.labels.tolist()
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.rows[index % 4096], self.numbers[index % 4096]


class ScoresInBatches(Scores):
    """The same, read a batch at once."""

    def __getitems__(self, indices: list[int]) -> Any:
        places = torch.tensor(indices) % 4096
        return self.scores[places], self.labels[places]


class Identity(BaseModel):
    """Predicts the scores that it is given."""

    def forward(self, scores: torch.Tensor, labels: torch.Tensor, mode: str) -> Any:
        """Return them."""
        return scores, labels


class GatheredAccuracy(BaseMetric):
    """Keeps a dict for each sample, as metrics that gather do."""

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Append them."""
        scores, labels = data_samples
        pairs = zip(scores.argmax(1).tolist(), labels.tolist(), strict=True)
        self.results.extend({"predicted": predicted, "label": label} for predicted, label in pairs)

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Count."""
        return {"top1": 100 * sum(one["predicted"] == one["label"] for one in results) / len(results)}


def whole(batch: Any) -> Any:
    """Collate what is a batch already."""
    return batch


def loader(count: int, in_batches: bool) -> DataLoader[Any]:
    """Return the data."""
    if in_batches:
        return DataLoader(ScoresInBatches(count), batch_size=BATCH, collate_fn=whole)
    return DataLoader(Scores(count), batch_size=BATCH)


@torch.no_grad()
def by_hand(data: DataLoader[Any]) -> float:
    """Evaluate as one writes it without an engine."""
    correct, samples = torch.zeros((), dtype=torch.int64), 0
    for scores, labels in data:
        correct += (scores.argmax(1) == labels).sum()
        samples += len(labels)
    return 100 * correct.item() / samples


def runner(folder: str, data: DataLoader[Any], metric: Any, sample_seeding: bool) -> Runner:
    """Return a runner by default, but for the interval of log lines."""
    return Runner(
        model=Identity(),
        work_dir=folder,
        val_dataloader=data,
        val_cfg={},
        val_evaluator=metric,
        default_hooks={"logger": {"type": "LoggerHook", "interval": 50}},
        randomness={"seed": 0, "sample_seeding": sample_seeding},
        log_level="WARNING",
    )


def growth(count: int, gathering: bool) -> float:
    """Return by how many megabytes the memory has grown from a short evaluation to a long one."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in (count // 10, count):
            metric = GatheredAccuracy() if gathering else {"type": "Accuracy"}
            runner(folder, loader(size, in_batches=True), metric, sample_seeding=True).val()
            found.append(measure.peak_megabytes())
    return found[1] - found[0]


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=3))
    report = measure.Report("evaluation", options)
    count = 20_000 if options.short else 1_000_000
    table = measure.Table("CPU µs a sample (least / median)", "of a sample", "ratio to by hand", "promised")
    with tempfile.TemporaryDirectory() as folder:
        for in_batches, size in ((True, count), (False, count // 10)):
            data = loader(size, in_batches)

            def evaluate(metric: Any, seeding: bool, data: DataLoader[Any] = data) -> Callable[[], Any]:
                return runner(folder, data, metric, seeding).val

            accuracy = {"type": "Accuracy"}
            contenders: dict[str, Callable[[], Any]] = {
                "by hand": lambda data=data: by_hand(data),
                "streaming": evaluate(accuracy, True),
                "streaming, samples not seeded": evaluate(accuracy, False),
                "gathering, samples not seeded": evaluate(GatheredAccuracy(), False),
            }
            found: dict[str, list[Taken]] = measure.in_turn(
                {name: lambda one=one, size=size: taken(one, size) for name, one in contenders.items()},
                options.rounds,
            )
            kind = "read in batches" if in_batches else "read one by one"
            report.keep(kind, found)
            for name, many in found.items():
                ratio = "" if name == "by hand" else measure.ratio(measure.cpu(many), measure.cpu(found["by hand"]))
                told = f"{PROMISED}" if in_batches and name.startswith("streaming") else ""
                figure = measure.low_and_middle(measure.cpu(many), MICRO, 2)
                table.add(f"{kind}: {name}", figure, ratio, told)
    report.say(table)
    table = measure.Table(f"memory, {count // 10:,} to {count:,} samples", "MB more", "promised")
    for name, gathering in (("streaming", False), ("gathering", True)):
        if options.short:
            more = growth(count, gathering)
        else:
            more = measure.in_fresh_process(__file__, "--growth-in-this-process", count, int(gathering))
        report.keep(f"memory, {name}", more)
        table.add(name, f"{more:.1f}", "" if gathering else f"{PROMISED_MEGABYTES}")
    report.say(table)
    report.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--growth-in-this-process"]:
        print(json.dumps(growth(int(sys.argv[2]), bool(int(sys.argv[3])))))
    else:
        main()
