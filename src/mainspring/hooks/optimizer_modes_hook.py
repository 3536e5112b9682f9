"""Optimizers that keep two sets of weights: one to train, and one to evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from ..model.counterparts import Pairs, copy_tensors
from ..optim import OptimWrapper
from .ema_hook import EMAHook
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["HasModes", "OptimizerModesHook", "optimizers_with_modes"]


class HasModes(Protocol):
    """An optimizer with a state for training, and one for evaluation."""

    param_groups: list[dict[str, Any]]

    def train(self) -> Any:
        """Take the weights to train."""

    def eval(self) -> Any:
        """Take the weights to evaluate."""


class OptimizerModesHook(Hook):
    """Puts an optimizer that has two states into the right one: ``train()`` to train, ``eval()`` for all else.

    Schedule-free optimizers (Defazio et al., "The road less scheduled", 2024; the package ``schedulefree``) take their
    gradients at other weights than those that are good: ``optimizer.eval()`` puts the good ones into the model, and
    ``optimizer.train()`` the others. The runner registers this hook for optimizers that have both methods, and for no
    others. The model then holds the weights to evaluate during a validation and a test, and when ``train()`` of the
    runner has returned.

    In a checkpoint, ``state_dict`` holds the weights to evaluate, so that whoever loads it gets what was evaluated; the
    weights to train stand in this hook's state, and a run that resumes takes these. Going forth and back would round
    the weights; so the weights to train are kept meanwhile and put back as they were, and a run ends with the same bits
    however often it is validated or saved in between. This takes as much memory as the parameters, for so long.

    The statistics of batch normalisation are gathered with the weights to train, and may not fit those to evaluate;
    the authors advise to gather them anew before an evaluation, by some forward passes in training mode.

    Args:
        model: The model.
        optimizers: Those of its optimizers that have two states.

    Raises:
        ValueError: The run has an :class:`EMAHook` too, which would average the weights to train.
    """

    priority = "NORMAL"

    def __init__(self, model: nn.Module, optimizers: Sequence[HasModes]) -> None:
        self._model = model
        self._optimizers = optimizers
        self._is_eval = False
        self._held: Pairs = {}  # in the eval state, parameters with their weights to train, as far as there are any

    def before_run(self, runner: Runner) -> None:
        """Check that there is no other average."""
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            names = " and ".join(type(optimizer).__name__ for optimizer in self._optimizers)
            raise ValueError(
                f"{names} keeps weights for evaluation by itself, and EMAHook would put an average of its weights to"
                " train in their place. Leave out EMAHook."
            )

    def before_train(self, runner: Runner) -> None:
        """Begin with the weights to train."""
        self._to_train()
        for optimizer in self._optimizers:  # new ones begin in the eval state
            optimizer.train()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Put the weights to train back, if a validation was left by an exception that somebody has caught."""
        self._to_train()

    def before_val_epoch(self, runner: Runner) -> None:
        """Put the weights to evaluate into the model."""
        self._to_eval()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the weights to train back, if training goes on."""
        if runner.is_training:
            self._to_train()

    def before_test_epoch(self, runner: Runner) -> None:
        """Put the weights to evaluate into the model."""
        self._to_eval()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the weights to train back, if training goes on."""
        if runner.is_training:
            self._to_train()

    def after_run(self, runner: Runner) -> None:
        """Leave the weights to evaluate in the model."""
        self._to_eval()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the weights to evaluate into ``state_dict``."""
        if self._is_eval:
            return
        weights = checkpoint["state_dict"]
        self._to_eval()
        copies = {parameter: parameter.detach().clone() for parameter in self._held}
        for name, parameter in runner.model.named_parameters(remove_duplicate=False):
            if name in weights and parameter in copies:
                weights[name] = copies[parameter]
        self._to_train()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Be ready for weights to evaluate; those to train come with :meth:`load_state_dict`, if the run resumes."""
        self._to_eval()
        self._held = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the weights to train by their names, empty where the optimizer has yet to make them."""
        if self._is_eval and not self._held:
            return {}
        own = set(self._parameters())
        named = [(name, parameter) for name, parameter in self._model.named_parameters() if parameter in own]
        return {name: self._held.get(parameter, parameter).detach() for name, parameter in named}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the weights to train into the model; the optimizer has its state already.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        if not state_dict:
            return
        self._to_train()
        for optimizer in self._optimizers:  # the state may be one that was saved during a validation
            optimizer.train()
        named = dict(self._model.named_parameters())
        copy_tensors({named[name]: weights.to(named[name]) for name, weights in state_dict.items() if name in named})

    def _parameters(self) -> Iterator[Tensor]:
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                yield from group["params"]

    @torch.no_grad()
    def _to_eval(self) -> None:
        if not self._is_eval:
            # Kept whole before the first is changed: whenever an interruption comes, putting back is right.
            self._held = {parameter: parameter.detach().clone() for parameter in self._parameters()}
            self._is_eval = True
            for optimizer in self._optimizers:
                optimizer.eval()

    @torch.no_grad()
    def _to_train(self) -> None:
        if self._is_eval:
            for optimizer in self._optimizers:
                optimizer.train()
            copy_tensors(self._held)
            self._held = {}
            self._is_eval = False


def optimizers_with_modes(optim_wrapper: Any) -> list[HasModes]:
    """Return the optimizers of a wrapper that have the methods ``train`` and ``eval``.

    Args:
        optim_wrapper: One of ours, with one or several optimizers, or anybody's.
    """
    parts = optim_wrapper.parts.values() if isinstance(optim_wrapper, OptimWrapper) else [optim_wrapper]
    found: list[Any] = [getattr(part, "optimizer", None) for part in parts]
    return [one for one in found if all(callable(getattr(one, mode, None)) for mode in ("train", "eval"))]
