"""How a loss becomes an update: accumulation, clipping, and the step of the optimizer."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..logging import MessageHub, print_log
from ..registry import OPTIM_WRAPPERS
from ..utils import check_type, did_you_mean
from . import bare
from .bad_numbers import NumberWatch
from .loading import load_optimizer
from .settings import changed_settings, settings_of, told

__all__ = ["OptimWrapper"]

_OWN_ENTRIES = ("configured", "accumulated", "loss_scaler", "base_param_settings")
"""What wrappers, ours and those of MMEngine, add to the state of an optimizer."""
_NOTHING: AbstractContextManager[Any] = nullcontext()
_CLIPPERS: dict[str, Callable[..., Any]] = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}


@OPTIM_WRAPPERS.register_module()
class OptimWrapper:
    """Wraps an optimizer, so that a model's step needs one call: ``update_params(loss)``.

    Args:
        optimizer: The optimizer. It stays usable by itself: ``optim_wrapper.optimizer.step(closure)``.
        accumulative_counts: How many iterations give one update. Each loss is divided by the size of its group, so
            that the gradient is that of the group's mean; the last group of a run, if incomplete, by its real
            size. A ``train_step`` that calls :meth:`update_params` several times in an iteration accumulates so many
            losses, not iterations, and an incomplete group at the end gives no update.
        clip_grad: Options of gradient clipping: ``dict(max_norm=1.0, norm_type=2)`` for
            :func:`torch.nn.utils.clip_grad_norm_`, ``dict(type='value', clip_value=0.5)`` for
            :func:`torch.nn.utils.clip_grad_value_`. The norm before clipping is logged as ``grad_norm``.

    Raises:
        TypeError: ``optimizer`` is none, or ``accumulative_counts`` is no integer.
        ValueError: ``accumulative_counts`` is below 1, or ``clip_grad`` has an unknown type or option.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor(1.0))
    >>> wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.1))
    >>> wrapper.update_params(2 * weight)
    >>> round(weight.item(), 4), wrapper.get_lr()
    (0.8, {'lr': [0.1]})
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer, but it is {optimizer!r} ({type(optimizer).__name__})."
                " In a config, write dict(type='SGD', lr=0.1) for it."
            )
        if not isinstance(accumulative_counts, int) or isinstance(accumulative_counts, bool):
            raise TypeError(f"accumulative_counts must be an integer, but it is {accumulative_counts!r}.")
        if accumulative_counts < 1:
            raise ValueError(f"accumulative_counts must be at least 1, but it is {accumulative_counts}.")
        self.optimizer = optimizer
        self.message_hub = MessageHub.get_current_instance()
        self.watch: NumberWatch | None = None
        """Notes losses and norms of gradients, or leaves out steps, for a hook that looks after bad numbers."""
        self._accumulative_counts = accumulative_counts
        self._clip_type, self.clip_grad_kwargs = _clip_options(clip_grad)
        # Iterations seen, and how many the run has; -1 while that is not known.
        self._inner_count = 0
        self._max_counts = -1
        self._remainder_counts = -1
        self._iteration = -1
        self._entered_at = 0  # what was counted when that iteration began
        self._ahead = 0  # how many more losses than iterations there were before this process
        self._resumed_group: dict[str, Any] | None = None
        self.keep_settings()

    # What a step calls, in this order.

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context in which the forward pass runs."""
        return _NOTHING

    def update_params(
        self,
        loss: torch.Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Compute gradients of a loss and, at the end of an accumulation group, update the parameters.

        Args:
            loss: A scalar with gradient.
            step_kwargs: Handed to :meth:`step`.
            zero_kwargs: Handed to :meth:`zero_grad`.

        Raises:
            TypeError: ``loss`` is no tensor.
            ValueError: ``loss`` carries no gradient.
        """
        self.backward(self.scale_loss(loss))
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Divide a loss by the number of iterations that its accumulation group has."""
        if self._accumulative_counts == 1:
            return loss
        in_last_group = self._max_counts - self._remainder_counts <= self._inner_count < self._max_counts
        in_last_group = in_last_group and self._iteration in (-1, self._inner_count)
        return loss / (self._remainder_counts if in_last_group else self._accumulative_counts)

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Compute gradients of a loss, and count the iteration; ``kwargs`` go to :meth:`torch.Tensor.backward`."""
        self._check_loss(loss)
        if self.watch is not None:
            self.watch.note_loss(loss)
        bare.backward(loss, **kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients where asked to, and update the parameters; ``kwargs`` go to the optimizer's step."""
        norm = None if self._clip_type is None else self._clip_grad()
        if self.watch is None or (norm is None and not self.watch.follows_steps):
            bare.step(self.optimizer, **kwargs)
        else:
            self.watch.step(self.optimizer, norm, **kwargs)

    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients; ``kwargs`` go to the optimizer's ``zero_grad``."""
        bare.zero_grad(self.optimizer, **kwargs)
        if self.watch is not None and self.watch.follows_steps:
            self.watch.end_group()

    # Where the run stands within an accumulation group.

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Say where the run is and how long it will be; the train loop calls it before its first iteration.

        Args:
            model: The model that is trained.
            init_counts: Iterations done already.
            max_counts: Iterations of the whole run, or -1 where that is not known.
        """
        self._inner_count = init_counts
        self._max_counts = max_counts
        self._remainder_counts = max_counts % self._accumulative_counts if max_counts >= 0 else -1
        self._iteration = -1
        self._entered_at = init_counts
        self.zero_grad()  # a run that was stopped inside a group has left some
        group, self._resumed_group = self._resumed_group, None
        self._ahead = 0
        if group is not None and init_counts in _valid_at(group):
            self._inner_count = group["counts"]
            self._ahead = group["counts"] - init_counts
            parameters = self._parameters()
            for place, gradient in group["gradients"].items():
                parameters[place].grad = gradient.to(parameters[place], copy=True)
        elif init_counts % self._accumulative_counts:
            print_log(
                f"Resuming inside a group of {self._accumulative_counts} accumulated iterations, whose gradients so"
                " far are lost: the first update is smaller.",
                logger="current",
                level=logging.WARNING,
            )

    def enter_iteration(self, iteration: int) -> None:
        """Say which iteration begins, from 0, so that the end of the run is known if an iteration has several losses.

        Each loss is counted as an iteration. Where counts and iterations turn out to differ, no update is forced where
        the count reaches ``max_counts``: it is not the end of the run. Without this call, they are taken to agree.
        """
        self._iteration = iteration
        self._entered_at = self._inner_count

    def has_begun(self, iteration: int) -> bool:
        """Whether an iteration, from 0, is the one that was entered last, and has had a loss."""
        return iteration == self._iteration and self._inner_count != self._entered_at

    def should_update(self) -> bool:
        """Whether the iteration that has just been counted ends its accumulation group."""
        return self._accumulative_counts == 1 or self._ends_group(self._inner_count)

    def should_sync(self) -> bool:
        """Whether the iteration that is running will end its accumulation group."""
        return self._ends_group(self._inner_count + 1)

    @property
    def inner_count(self) -> int:
        """Iterations counted so far."""
        return self._inner_count

    @property
    def accumulative_counts(self) -> int:
        """How many iterations give one update."""
        return self._accumulative_counts

    # What others ask.

    @property
    def left_out(self) -> bool:
        """Whether the step of the newest iteration was left out, since it had bad numbers.

        What follows the weights step by step, such as their average, then leaves it out too. Only under the policy
        ``skip`` of :class:`~mainspring.hooks.BadNumbersHook` can it be so, and may asking wait for the device.
        """
        return self.watch is not None and self.watch.left_out()

    @property
    def scales_loss(self) -> bool:
        """Whether a scaler leaves out steps whose gradients overflow, so that these are no bad numbers."""
        return False

    @property
    def knows_norm(self) -> bool:
        """Whether clipping computes the norm of the gradients."""
        return self._clip_type == "norm"

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups."""
        return self.optimizer.param_groups

    @property
    def defaults(self) -> dict[str, Any]:
        """The optimizer's default options."""
        return self.optimizer.defaults

    def get_lr(self) -> dict[str, list[float]]:
        """Return ``{'lr': [...]}``, a learning rate for each parameter group."""
        return {"lr": [group["lr"] for group in self.param_groups]}

    def get_momentum(self) -> dict[str, list[float]]:
        """Return ``{'momentum': [...]}``: momentum or the first beta of each group, 0 where it has neither."""
        return {"momentum": [_momentum(group) for group in self.param_groups]}

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a stop.

        That is the optimizer's state, the settings that it was configured with (``configured``), and within a group of
        accumulated iterations the gradients so far, by the places of their parameters (``accumulated``). These belong
        to one ``iteration``: the next, or the one that was entered, as long as that is ``untouched`` by a loss.
        """
        state = {**self.optimizer.state_dict(), "configured": [dict(settings) for settings in self._configured]}
        if self._resumed_group is not None:  # the run that goes on from it has not begun yet
            state["accumulated"] = self._resumed_group
        elif self._accumulative_counts > 1:
            gradients = {i: p.grad for i, p in enumerate(self._parameters()) if p.grad is not None}
            untouched = self._iteration != -1 and not self.has_begun(self._iteration)
            if self._iteration == -1:
                iteration = self._inner_count - self._ahead
            else:
                iteration = self._iteration if untouched else self._iteration + 1
            state["accumulated"] = {
                "iteration": iteration,
                "untouched": untouched,
                "counts": self._inner_count,
                "gradients": gradients,
            }
        return state

    def keep_settings(self) -> None:
        """Take the optimizer's settings as they are now for those that were configured.

        The constructor does. Who changes them afterwards and before the training, as by a factor for the batch size,
        calls it again, so that a resumed run can tell such a change from what the training itself has changed.
        """
        self._configured = settings_of(self.param_groups, self.defaults)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned, or the state of an optimizer.

        A setting (lr, weight decay, ``fused``, ...) that is configured otherwise than it was for the run that saved the
        state is one that was changed on purpose: it stays as it is configured now, and one line in the log names all
        of these. All else is taken from the state.

        Raises:
            ValueError: It is no state of an optimizer, or that of another optimizer.
        """
        # Later wrappers and MMEngine add entries that the optimizer would refuse.
        known = {key: value for key, value in state_dict.items() if key in ("state", "param_groups")}
        name = type(self.optimizer).__name__
        if len(known) < 2:
            raise ValueError(f"This is no state of {name}: it has no 'state' and 'param_groups'.")
        # Loading fills in what older versions of torch did not have, and may extend the defaults themselves.
        expected = list(self.defaults)
        before = state_dict.get("configured") or settings_of(known["param_groups"], expected)
        changes = changed_settings(before, self._configured)
        known["param_groups"] = [dict(group) for group in known["param_groups"]]
        for group, own, changed in zip(known["param_groups"], self.param_groups, changes, strict=False):
            group.update((key, own[key]) for key in changed)
            if "fused" in own:  # a run may have left the fused step; this one finds out by itself
                group["fused"] = own["fused"]
        if type(self.optimizer).load_state_dict is not Optimizer.load_state_dict:  # it may have entries of its own
            known.update((key, value) for key, value in state_dict.items() if key not in (*known, *_OWN_ENTRIES))
        load_optimizer(self.optimizer, known)
        lacking = [key for key in expected if any(key not in group for group in self.param_groups)]
        if lacking:
            raise ValueError(
                f"This is the state of another optimizer than {name}: it has no {', '.join(lacking)}. Configure the"
                " optimizer that it comes from, or take only the weights of that run: load_from, with resume=False."
            )
        self._resumed_group = state_dict.get("accumulated") if self._accumulative_counts > 1 else None
        if any(changes):
            message = f"Settings of {name} that have changed since the state was saved, and hold from here on:"
            print_log(f"{message} {told(changes)}.", logger="current")

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _ends_group(self, count: int) -> bool:
        at_end = count == self._max_counts and self._iteration in (-1, count - 1)
        return at_end or count % self._accumulative_counts == 0

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(accumulative_counts={self._accumulative_counts},"
            f" clip_grad={self.clip_grad_kwargs or None}, optimizer={self.optimizer!r})"
        )

    def _check_loss(self, loss: torch.Tensor) -> None:
        if not isinstance(loss, torch.Tensor):
            raise TypeError(f"The loss must be a tensor, but it is {loss!r} ({type(loss).__name__}).")
        if not loss.requires_grad:
            raise ValueError(
                "The loss carries no gradient, so nothing can be learnt from it. Is it computed from the outputs of"
                " parameters that are trainable (requires_grad), without .detach(), .item() or torch.no_grad()?"
            )

    def _clip_grad(self) -> torch.Tensor | None:
        """Clip the gradients, and return their norm before, if it was computed."""
        parameters = [p for p in self._parameters() if p.grad is not None]
        if parameters and self._clip_type == "norm":
            norm: torch.Tensor = nn.utils.clip_grad_norm_(parameters, **self.clip_grad_kwargs)
            self.message_hub.update_scalar("train/grad_norm", norm)
            return norm
        if parameters:
            nn.utils.clip_grad_value_(parameters, **self.clip_grad_kwargs)
        return None


def _valid_at(group: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the iterations with which a run can go on from the gradients of an accumulation group.

    An iteration that has had no loss may have ended so: the gradients are those of the next one, too.
    """
    iteration = group["iteration"]
    return (iteration, iteration + 1) if group.get("untouched") else (iteration,)


def _momentum(group: dict[str, Any]) -> float:
    momentum: float = group["betas"][0] if "betas" in group else group.get("momentum", 0)
    return momentum


def _clip_options(clip_grad: Mapping[str, Any] | None) -> tuple[str | None, dict[str, Any]]:
    if clip_grad is None:
        return None, {}
    if not isinstance(clip_grad, Mapping) or not clip_grad:
        raise TypeError(f"clip_grad must be a dict such as dict(max_norm=1.0), or None, but it is {clip_grad!r}.")
    options = dict(clip_grad)
    kind = options.pop("type", "norm")
    if kind not in _CLIPPERS:
        raise ValueError(f"clip_grad.type must be 'norm' or 'value', but it is {kind!r}.")
    valid = [name for name in inspect.signature(_CLIPPERS[kind]).parameters if name != "parameters"]
    required = "max_norm" if kind == "norm" else "clip_value"
    for key in options:
        if key not in valid:
            raise ValueError(
                f"clip_grad.{key}: there is no such option for type {kind!r}.{did_you_mean(key, valid)}"
                f" The options are: {', '.join(valid)}."
            )
    if required not in options:
        raise ValueError(f"clip_grad.{required} is missing: clipping of type {kind!r} needs it.")
    check_type(options[required], float, f"clip_grad.{required}")
    if not options[required] > 0:
        raise ValueError(
            f"clip_grad.{required} must be above 0, but it is {options[required]}. Leave out clip_grad to clip nothing."
        )
    return kind, options
