"""An average of the weights beside the training, with which a run validates and tests."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..checkpoint import CheckpointError, load_weights, save_checkpoint
from ..dist import is_main_process
from ..logging import print_log
from ..model import BaseAveragedModel
from ..model.counterparts import Pairs, copy_tensors
from ..optim import OptimWrapper
from ..registry import HOOKS, MODELS
from ..utils import check_type, display_path
from .checkpoint_hook import CheckpointHook
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["EMAHook"]

_PREFIX = "module."  # of the model's tensors in the state of an averaged model


@HOOKS.register_module()
class EMAHook(Hook):
    """Keeps an average of the model's weights, and lets the run validate and test with it.

    The average is updated after each iteration of training; until it begins, it is a copy of the model. While a
    validation or a test runs, the model's parameters hold the averaged values, and with ``update_buffers`` its buffers
    too. The trained values wait on the device of the average, where they take as much memory as the parameters.

    In a checkpoint, ``state_dict`` holds the averaged weights, so that whoever loads it gets those. The trained ones
    stand in ``ema_state_dict``, as ``module.<name>``, with the average's ``steps``. A run that resumes takes both, and
    goes on with the same bits; where there is no ``ema_state_dict``, the average begins anew. A run that takes only its
    weights from a checkpoint, with ``load_from``, begins with the averaged ones and a new average. This is how MMEngine
    keeps an average, so that its files resume here.

    Args:
        ema_type: The class of the average: :class:`~mainspring.model.ExponentialMovingAverage`, or another
            :class:`~mainspring.model.BaseAveragedModel`, by name in MODELS or itself.
        strict_load: Raise an error unless a checkpoint has exactly the names and shapes of the averaged model, also
            where only weights are loaded.
        begin_iter: The iteration, counted from 1, at which the average begins.
        begin_epoch: The epoch, counted from 1, with which the average begins; only one of the two is given.
        evaluate: With which weights the run validates and tests: the averaged ones, ``'ema'``; the trained ones,
            ``'raw'``; or ``'both'``, where the results of the trained ones are called ``raw/accuracy/top1`` and so on,
            and those of the averaged ones as usual.
        weights_file: The name of a file in the work directory, such as ``'ema.safetensors'`` or ``'ema.pth'``: when the
            training is over, the weights for evaluation are written there, under the model's own names, and nothing
            else. The ``published_keys`` of :class:`CheckpointHook` do so for the best checkpoint, too.
        **kwargs: Arguments of ``ema_type`` but its model, such as ``momentum`` or ``update_buffers``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is negative, or both beginnings are given; ``evaluate`` is none of these; or
            ``weights_file`` is no such name.
    """

    priority = "NORMAL"

    def __init__(
        self,
        ema_type: str | type[BaseAveragedModel] = "ExponentialMovingAverage",
        strict_load: bool = False,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        weights_file: str | None = None,
        evaluate: str = "ema",
        **kwargs: Any,
    ) -> None:
        check_type(ema_type, str | type, "EMAHook: ema_type")
        check_type(strict_load, bool, "EMAHook: strict_load")
        for name, number in (("begin_iter", begin_iter), ("begin_epoch", begin_epoch)):
            check_type(number, int, f"EMAHook: {name}")
            if number < 0:
                raise ValueError(f"EMAHook: {name} must not be negative, but it is {number}.")
        if begin_iter and begin_epoch:
            raise ValueError(
                f"EMAHook: begin_iter={begin_iter} and begin_epoch={begin_epoch} both say when the average begins. Give"
                " one of them."
            )
        check_type(weights_file, str | None, "EMAHook: weights_file")
        if weights_file is not None and (
            Path(weights_file).name != weights_file or Path(weights_file).suffix not in (".pth", ".safetensors")
        ):
            raise ValueError(
                "EMAHook: weights_file must be the name of a file, without a directory, that ends with '.safetensors'"
                f" or '.pth', but it is {weights_file!r}."
            )
        if evaluate not in ("ema", "raw", "both"):
            raise ValueError(f"EMAHook: evaluate must be 'ema', 'raw' or 'both', but it is {evaluate!r}.")
        self.weights_file = weights_file
        self.evaluate = evaluate
        self.ema_cfg = {"type": ema_type, **kwargs}
        self.strict_load = strict_load
        self.begin_iter = begin_iter
        self.begin_epoch = begin_epoch
        self._optim_wrapper: OptimWrapper | None = None
        self._models: tuple[nn.Module, BaseAveragedModel] | None = None
        self._held: Pairs = {}  # the model's tensors with their trained values, while they hold the averaged ones

    @property
    def src_model(self) -> nn.Module:
        """The model that is trained."""
        return self._both()[0]

    @property
    def ema_model(self) -> BaseAveragedModel:
        """The average.

        Raises:
            RuntimeError: It is asked for before the first run has begun.
        """
        return self._both()[1]

    def _both(self) -> tuple[nn.Module, BaseAveragedModel]:
        if self._models is None:
            raise RuntimeError("EMAHook has no average yet: it is made when the run begins, in before_run.")
        return self._models

    def before_run(self, runner: Runner) -> None:
        """Make the average, or keep that of an earlier run with the same model."""
        hooks = list(runner.hooks)
        if any(isinstance(hook, CheckpointHook) for hook in hooks[: hooks.index(self)]):
            raise ValueError(
                "EMAHook comes after CheckpointHook, whose checkpoints would then lack the last update of the average."
                " Leave out its priority, or write a smaller number than that of CheckpointHook, which is 90."
            )
        if sum(isinstance(hook, EMAHook) for hook in hooks) > 1:
            raise ValueError("This run has more than one EMAHook, but its model can take only one average. Leave one.")
        self._prepare(runner)

    def before_train(self, runner: Runner) -> None:
        """Check that the average will begin, and let it start from the weights that are loaded now."""
        if self.begin_epoch > runner.max_epochs:
            counts = "" if runner.by_epoch else " Training counts iterations: write begin_iter."
            raise ValueError(
                f"EMAHook: begin_epoch is {self.begin_epoch}, but training ends with epoch {runner.max_epochs}.{counts}"
            )
        if self.begin_iter > runner.max_iters:
            raise ValueError(
                f"EMAHook: begin_iter is {self.begin_iter}, but training ends with iteration {runner.max_iters}."
            )
        if self.ema_model.updates == 0:
            self.ema_model.copy_from(self.src_model)
        wrapper: Any = runner.optim_wrapper  # anybody's, which need not say whether it has left out a step
        self._optim_wrapper = wrapper if isinstance(wrapper, OptimWrapper) else None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Put the trained weights back, if a validation was left by an exception that somebody has caught."""
        self._put_back()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Update the average or, before it begins, copy the model; after a step that was left out, do nothing."""
        if self._optim_wrapper is not None and self._optim_wrapper.left_out:
            return
        if runner.epoch + 1 >= self.begin_epoch and runner.iter + 1 >= self.begin_iter:
            self.ema_model.update_parameters(self.src_model)
        else:
            self.ema_model.copy_from(self.src_model)

    def before_val_epoch(self, runner: Runner) -> None:
        """Put the averaged weights into the model."""
        self._prepare_evaluation(runner.val_loop)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back."""
        self._put_back()

    def before_test_epoch(self, runner: Runner) -> None:
        """Put the averaged weights into the model."""
        self._prepare_evaluation(runner.test_loop)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back."""
        self._put_back()

    def after_train(self, runner: Runner) -> None:
        """Write the file of weights, if one was asked for."""
        if self.weights_file is None or not is_main_process():
            return
        weights = runner.model.state_dict()
        weights.update((name, own.detach()) for name, own in self._averaged().items())
        file = Path(runner.work_dir) / self.weights_file
        save_checkpoint({"state_dict": weights}, file)
        runner.logger.info(f"Wrote the weights for evaluation to {display_path(file)!r}")

    def before_stop(self, runner: Runner) -> None:
        """Put the trained weights back, if a validation is abandoned."""
        self._put_back()

    def close(self) -> None:
        """Put the trained weights back, if the run has ended within a validation or test."""
        self._put_back()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the averaged weights into ``state_dict``, the trained ones with the steps into ``ema_state_dict``."""
        average = self.ema_model
        averaged = self._averaged()
        pairs = average.pairs(self.src_model) if averaged else {}
        weights = checkpoint["state_dict"]
        saved = average.state_dict()
        for name in average.module.state_dict():
            saved[_PREFIX + name] = weights[name]
            own = averaged.get(name)
            if own is not None:
                saved[_PREFIX + name] = self._held.get(pairs[own], pairs[own]).detach()
                weights[name] = own.detach()
        checkpoint["ema_state_dict"] = saved

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Forget the average, and leave ``ema_state_dict`` to :meth:`load_state_dict`, called only if a run resumes."""
        self._put_back()
        self._prepare(runner)
        self.ema_model.steps.zero_()
        if self.strict_load:
            load_weights(self.ema_model.module, checkpoint, strict=True)
        if "state_dict" in checkpoint:  # else it is nothing but weights
            states = checkpoint.get("hooks", {})  # MMEngine's files have none
            checkpoint["hooks"] = {**states, type(self).__name__: checkpoint.get("ema_state_dict", {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with an average; the model has the averaged weights of the checkpoint already.

        Args:
            state_dict: The checkpoint's ``ema_state_dict``, or an empty dict where it has none. The hook has no other
                state.

        Raises:
            CheckpointError: It is no such state, or does not fit the model.
        """
        self.ema_model.copy_from(self.src_model)
        if not state_dict:
            print_log(
                "The checkpoint has no 'ema_state_dict': the average of EMAHook begins anew, with the weights that the"
                " checkpoint has.",
                logger="current",
                level=logging.WARNING,
            )
            return
        if not isinstance(state_dict, Mapping) or "steps" not in state_dict:
            raise CheckpointError(
                "The checkpoint's 'ema_state_dict' holds no 'steps', so that EMAHook cannot go on with its average. To"
                " begin a new one from its weights, pass it as load_from, with resume=False."
            )
        source = "the checkpoint's 'ema_state_dict'"
        load_weights(self.src_model, {"state_dict": _model_part(state_dict)}, strict=True, source=source)
        state = self.ema_model.state_dict()
        state.update((name, value) for name, value in state_dict.items() if not name.startswith(_PREFIX))
        self.ema_model.load_state_dict(state, strict=False)

    def _prepare(self, runner: Runner) -> None:
        if self._models is not None and self._models[0] is runner.model:
            return
        average = MODELS.build(self.ema_cfg, default_args={"model": runner.model})
        if not isinstance(average, BaseAveragedModel):
            raise TypeError(
                "EMAHook: ema_type must be a BaseAveragedModel, such as 'ExponentialMovingAverage', but it is"
                f" {type(average).__name__}."
            )
        self._models = runner.model, average

    def _averaged(self) -> dict[str, Tensor]:
        """Return the averages by the names of the model's tensors; none before the first update."""
        average = self.ema_model
        pairs = average.pairs(self.src_model) if average.updates else {}
        named = average.module.state_dict(keep_vars=True).items()
        return {name: own for name, own in named if isinstance(own, Tensor) and own in pairs}

    def _prepare_evaluation(self, loop: Any) -> None:
        if self.evaluate == "raw":
            return
        if self.evaluate == "both":
            passes = getattr(loop, "further_passes", None)  # a user's loop may be any
            if passes is None:
                raise TypeError(
                    f"EMAHook: evaluate='both' needs a loop that can make a further pass, but {type(loop).__name__} has"
                    " no further_passes. Derive it from ValLoop or TestLoop, without a run() of its own."
                )
            passes["raw"] = self._with_trained_weights
        self._put_in()

    @contextmanager
    def _with_trained_weights(self) -> Generator[None]:
        self._put_back()
        yield
        self._put_in()

    @torch.no_grad()
    def _put_in(self) -> None:
        if self._held or self.ema_model.updates == 0:
            return
        pairs = self.ema_model.pairs(self.src_model)
        # Kept whole before the first is overwritten: whenever an interruption comes, putting back is right.
        self._held = {theirs: theirs.to(own.device, copy=True) for own, theirs in pairs.items()}
        copy_tensors({theirs: own for own, theirs in pairs.items()})

    def _put_back(self) -> None:
        if self._held:
            copy_tensors(self._held)
            self._held = {}


def _model_part(saved: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Return the model's weights, and the version numbers of its modules, from the state of an average."""
    cut = len(_PREFIX)
    weights = OrderedDict((key[cut:], value) for key, value in saved.items() if key.startswith(_PREFIX))
    versions = getattr(saved, "_metadata", {})  # of the model itself under "module", of its parts under "module.<name>"
    weights._metadata = {key[cut:]: value for key, value in versions.items() if key}  # type: ignore[attr-defined]
    return weights
