"""What a metric is, and the kind that gathers its results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from ..dist import broadcast_object_list, collect_results, is_main_process
from ..structures import BaseDataElement
from ..utils import apply_to

__all__ = ["BaseMetric", "Metric"]


@runtime_checkable
class Metric(Protocol):
    """What an :class:`Evaluator` asks of a metric.

    :class:`BaseMetric` gathers a result for each sample, :class:`StreamingMetric` keeps counters; a class of
    your own with these three members will do as well.
    """

    dataset_meta: dict[str, Any] | None
    """What the data set says about itself, such as the names of its classes; set by the evaluator."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Take in what the model predicted for one batch."""

    def evaluate(self, size: int) -> dict[str, Any]:
        """Return the results of all batches since the last call, on every rank alike, and begin anew.

        Args:
            size: Number of samples in the data set. What a sampler repeats so that all ranks have the same
                number is left out with its help.
        """


class BaseMetric(ABC):
    """A metric that gathers a result for each sample and computes from all of them on rank 0.

    A subclass writes :meth:`process`, which appends to :attr:`results`, and :meth:`compute_metrics`. Memory
    grows with the data set; where counters are enough, take :class:`StreamingMetric`.

    Args:
        collect_device: Where the results of the ranks are gathered: ``"cpu"`` or ``"gpu"``.
        prefix: Put before the names of the results, with a slash; by default the class's ``default_prefix``.
        collect_dir: Directory for gathering through files, which all ranks share; only with ``"cpu"``.

    Raises:
        ValueError: ``collect_device`` is unknown, or ``collect_dir`` is given without ``"cpu"``.

    >>> class MeanError(BaseMetric):
    ...     default_prefix = "error"
    ...     def process(self, data_batch, data_samples):
    ...         self.results.extend(abs(sample["pred"] - sample["gt"]) for sample in data_samples)
    ...     def compute_metrics(self, results):
    ...         return {"mean": sum(results) / len(results)}
    >>> metric = MeanError()
    >>> metric.process(None, [dict(pred=1.0, gt=2.0), dict(pred=5.0, gt=2.0)])
    >>> metric.evaluate(size=2)
    {'error/mean': 2.0}
    """

    default_prefix: str | None = None

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None, collect_dir: str | None = None) -> None:
        if collect_device not in ("cpu", "gpu"):
            raise ValueError(f"collect_device must be 'cpu' or 'gpu', but it is {collect_device!r}.")
        if collect_dir is not None and collect_device != "cpu":
            raise ValueError(
                f"collect_dir={collect_dir!r} gathers through files, which needs collect_device='cpu', "
                f"but it is {collect_device!r}."
            )
        self.collect_device = collect_device
        self.collect_dir = collect_dir
        self.prefix = prefix or self.default_prefix
        self.dataset_meta: dict[str, Any] | None = None
        self.results: list[Any] = []

    @abstractmethod
    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Append one result for each sample of the batch to :attr:`results`.

        Args:
            data_batch: The batch, as it came from the loader.
            data_samples: What the model's predict mode returned; each ``BaseDataElement`` in it is a dict
                here.
        """

    @abstractmethod
    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Compute the results on rank 0.

        Args:
            results: The results of all ranks in the order of the data set, without repeated samples; tensors
                are on the CPU.
        """

    def evaluate(self, size: int) -> dict[str, Any]:
        """Gather the results of all ranks, compute on rank 0, and hand the results to all; then begin anew.

        Args:
            size: Number of samples in the data set; results beyond it belong to repeated samples and are
                dropped.
        """
        try:
            results = collect_results(to_cpu(self.results), size, self.collect_device, tmpdir=self.collect_dir)
            answers = on_main(lambda: self._compute(results), type(self).__name__)
        finally:
            self.results.clear()
        return with_prefix(self.prefix, answers)

    def discard(self) -> None:
        """Forget the results of an evaluation that was abandoned."""
        self.results.clear()

    def _compute(self, results: Any) -> dict[str, Any]:
        try:
            return self.compute_metrics(results)
        except Exception as error:
            if not results:
                error.add_note(f"There are no results: {type(self).__name__}.process has appended none.")
            raise


def on_main(compute: Callable[[], Any], metric: str) -> Any:
    """Return on all ranks what ``compute()`` returns on rank 0; when it raises there, all ranks raise."""
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = compute()
        except Exception as error:
            broadcast_object_list([None, f"{type(error).__name__}: {error}"])
            raise
    broadcast_object_list(outcome)
    answers, failure = outcome
    if failure is not None:
        raise RuntimeError(f"{metric} failed on rank 0: {failure}")
    return answers


def with_prefix(prefix: str | None, answers: Any) -> dict[str, Any]:
    """Put the prefix before each key; what is no dict is left for the evaluator to complain about."""
    if prefix and isinstance(answers, Mapping):
        answers = {f"{prefix}/{key}": value for key, value in answers.items()}
    return answers  # type: ignore[no-any-return]


# Results are made of these mostly; they are nowhere but on the CPU.
_PLAIN = frozenset({bool, bytes, complex, float, int, str, type(None)})


def _is_plain(data: Any) -> bool:
    """Whether nested containers hold nothing that could lie on another device, as far as can be told at once."""
    kind = type(data)
    if kind is dict:
        data = data.values()
    elif kind is not list and kind is not tuple:
        return kind in _PLAIN
    for item in data:  # noqa: SIM110  a generator takes twice as long
        if type(item) not in _PLAIN and not _is_plain(item):
            return False
    return True


def to_cpu(data: Any) -> Any:
    """Move each tensor and ``BaseDataElement`` in nested containers to the CPU; what holds neither is not copied."""
    if type(data) is list:
        return [item if _is_plain(item) else _moved(item) for item in data]
    return _moved(data)


def _moved(data: Any) -> Any:
    return apply_to(
        data, lambda value: isinstance(value, (torch.Tensor, BaseDataElement)), lambda value: value.to("cpu")
    )
