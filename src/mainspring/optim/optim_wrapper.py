"""How a loss becomes an update: accumulation, clipping, and the step of the optimizer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..dist import GradientSync, all_reduce
from ..logging import MessageHub, print_log
from ..registry import OPTIM_WRAPPERS
from . import bare
from .bad_numbers import NumberWatch
from .clipping import clip_options
from .item_count import ItemCount
from .loading import load_optimizer
from .settings import changed_settings, settings_of, told

__all__ = ["OptimWrapper", "one_after_another"]

_OWN_ENTRIES = ("configured", "accumulated", "item_unit", "loss_scaler", "base_param_settings")
"""What wrappers, ours and those of MMEngine, add to the state of an optimizer."""
_NOTHING: AbstractContextManager[Any] = nullcontext()


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
        self.gradient_sync: GradientSync | None = None
        """Averages the gradients of several processes before a step, as far as the backward pass has not done it."""
        self._accumulative_counts = accumulative_counts
        self._clip_type, self.clip_grad_kwargs = clip_options(clip_grad)
        # Iterations seen, and how many the run has; -1 while that is not known.
        self._inner_count = 0
        self._max_counts = -1
        self._remainder_counts = -1
        self._iteration = -1
        self._entered_at = 0  # what was counted when that iteration began
        self._ahead = 0  # how many more losses than iterations there were before this process
        self._group_begin = 0  # what was counted when the gradients that are gathering began to
        self._resumed_group: dict[str, Any] | None = None
        self._items: ItemCount | None = None  # of losses that say how many they have
        self._norm_name = "train/grad_norm"
        self._groups_to_check = 0  # for gradients that another wrapper's loss has left
        self.keep_settings()

    # What a step calls, in this order.

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context in which the forward pass runs.

        Within an accumulation group, where no update follows, it is ``model.no_sync()`` if the model has that, as
        :class:`torch.nn.parallel.DistributedDataParallel` does: processes then exchange gradients once an update.
        """
        return _NOTHING if self._accumulative_counts == 1 else self._sync_context(model)

    def _sync_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        if self.should_sync():
            return _NOTHING
        paused = None if self.gradient_sync is None else self.gradient_sync.paused()
        if paused is not None:
            return paused
        no_sync = getattr(model, "no_sync", None)
        if no_sync is None:
            return _NOTHING
        context: AbstractContextManager[Any] = no_sync()
        return context

    def update_params(
        self,
        loss: torch.Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
        num_items: int | torch.Tensor | None = None,
    ) -> None:
        """Compute gradients of a loss and, at the end of an accumulation group, update the parameters.

        Args:
            loss: A scalar with gradient.
            step_kwargs: Handed to :meth:`step`.
            zero_kwargs: Handed to :meth:`zero_grad`.
            num_items: Of how many items (tokens, boxes, ...) the loss is the mean: an integer, or a tensor of one
                element, which is not read. The update's gradient is then that of the mean over all items of the group
                and of all processes, however they are spread; without it, each loss has the same weight. See
                :class:`~mainspring.optim.item_count.ItemCount`.

        Raises:
            TypeError: ``loss`` is no tensor, or ``num_items`` is neither an integer nor a tensor.
            ValueError: ``loss`` carries no gradient; or ``num_items`` is given for some losses of a group, and not for
                others.
        """
        self.backward(self.scale_loss(loss) if num_items is None else self._weighed(loss, num_items))
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Divide a loss by the number of iterations that its accumulation group has."""
        if self._accumulative_counts == 1:
            return loss
        if self._items is not None and self._items.total is not None:
            raise ValueError(_mixed("without num_items"))
        in_last_group = self._max_counts - self._remainder_counts <= self._inner_count < self._max_counts
        in_last_group = in_last_group and self._iteration in (-1, self._inner_count)
        return loss / (self._remainder_counts if in_last_group else self._accumulative_counts)

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Compute gradients of a loss, and count the iteration; ``kwargs`` go to :meth:`torch.Tensor.backward`."""
        self._check_loss(loss)
        if self._groups_to_check:
            self._check_for_strays()
        if self.watch is not None:
            self.watch.note_loss(loss)
        if self.gradient_sync is None:
            self._differentiate(loss, **kwargs)
        else:
            self.gradient_sync.before_backward(self._parameters())
            self._differentiate(loss, **kwargs)
            self.gradient_sync.after_backward(self._parameters())
        self._inner_count += 1

    _differentiate = staticmethod(bare.backward)  # what a subclass changes of it; no method, which would cost a call

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients where asked to, and update the parameters; ``kwargs`` go to the optimizer's step."""
        if self.gradient_sync is not None:
            kwargs = self._synchronised(self.gradient_sync, kwargs)
        if self._items is not None:
            self._items.average(self._parameters())
        norm = None if self._clip_type is None else self._clip_grad()
        if self.watch is None or (norm is None and not self.watch.follows_steps):
            bare.step(self.optimizer, **kwargs)
        else:
            self.watch.step(self.optimizer, norm, **kwargs)

    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients; ``kwargs`` go to the optimizer's ``zero_grad``."""
        bare.zero_grad(self.optimizer, **kwargs)
        self._group_begin = self._inner_count
        if self._items is not None:
            self._items.reset()
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
            self._group_begin = self._inner_count - bool(group["gradients"])
            if self._items is not None:
                self._items.total = group.get("num_items")
            if self.gradient_sync is not None:
                self.gradient_sync.accept(parameters)
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

    def counted_before(self, iteration: int) -> int:
        """Return what was counted when the newest iteration began, of one loss if it was not entered as this one."""
        return self._entered_at if iteration == self._iteration else self._inner_count - 1

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

    def share_gathered(self) -> None:
        """Average the gradients that are gathering over the processes, so that one of them can save them for all.

        The update comes to the same, but for rounding; so a run that goes on and one that resumes there stay equal to
        the last bit. All processes call it together.
        """
        if self.gathers and self.gradient_sync is not None:
            self.gradient_sync.share(self._parameters())

    @property
    def gathers(self) -> bool:
        """Whether an accumulation group has begun, and is not complete yet."""
        return self._inner_count != self._group_begin

    # What others ask.

    @property
    def parts(self) -> Mapping[str, OptimWrapper]:
        """The wrappers of one optimizer each, by name; one that is no :class:`OptimWrapperDict` itself, as ``''``."""
        return {"": self}

    def log_as(self, name: str) -> None:
        """Let the norm of the gradients be logged as ``<name>.grad_norm``: it is one of several wrappers.

        In its first groups it then looks for gradients that the losses of others have left, and warns of them once.
        """
        self._norm_name = f"train/{name}.grad_norm"
        self._groups_to_check = 10

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
        to one ``iteration``: the next, or the one that was entered, as long as that is ``untouched`` by a loss. Where
        losses say how many items they have, ``item_unit`` tells in what these are counted.
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
                "num_items": None if self._items is None else self._items.total,
            }
        if self._items is not None:
            state["item_unit"] = self._items.unit
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
        present = [set(group) for group in self.param_groups]  # groups of one optimizer may have different settings
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
        pairs = list(zip(present, self.param_groups, strict=False))
        lacking = [key for key in expected if any(key in own and key not in group for own, group in pairs)]
        if lacking:
            raise ValueError(
                f"This is the state of another optimizer than {name}: it has no {', '.join(lacking)}. Configure the"
                " optimizer that it comes from, or take only the weights of that run: load_from, with resume=False."
            )
        self._resumed_group = state_dict.get("accumulated") if self._accumulative_counts > 1 else None
        if state_dict.get("item_unit") is not None:
            self._items = ItemCount(state_dict["item_unit"])
        if any(changes):
            message = f"Settings of {name} that have changed since the state was saved, and hold from here on:"
            print_log(f"{message} {told(changes)}.", logger="current")

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _check_for_strays(self) -> None:
        """Warn if there are gradients before the first loss of a group."""
        if self._inner_count != self._group_begin:
            return
        self._groups_to_check -= 1
        if any(parameter.grad is not None for parameter in self._parameters()):
            self._groups_to_check = 0
            name = self._norm_name.removeprefix("train/").removesuffix(".grad_norm")
            print_log(
                f"Parameters of optim_wrapper[{name!r}] have gradients before its loss is computed: another loss"
                " depends on them too. They become part of its next update. If they are not meant to, freeze these"
                " parameters while the other loss is computed, with requires_grad_(False), or call"
                f" optim_wrapper[{name!r}].zero_grad() before this one.",
                logger="current",
                level=logging.WARNING,
            )

    def _synchronised(self, sync: GradientSync, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Average the gradients now or, where a closure computes them within the step, whenever it has."""
        closure: Callable[[], Any] | None = kwargs.get("closure")
        if closure is None:
            sync.finish(self._parameters())
            return kwargs

        def over_all_processes() -> Any:
            loss = closure()
            sync.finish(self._parameters())
            if loss is None:
                return None
            mean = torch.as_tensor(loss).detach().clone()  # an optimizer may choose its way by it, the same everywhere
            all_reduce(mean, "mean")
            return mean

        return {**kwargs, "closure": over_all_processes}

    def _weighed(self, loss: torch.Tensor, num_items: int | torch.Tensor) -> torch.Tensor:
        """Return a loss with the weight that its items give it in its accumulation group."""
        self._check_loss(loss)
        if self._items is None:
            self._items = ItemCount()
        goes_on = self._accumulative_counts > 1 and self._inner_count != self._group_begin
        if goes_on and self._items.total is None:
            raise ValueError(_mixed("with num_items"))
        return self._items.weigh(loss, num_items, self._accumulative_counts)

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
            self.message_hub.update_scalar(self._norm_name, norm)
            return norm
        if parameters:
            nn.utils.clip_grad_value_(parameters, **self.clip_grad_kwargs)
        return None


@contextmanager
def one_after_another(*contexts: AbstractContextManager[Any]) -> Iterator[None]:
    """Enter all of these, and leave them in reverse."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def _valid_at(group: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the iterations with which a run can go on from the gradients of an accumulation group.

    An iteration that has had no loss may have ended so: the gradients are those of the next one, too.
    """
    iteration = group["iteration"]
    return (iteration, iteration + 1) if group.get("untouched") else (iteration,)


def _mixed(this: str) -> str:
    return (
        f"This loss comes {this}, but another of its accumulation group did not: they would have no common measure."
        " Pass num_items to each call of update_params, or to none."
    )


def _momentum(group: dict[str, Any]) -> float:
    momentum: float = group["betas"][0] if "betas" in group else group.get("momentum", 0)
    return momentum
