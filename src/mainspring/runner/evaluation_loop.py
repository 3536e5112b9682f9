"""What validation and test share: passes over sets of data without gradients, and an evaluator for each set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from ..device import autocast
from ..evaluator import ModelLoss
from ..model import BaseModel
from ..utils import check_type, generator_states, set_generator_states
from .base_loop import BaseLoop, check_any
from .evaluation_sets import EvaluationSet, checked_intervals, evaluators_by_name, loaders_by_name

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ..evaluator import Evaluator
    from .runner import Runner

__all__ = ["EvaluationLoop"]

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class EvaluationLoop(BaseLoop):
    """Evaluates one set of data, or several by name, one after the other; :class:`ValLoop` tells of the arguments.

    ``dataloader`` and ``evaluator`` are those of the set that is being evaluated, or was last; before, of the first.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | Mapping[str, Any],
        evaluator: Evaluator | Mapping[str, Any] | Sequence[Any],
        fp16: bool = False,
        dtype: str | torch.dtype | None = None,
        with_loss: bool = False,
        intervals: Mapping[str, int] | None = None,
    ) -> None:
        path = f"{self.mode}_cfg"
        (first, given), *others = loaders_by_name(dataloader, self.mode).items()
        super().__init__(runner, given, name=first)
        self.fp16 = fp16
        chosen = _checked_dtype(fp16, dtype, path)
        self.precision = autocast(runner.device, fp16 or chosen is not None, chosen)
        """The context in which batches are predicted."""
        check_type(with_loss, bool, f"{path}.with_loss")
        if with_loss and not isinstance(runner.model, BaseModel):
            raise TypeError(
                f"{path}.with_loss=True needs a model that inherits from mainspring.BaseModel, whose forward has a mode"
                f" 'loss', but it is {type(runner.model).__name__}."
            )
        loaders = {first: self.dataloader, **{name: self._build_dataloader(one, name) for name, one in others}}
        evaluators = evaluators_by_name(loaders, evaluator, self.mode)
        every = checked_intervals(loaders, intervals, self.mode, vars(runner).get("train_loop"))
        self._sets = [
            EvaluationSet(name, loader, self._build_evaluator(evaluators[name], loader, with_loss), every[name])
            for name, loader in loaders.items()
        ]
        self.evaluator = self._sets[0].evaluator
        self.further_passes: dict[str, Callable[[], AbstractContextManager[Any]]] = {}
        """What is evaluated beside the model as it is, by the name that begins the names of its results: contexts in
        which the model is as it should be then. A hook may add one before the first batch."""
        self._left_out: set[str] = set()

    def _build_evaluator(self, given: Any, loader: DataLoader[Any], with_loss: bool) -> Evaluator:
        evaluator = self.runner.build_evaluator(given)
        if with_loss:
            others = [metric for metric in evaluator.metrics if not isinstance(metric, ModelLoss)]  # of an earlier loop
            evaluator.metrics = [*others, ModelLoss(self._losses)]
        metainfo = getattr(loader.dataset, "metainfo", None)
        if metainfo is not None:
            evaluator.dataset_meta = metainfo
        return evaluator

    def run(self) -> dict[str, float]:
        """Evaluate each set that is due, and return the metrics by name."""
        runner, mode = self.runner, self.mode
        due = self._begin()
        runner.call_hook(f"before_{mode}")
        runner.call_hook(f"before_{mode}_epoch")
        runner.model.eval()
        metrics: dict[str, float] = {}
        for name_of_pass, prepared in {"": nullcontext, **self.further_passes}.items():
            with prepared():
                for one in due:
                    _add(metrics, self._evaluate(one), filter(None, (name_of_pass, one.name)))
        runner.call_hook(f"after_{mode}_epoch", metrics=metrics)
        runner.call_hook(f"after_{mode}")
        return metrics

    def rehearse(self, batches: int) -> None:
        """Evaluate the first batches of each set without hooks, and forget the results; nothing is drawn for it."""
        runner = self.runner
        states = generator_states(runner.device)
        runner.model.eval()
        step = runner.model.val_step if self.mode == "val" else runner.model.test_step
        try:
            for one in self._begin():
                self._enter(one)
                with torch.no_grad(), closing(self.batches()) as drawn:
                    for data_batch in islice(drawn, batches):
                        with self.precision:
                            outputs = step(data_batch)
                        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
                self.evaluator.evaluate(self._dataset_size())
        finally:
            set_generator_states(states, runner.device)

    def leaves_out(self, metric: str) -> bool:
        """Whether a result is that of a set which is not due in the evaluation that runs, or ran last."""
        first, _, rest = metric.partition("/")
        return (rest.partition("/")[0] if first in self.further_passes else first) in self._left_out

    def _begin(self) -> list[EvaluationSet]:
        """Return the sets that are due, with evaluators that know of nothing."""
        if len(self._sets) == 1:  # a user may have put another loader or evaluator in its place
            self._sets = [replace(self._sets[0], dataloader=self.dataloader, evaluator=self.evaluator)]
        due = [one for one in self._sets if one.is_due(self.runner)]
        self._left_out = {one.name for one in self._sets} - {one.name for one in due}
        for one in self._sets:
            one.evaluator.discard()
        return due

    def _enter(self, one: EvaluationSet) -> None:
        self.dataloader, self.evaluator = one.dataloader, one.evaluator

    def _evaluate(self, one: EvaluationSet) -> dict[str, Any]:
        """Make one pass over a set of data, and return its metrics."""
        self._enter(one)
        size, idx = self._dataset_size(), -1
        with self.runner.life.pass_of_validation():
            for idx, data_batch in enumerate(self.batches()):
                self.run_iter(idx, data_batch)
        check_any(idx + 1, self.dataloader, f"{self.mode}_dataloader{'.' * bool(one.name)}{one.name}")
        return self.evaluator.evaluate(size)

    def _dataset_size(self) -> int:
        dataset: Any = self.dataloader.dataset
        try:
            return len(dataset)
        except TypeError as error:
            raise TypeError(
                f"The {self.mode} data set {type(dataset).__name__} has no length, which the metrics need. Give it a"
                " __len__ that counts its samples."
            ) from error

    @abstractmethod
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Evaluate one batch."""

    @torch.no_grad()
    def _losses(self, data_batch: Any) -> dict[str, torch.Tensor]:
        """Return the losses of a batch by name, their sum among them."""
        model = self.runner.model
        with self.precision:
            losses = model._run_forward(model.data_preprocessor(data_batch, False), mode="loss")
            _, scalars = model.parse_losses(losses)
        return {name: value for name, value in scalars.items() if "loss" in name}


def _add(metrics: dict[str, float], results: Mapping[str, Any], names: Iterable[str]) -> None:
    """Add the results of one pass over a set, each with the names of these before its own."""
    prefix = "".join(f"{name}/" for name in names)
    for key, value in results.items():
        if prefix + key in metrics:
            raise ValueError(
                f"Two results of one evaluation are called {prefix + key!r}. Give the set of data another name, or the"
                " metric another prefix."
            )
        metrics[prefix + key] = value


def _checked_dtype(fp16: Any, dtype: Any, path: str) -> torch.dtype | None:
    check_type(fp16, bool, f"{path}.fp16")
    if dtype is None:
        return None
    chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen not in _DTYPES.values():
        raise ValueError(f"{path}.dtype must be 'float16' or 'bfloat16', but it is {dtype!r}.")
    if fp16 and chosen is torch.bfloat16:
        raise ValueError(f"{path} has fp16=True and dtype={dtype!r}, which contradict each other. Leave out fp16.")
    return chosen
