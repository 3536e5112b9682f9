"""A run that something is tried with, put back as it was."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..dataset import load_loader_state, loader_state
from ..hooks.optimizer_modes_hook import optimizers_with_modes
from ..logging import MessageHub
from ..utils import generator_states, set_generator_states
from .base_loop import BaseLoop
from .evaluation_loop import EvaluationLoop

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["Kept", "Trial", "all_kept", "trial"]

_CONTAINERS = {dict, OrderedDict, defaultdict, list, set, deque}
_HELPERS = ("mainspring.optim.",)  # what an optimizer wrapper is made of


class Kept:
    """Everything that can be reached from some objects, as it is now, to be put back in place.

    That is followed through attributes of modules, optimizers and their wrappers, through plain containers, and through
    tensors with their gradients: parameters, buffers, modes, the state and the settings of optimizers, scalers, and
    what a module keeps in attributes of its own. Any other object is put back where it was, but not changed.

    Tensors are copied to the CPU, so that a device has the memory that it had.

    Args:
        *roots: Where to begin.

    >>> layer = torch.nn.Linear(2, 1)
    >>> kept = Kept(layer)
    >>> weight, before = layer.weight, layer.weight.detach().clone()
    >>> _ = torch.nn.init.zeros_(layer.weight), layer.eval()
    >>> kept.put_back()
    >>> layer.weight is weight, torch.equal(layer.weight, before), layer.training
    (True, True, True)
    """

    def __init__(self, *roots: object) -> None:
        self._containers: list[tuple[Any, Any]] = []
        self._attributes: list[tuple[Any, dict[str, Any]]] = []
        self._tensors: list[_KeptTensor] = []
        self._generators: list[tuple[torch.Generator, torch.Tensor]] = []
        seen: set[int] = set()
        ahead: list[object] = list(roots)
        while ahead:
            value = ahead.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            ahead += self._keep(value, is_root=any(value is root for root in roots))

    def put_back(self) -> None:
        """Bring everything to what it was; this can be done any number of times."""
        for container, before in self._containers:
            _refill(container, before)
        for owner, attributes in self._attributes:
            _refill(vars(owner), attributes)
        for tensor in self._tensors:
            tensor.put_back()
        for generator, state in self._generators:
            generator.set_state(state)

    def _keep(self, value: object, is_root: bool) -> list[object]:
        """Keep a value, and return what to look at next."""
        if isinstance(value, torch.Tensor):
            kept = _KeptTensor(value)
            self._tensors.append(kept)
            return [] if kept.gradient is None else [kept.gradient]
        if type(value) in _CONTAINERS:
            self._containers.append((value, value.copy()))  # type: ignore[attr-defined]
            return [*value, *value.values()] if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
        if isinstance(value, tuple):
            return list(value)
        if isinstance(value, torch.Generator):
            self._generators.append((value, value.get_state()))
            return []
        followed = isinstance(value, (nn.Module, Optimizer, torch.amp.GradScaler))
        if followed or is_root or type(value).__module__.startswith(_HELPERS):
            attributes = getattr(value, "__dict__", None)
            if isinstance(attributes, dict):
                self._attributes.append((value, dict(attributes)))
                return list(attributes.values())
        return []


class _KeptTensor:
    """A tensor, with a copy of its values on the CPU, and its gradient."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._requires_grad = tensor.requires_grad
        self._strides = tensor.stride() if tensor.layout is torch.strided else ()
        overlaps = any(stride == 0 and size > 1 for stride, size in zip(self._strides, tensor.shape, strict=False))
        self._is_fixed = overlaps or tensor.is_inference() or tensor.is_meta  # nobody can write to it
        self._values = torch.empty(0) if self._is_fixed else tensor.detach().to("cpu", copy=True)
        self.gradient = tensor.grad if tensor.is_leaf else None

    def put_back(self) -> None:
        tensor = self._tensor
        if self._is_fixed:
            return
        if tensor.is_leaf:
            tensor.requires_grad_(self._requires_grad)
            tensor.grad = self.gradient
        now = tensor.detach()
        if now.shape != self._values.shape or (self._strides and now.stride() != self._strides):
            tensor.data = torch.empty_strided(self._values.shape, self._strides, dtype=now.dtype, device=now.device)
        with torch.no_grad():
            tensor.detach().copy_(self._values)


class Trial:
    """A run that something is tried with.

    Args:
        runner: It has all that belongs to training.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        # Built now, in the order of a run, and with the weights that it begins with.
        _ = runner.train_dataloader, runner.optim_wrapper
        runner.load_or_resume(training=False)
        self._generators = generator_states(runner.device)
        self._data = loader_state(runner.train_dataloader)
        self._hubs = runner.message_hub, MessageHub.get_current_instance()
        self._kept = Kept(runner.model, runner.optim_wrapper, *self._hubs)

    def begin(self) -> None:
        """Put everything in the state in which training is tried."""
        for hub in self._hubs:
            hub.log_scalars.clear()  # what is appended now goes to histories of their own
        self._runner.model.train()
        self._runner.optim_wrapper.watch = None
        for optimizer in optimizers_with_modes(self._runner.optim_wrapper):
            optimizer.train()
        self._runner.optim_wrapper.initialize_count_status(self._runner.model, 0, -1)

    def put_back(self) -> None:
        """Bring everything to what it was."""
        self._kept.put_back()
        set_generator_states(self._generators, self._runner.device)
        load_loader_state(self._runner.train_dataloader, self._data)


@contextmanager
def trial(runner: Runner) -> Iterator[Trial]:
    """Let something be tried with the model, the optimizer and the data of a run, and put all of it back at the end.

    The model and the optimizer are in training mode within, with the weights that the run would begin with; the message
    hub is without scalars, and nobody watches for bad numbers.
    """
    tried = Trial(runner)
    try:
        tried.begin()
        yield tried
    finally:
        tried.put_back()


@contextmanager
def all_kept(runner: Runner, loops: Sequence[Any], generators: Mapping[str, Any]) -> Iterator[Callable[[], None]]:
    """Bring a run, as far as it is built, to what it was, at the end of the block: it may train, evaluate and save.

    The message hub is without scalars within, and nobody watches for bad numbers. What is yielded brings everything to
    that state, such as after a step that has failed.

    Args:
        runner: The run.
        loops: Those of its loops that are used.
        generators: What the global generators are brought to.
    """
    hubs = runner.message_hub, MessageHub.get_current_instance()
    wrapper = vars(runner).get("optim_wrapper")
    roots: list[object] = [runner.model, wrapper, *hubs]
    loaders: list[Any] = []
    for loop in loops:
        if isinstance(loop, EvaluationLoop):
            roots += [metric for one in loop._sets for metric in one.evaluator.metrics]
            loaders += [one.dataloader for one in loop._sets]
        elif isinstance(loop, BaseLoop):
            loaders.append(loop.dataloader)
    entered = [(loop, loop.dataloader, loop.evaluator) for loop in loops if isinstance(loop, EvaluationLoop)]
    states = [(loader, loader_state(loader)) for loader in loaders]
    warned = set(runner._hooks.warned)
    kept = Kept(*roots)

    def begin() -> None:
        kept.put_back()
        for hub in hubs:
            hub.log_scalars.clear()
        if wrapper is not None:
            wrapper.watch = None

    try:
        begin()
        yield begin
    finally:
        kept.put_back()
        for loop, loader, evaluator in entered:
            loop.dataloader, loop.evaluator = loader, evaluator
        for loader, state in states:
            load_loader_state(loader, state)
            if getattr(loader, "persistent_workers", False):
                loader._iterator = None  # its workers have copies of the data set that have given samples already
        runner._hooks.warned.clear()
        runner._hooks.warned.update(warned)
        set_generator_states(generators, runner.device)


def _refill(container: Any, before: Any) -> None:
    """Bring a container to what it held, if that has changed."""
    if isinstance(container, dict):
        keys = zip(container, before, strict=False)  # tensors among them, which == would compare by their values
        same = len(container) == len(before) and all(a is b and container[a] is before[b] for a, b in keys)
        if not same:
            container.clear()
            container.update(before)
    elif isinstance(container, set):
        container.clear()
        container.update(before)
    elif len(container) != len(before) or any(a is not b for a, b in zip(container, before, strict=True)):
        container.clear()
        container.extend(before)
