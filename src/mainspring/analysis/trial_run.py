"""A model that runs only so that something can be counted, and is left as it was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ..utils import generator_states, set_generator_states

__all__ = ["Others", "device_of", "left_as_it_was", "noted_calls", "single_operations"]


class Others(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators for which a counter, entered behind it, has no formula; views are none."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counter = counter
        self.counts: defaultdict[str, Counter[Any]] = defaultdict(Counter)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operator = getattr(func, "_overloadpacket", func)
        if operator not in self._counter.flop_registry and not getattr(func, "is_view", False):
            for module in self._counter.mod_tracker.parents:
                self.counts[module][operator] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def noted_calls(model: nn.Module, called: set[str]) -> Iterator[None]:
    """Write down the names of the modules that are called."""
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda module, args, name=name: called.add(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Let a model run for its results only, and leave modes and generators as they were."""
    modes = [(module, module.training) for module in model.modules()]
    states = generator_states(device_of(model))
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        set_generator_states(states, device_of(model))


@contextmanager
def single_operations() -> Iterator[None]:
    """Let torch use no kernel that does several operations at once."""
    libraries: list[Any] = [torch.backends.mkldnn, torch.backends.cudnn]  # which have recurrent layers in one piece
    before = [library.set_flags(_enabled=False)[0] for library in libraries]
    encoders = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(encoders)
        for library, enabled in zip(libraries, before, strict=True):
            library.set_flags(_enabled=enabled)


def device_of(model: nn.Module) -> torch.device:
    """Return where the first tensor of a model lies; of a model without any, the CPU."""
    first = next(model.parameters(), next(model.buffers(), None))
    return torch.device("cpu") if first is None else first.device
