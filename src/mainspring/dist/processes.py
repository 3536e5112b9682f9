"""Which process this is, among how many."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch.distributed as torch_dist

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributed import ProcessGroup

__all__ = [
    "backends_by_device",
    "barrier",
    "get_backend",
    "get_default_group",
    "get_dist_info",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "is_distributed",
    "is_main_process",
    "master_only",
]

P = ParamSpec("P")
T = TypeVar("T")

# Asked once: a build of torch either has it or not.
_AVAILABLE = torch_dist.is_available()


def is_distributed() -> bool:
    """Return whether a process group has been initialised."""
    return _AVAILABLE and torch_dist.is_initialized()


def get_default_group() -> ProcessGroup | None:
    """Return the group of all processes, or None where there is one process."""
    return torch_dist.group.WORLD if is_distributed() else None


def get_world_size(group: ProcessGroup | None = None) -> int:
    """Return the number of processes; -1 in a process that is not in ``group``."""
    return torch_dist.get_world_size(group) if is_distributed() else 1


def get_rank(group: ProcessGroup | None = None) -> int:
    """Return the number of this process, from 0; -1 in a process that is not in ``group``."""
    return torch_dist.get_rank(group) if is_distributed() else 0


def get_dist_info(group: ProcessGroup | None = None) -> tuple[int, int]:
    """Return rank and world size.

    >>> get_dist_info()
    (0, 1)
    """
    return get_rank(group), get_world_size(group)


def get_local_rank() -> int:
    """Return the number of this process among those of its machine.

    Raises:
        RuntimeError: There are several processes, and ``LOCAL_RANK`` is not in the environment.
    """
    return _from_environment("LOCAL_RANK") if is_distributed() else 0


def get_local_size() -> int:
    """Return the number of processes on this machine.

    Raises:
        RuntimeError: There are several processes, and ``LOCAL_WORLD_SIZE`` is not in the environment.
    """
    return _from_environment("LOCAL_WORLD_SIZE") if is_distributed() else 1


def _from_environment(name: str) -> int:
    value = os.environ.get(name)
    if value is None:
        raise RuntimeError(
            f"The environment variable {name} is not set, so the processes of this machine are not known. "
            "torchrun sets it; if you start processes yourself, set it before they ask."
        )
    return int(value)


def is_main_process(group: ProcessGroup | None = None) -> bool:
    """Return whether this is the process of rank 0, which logs, saves and collects."""
    return not is_distributed() or torch_dist.get_rank(group) == 0


def master_only(func: Callable[P, T]) -> Callable[P, T | None]:
    """Decorate a function to run in the main process; in the others it returns None at once.

    >>> @master_only
    ... def report(loss: float) -> str:
    ...     return f"loss {loss}"
    >>> report(0.5)
    'loss 0.5'
    """

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T | None:
        return func(*args, **kwargs) if is_main_process() else None

    return wrapper


def barrier(group: ProcessGroup | None = None) -> None:
    """Wait until every process has come to this point."""
    if get_world_size(group) > 1:
        torch_dist.barrier(group)


def backends_by_device(group: ProcessGroup | None = None) -> dict[str, str]:
    """Return the backend for each type of device, such as ``{"cpu": "gloo", "cuda": "nccl"}``."""
    pairs = torch_dist.get_backend_config(group).split(",")
    return dict(pair.split(":", 1) for pair in pairs)


def get_backend(group: ProcessGroup | None = None) -> str | None:
    """Return the backend's name in lower case, or None where there is one process.

    Of several, it is that of the accelerator: ``"nccl"`` for ``"cpu:gloo,cuda:nccl"``.
    """
    if not is_distributed():
        return None
    backends = backends_by_device(group)
    others = [backend for device, backend in backends.items() if device != "cpu"]
    return others[0] if others else backends["cpu"]
