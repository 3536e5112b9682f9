"""What initialised each parameter: gathered while weights are initialised, then written to the log file.

The record belongs to the outermost ``init_weights`` that runs, and ends with it; modules keep nothing of it.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..dist import is_main_process
from ..logging import MMLogger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["recording", "update_init_info"]


class _Record:
    """How the parameters below one module came to their values."""

    def __init__(self, root: nn.Module) -> None:
        self.modules = set(root.modules())
        self._root = root
        self._states = _fingerprints(root)
        self._origins: dict[nn.Parameter, str] = {}

    def note(self, module: nn.Module, origin: str) -> None:
        for parameter, state in _fingerprints(module).items():
            if self._states.get(parameter) != state:
                self._states[parameter] = state
                self._origins[parameter] = origin

    def report(self) -> str:
        lines = [f"Initialisation of the parameters of {type(self._root).__name__}:"]
        for name, parameter in self._root.named_parameters():
            shape = "lazy" if nn.parameter.is_lazy(parameter) else tuple(parameter.shape)
            lines.append(f"{name} {shape}: {self._origins.get(parameter, 'unchanged by init_weights')}")
        return "\n".join(lines)


_current: ContextVar[_Record | None] = ContextVar("mainspring_init_record", default=None)


@contextmanager
def recording(root: nn.Module) -> Iterator[None]:
    """Record what happens to the parameters of ``root`` in the block, and write it to the log file.

    Where a record of them is running already, that one goes on. Without a log file, and on all processes but
    the main one, nothing is recorded.
    """
    running = _current.get()
    logger = MMLogger.get_current_instance()
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    wanted = files and logger.isEnabledFor(logging.INFO) and is_main_process()
    if not wanted or (running is not None and root in running.modules):
        yield
        return
    record = _Record(root)
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)
    message = logger.makeRecord(logger.name, logging.INFO, __file__, 0, record.report(), (), None)
    for file in files:
        file.handle(message)


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Note ``init_info`` as the origin of every parameter of ``module`` that changed since the last note.

    Called by initialisers after their work. Does nothing while no ``init_weights`` runs that is logged.

    Args:
        module: A module, or one that holds it.
        init_info: What stands in the log, such as ``"ConstantInit: val=1, bias=0"``.
    """
    record = _current.get()
    if record is not None:
        record.note(module, init_info)


def _fingerprints(module: nn.Module) -> dict[nn.Parameter, str]:
    """Describe the values: the count of changes that autograd keeps, which ``.data`` escapes, and a sum.

    The host waits for the device once, not for each parameter; only subclasses of tensors are read by themselves.
    """
    states = dict.fromkeys(module.parameters(), "no values")
    readable = [one for one in states if not (nn.parameter.is_lazy(one) or one.is_meta)]
    sums = {one: _real(one.detach()).to(torch.float32).sum() for one in readable}
    plain = {one: total for one, total in sums.items() if type(total) is torch.Tensor}
    totals = {one: total.item() for one, total in sums.items() if one not in plain}
    if plain:
        device = next(iter(plain.values())).device
        totals |= zip(plain, torch.stack([total.to(device) for total in plain.values()]).tolist(), strict=True)
    for parameter, total in totals.items():
        version = 0 if parameter.is_inference() else parameter._version
        states[parameter] = f"{version} {total}"  # as a string, so that not-a-number equals itself
    return states


def _real(values: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(values) if values.is_complex() else values
