"""The loops: the page to read first. A batch goes from here to the model's step; all else is a hook."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..dataset import is_endless
from ..hooks import SanityHook
from ..registry import LOOPS
from .base_loop import BaseTrainLoop, whole_number
from .evaluation_loop import EvaluationLoop

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ..evaluator import Evaluator
    from .runner import Runner

__all__ = ["EpochBasedTrainLoop", "IterBasedTrainLoop", "TestLoop", "ValLoop"]


@LOOPS.register_module()
class EpochBasedTrainLoop(BaseTrainLoop):
    """Trains for a number of passes over the data.

    Args:
        runner: See :class:`BaseLoop`.
        dataloader: See :class:`BaseLoop`; it must know its length.
        max_epochs: Passes over the data.
        val_begin: The first epoch after which a validation may follow.
        val_interval: Epochs from one validation to the next.
        dynamic_intervals: See :class:`BaseTrainLoop`.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | Mapping[str, Any],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        if self.num_batches is None:
            raise TypeError(
                "Training by epochs needs a data loader that knows its length, but the data set is iterable and has no"
                " __len__. Give it one, or train by iterations: train_cfg=dict(by_epoch=False, max_iters=...)."
            )
        if is_endless(self.dataloader):
            raise ValueError(
                "Training by epochs needs a data loader that comes to an end, but its sampler is an InfiniteSampler."
                " Take DefaultSampler, or train by iterations: train_cfg=dict(by_epoch=False, max_iters=...)."
            )
        self._max_epochs = whole_number(max_epochs, "max_epochs")
        self._max_iters = self._max_epochs * self.num_batches

    def run(self) -> nn.Module:
        """Train."""
        self.runner.call_hook("before_train")
        self.make_up_validation()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            if self.should_validate(self._epoch, self._iter):
                self.validate()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Make one pass over the data, or the rest of one that was begun before a stop."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for idx, data_batch in self.rest_of_pass():
            self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch."""
        self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook("after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to a position.

        Raises:
            ValueError: It lies within an epoch, and an epoch has another number of batches now.
        """
        super().load_state_dict(state_dict)
        before, now = state_dict.get("num_batches", self.num_batches), len(self.dataloader)
        if before != now and self._iter != self._pass_begin:
            raise ValueError(
                f"The run stopped within an epoch of {before} batches, but an epoch has {now} batches now, so that its"
                " place in the data cannot be found. Resume with the data and the batch size of before, or from a"
                " checkpoint that was saved at the end of an epoch."
            )
        if before != now:
            self.runner.logger.warning(
                f"An epoch had {before} batches and has {now} now: the run goes on with the next epoch, in another"
                " order of the data, and what counts iterations (schedules, logs) counts those of both lengths."
            )
        epochs = self._max_epochs - self._epoch
        self._max_iters = self._pass_begin + epochs * now - self.left_out_ahead(epochs)

    def should_validate(self, epoch: int, iteration: int) -> bool:
        """Whether a validation follows when so many epochs are finished."""
        return self._is_val_time(epoch, self._max_epochs)


@LOOPS.register_module()
class IterBasedTrainLoop(BaseTrainLoop):
    """Trains for a number of iterations, going over the data as often as it takes.

    To the hooks the whole run is one epoch.

    Args:
        runner: See :class:`BaseLoop`.
        dataloader: See :class:`BaseLoop`.
        max_iters: Iterations.
        val_begin: The first iteration after which a validation may follow.
        val_interval: Iterations from one validation to the next.
        dynamic_intervals: See :class:`BaseTrainLoop`.
    """

    by_epoch = False

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | Mapping[str, Any],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self._max_iters = whole_number(max_iters, "max_iters")
        self.dataloader_iterator = self._endless_batches()
        """The batches that are to come, without an end."""

    def run(self) -> nn.Module:
        """Train."""
        self.dataloader_iterator = self._endless_batches()  # the old one may have been left within a pass
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        self.make_up_validation()
        with closing(self.dataloader_iterator):  # it may have worker processes
            while self._iter < self._max_iters and not self.stop_training:
                if not self.runner.model.training:  # a hook may have drawn samples in between
                    self.runner.model.train()
                self.run_iter(next(self.dataloader_iterator))
                if self.should_validate(self._epoch, self._iter):
                    self.validate()
        self.dataloader_iterator = self._endless_batches()
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self, data_batch: Any) -> None:
        """Train on one batch."""
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def should_validate(self, epoch: int, iteration: int) -> bool:
        """Whether a validation follows when so many iterations are finished."""
        return self._is_val_time(iteration, self._max_iters)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to a position, within the one epoch that the whole run is."""
        super().load_state_dict({**state_dict, "epoch": 0})
        self.dataloader_iterator = self._endless_batches()

    def _endless_batches(self) -> Generator[Any]:
        """Go over the data again and again, from where the run stands."""
        while True:
            for _, batch in self.rest_of_pass():
                yield batch


@LOOPS.register_module()
class ValLoop(EvaluationLoop):
    """Validates: one pass over the data, its predictions to the evaluator.

    Several sets of data are given by name, as in ``dict(clean=dict(dataset=..., batch_size=...), noisy=...)``. Their
    results are then called ``clean/accuracy/top1`` and so on; to the hooks they are one validation, in which the
    batches of each set count from 0.

    Args:
        runner: See :class:`BaseLoop`.
        dataloader: See :class:`BaseLoop`; or several, by name.
        evaluator: An evaluator, a metric, a config of one, or a list of metrics. For several sets, a dict of these by
            their names, or one, of which each set gets a copy.
        fp16: Run the forward pass under autocast.
        dtype: Of the forward pass under autocast: ``'float16'`` or ``'bfloat16'``. With ``fp16=True`` alone, what torch
            takes on this device.
        with_loss: Report the model's losses beside the metrics, as ``loss`` and so on: the mean over the samples of
            what ``forward`` returns in mode ``'loss'``, at the cost of a second forward pass.
        intervals: Of several sets, how often each is evaluated within training, by name: every so many epochs, or
            iterations where training counts these, and at its end. By default in every validation.
        sanity_batches: Validate so many batches of each set before training begins, to find out early what would fail
            later. The results are forgotten, and training is the same as without.

    Raises:
        TypeError: An option has the wrong type.
        ValueError: The names of the sets do not agree, or an option has an invalid value.
    """

    mode = "val"

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | Mapping[str, Any],
        evaluator: Evaluator | Mapping[str, Any] | Sequence[Any],
        fp16: bool = False,
        dtype: str | torch.dtype | None = None,
        with_loss: bool = False,
        intervals: Mapping[str, int] | None = None,
        sanity_batches: int = 0,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16, dtype, with_loss, intervals)
        if sanity_batches:
            runner.register_hook(SanityHook(sanity_batches))

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Validate one batch."""
        with torch.no_grad():
            self.runner.call_hook("before_val_iter", batch_idx=idx, data_batch=data_batch)
            with self.precision:
                outputs = self.runner.model.val_step(data_batch)
            self.evaluator.process(data_samples=outputs, data_batch=data_batch)
            self.runner.call_hook("after_val_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)


@LOOPS.register_module()
class TestLoop(EvaluationLoop):
    """Tests: as :class:`ValLoop`, with the model's ``test_step``.

    Args:
        runner: See :class:`BaseLoop`.
        dataloader: See :class:`ValLoop`.
        evaluator: See :class:`ValLoop`.
        fp16: See :class:`ValLoop`.
        dtype: See :class:`ValLoop`.
        with_loss: See :class:`ValLoop`.
    """

    __test__ = False  # the name looks like a test case to pytest
    mode = "test"

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Test one batch."""
        with torch.no_grad():
            self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
            with self.precision:
                outputs = self.runner.model.test_step(data_batch)
            self.evaluator.process(data_samples=outputs, data_batch=data_batch)
            self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
