"""Joining the job that a launcher has started."""

from __future__ import annotations

import atexit
import os
import re
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist

from ..device import default_device
from ..utils import did_you_mean
from .meeting import meet
from .processes import is_distributed

__all__ = ["found_launcher", "group_timeout", "infer_launcher", "init_dist"]

_DEFAULT_PORT = 29500
_PATIENCE = timedelta(minutes=30)
"""How long processes wait for each other, if nothing is said."""
_ON_HOST = ("gloo", "mpi")
_timeouts: list[timedelta | None] = [None]
"""That of the group that this process has joined."""


def infer_launcher() -> str:
    """Return what has started this process: ``"pytorch"``, ``"mpi"``, ``"slurm"`` or ``"none"``."""
    if "WORLD_SIZE" in os.environ:
        return "pytorch"
    if "OMPI_COMM_WORLD_LOCAL_RANK" in os.environ:  # before SLURM: mpirun inside a SLURM job has both
        return "mpi"
    if "SLURM_NTASKS" in os.environ:
        return "slurm"
    return "none"


def found_launcher() -> str:
    """Return what has started this process as one of several, or ``"none"``.

    Other than :func:`infer_launcher`, it does not take the script of a SLURM job for one of its tasks, which only srun
    starts; nor an environment in which half of torchrun's variables are missing.

    >>> found_launcher()
    'none'
    """
    environment = os.environ
    if all(name in environment for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")):
        return "pytorch"
    if "OMPI_COMM_WORLD_RANK" in environment and environment.get("OMPI_COMM_WORLD_SIZE", "1") != "1":
        return "mpi"
    if "SLURM_PROCID" in environment and environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return "slurm"
    return "none"


def init_dist(launcher: str, backend: str | None = None, **kwargs: Any) -> None:
    """Join the process group of the job, and choose this process's device.

    Afterwards ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``LOCAL_WORLD_SIZE`` (where it is known),
    ``MASTER_ADDR`` and ``MASTER_PORT`` are in the environment, whatever the launcher. When the process ends, it leaves
    the group.

    Args:
        launcher: ``"pytorch"`` (torchrun), ``"slurm"`` (srun) or ``"mpi"`` (Open MPI's mpirun).
        backend: Such as ``"nccl"``, ``"gloo"`` or ``"cpu:gloo,cuda:nccl"``. None for gloo on the CPU and the
            accelerator's own beside it, so that objects need not pass through the accelerator.
        **kwargs: For ``torch.distributed.init_process_group``. ``timeout`` may be a number of seconds. With
            SLURM and MPI also ``port``: rank 0 listens there; by default ``MASTER_PORT``, or else 29500.

    Raises:
        ValueError: The launcher is unknown, the environment is not the one that it makes, or there are more processes
            on this machine than devices for them.
        TypeError: ``timeout`` is neither a number nor a ``timedelta``.
    """
    launchers = {"pytorch": _torchrun, "slurm": _slurm, "mpi": _mpi}
    if launcher not in launchers:
        raise ValueError(
            f"There is no launcher {launcher!r}.{did_you_mean(str(launcher), launchers)} The launchers are: "
            f"{', '.join(launchers)}. With one process there is nothing to join: do not call init_dist."
        )
    if (timeout := kwargs.pop("timeout", None)) is not None:
        kwargs["timeout"] = _as_timedelta(timeout)
    os.environ.update(launchers[launcher](kwargs.pop("port", None)))

    accelerator = default_device()
    if backend is None:
        backend = _default_backend(accelerator)
    if accelerator.type != "cpu":
        local_rank, count = int(os.environ["LOCAL_RANK"]), torch.accelerator.device_count()
        torch.accelerator.set_device_index(local_rank % count)
        if backend not in _ON_HOST:
            if local_rank >= count:
                raise ValueError(
                    f"This is process {local_rank} of this machine, counted from 0, but there are only {count} devices"
                    f" of the kind {accelerator.type!r}, and with the backend {backend!r} no two processes can share"
                    " one. Start as many processes as there are devices, or take the backend 'gloo'."
                )
            kwargs.setdefault("device_id", torch.device(accelerator.type, local_rank))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and not {"init_method", "store"} & set(kwargs):
        kwargs["store"] = meet(kwargs.get("timeout", _PATIENCE))
        kwargs.update(rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    torch_dist.init_process_group(backend, **kwargs)
    _timeouts[:] = [kwargs.get("timeout")]
    atexit.register(_leave)


def group_timeout() -> timedelta | None:
    """Return the timeout with which the processes were joined; None for that of the backend."""
    return _timeouts[0]


def _leave() -> None:
    if is_distributed():
        torch_dist.destroy_process_group()


def _default_backend(accelerator: torch.device) -> str:
    native = torch_dist.get_default_backend_for_device(accelerator.type)
    return "gloo" if native == "gloo" else f"cpu:gloo,{accelerator.type}:{native}"


def _as_timedelta(timeout: Any) -> timedelta:
    if isinstance(timeout, timedelta):
        return timeout
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
        return timedelta(seconds=timeout)
    raise TypeError(f"timeout must be a number of seconds, but it is {timeout!r} ({type(timeout).__name__}).")


def _torchrun(port: int | None) -> dict[str, str]:
    """Return what torchrun's environment lacks: nothing."""
    if port is not None:
        raise ValueError("With torchrun the port is given to it, not to init_dist: torchrun --master-port ...")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        _variable(name, "torchrun")
    return {}


def _slurm(port: int | None) -> dict[str, str]:
    """Return torchrun's variables, made from those that srun sets for each task."""
    hosts = os.environ.get("SLURM_STEP_NODELIST") or _variable("SLURM_NODELIST", "srun")
    variables = {
        "RANK": _variable("SLURM_PROCID", "srun"),
        "WORLD_SIZE": _variable("SLURM_NTASKS", "srun"),
        "LOCAL_RANK": _variable("SLURM_LOCALID", "srun"),
        "MASTER_ADDR": os.environ.get("MASTER_ADDR") or _first_host(hosts),
        "MASTER_PORT": _port(port),
    }
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_TASKS_PER_NODE")
    if tasks is not None:
        variables["LOCAL_WORLD_SIZE"] = str(_tasks_on_node(tasks, int(os.environ.get("SLURM_NODEID", "0"))))
    return variables


def _mpi(port: int | None) -> dict[str, str]:
    """Return torchrun's variables, made from those that Open MPI's mpirun sets for each process."""
    variables = {
        "RANK": _variable("OMPI_COMM_WORLD_RANK", "mpirun"),
        "WORLD_SIZE": _variable("OMPI_COMM_WORLD_SIZE", "mpirun"),
        "LOCAL_RANK": _variable("OMPI_COMM_WORLD_LOCAL_RANK", "mpirun"),
        "LOCAL_WORLD_SIZE": _variable("OMPI_COMM_WORLD_LOCAL_SIZE", "mpirun"),
        "MASTER_PORT": _port(port),
    }
    address = os.environ.get("MASTER_ADDR")
    if address is None:
        if variables["WORLD_SIZE"] != variables["LOCAL_WORLD_SIZE"]:
            raise ValueError(
                "mpirun has started processes on several machines, but MASTER_ADDR, which tells them where "
                "rank 0 is, is not set. Give it to all of them: mpirun -x MASTER_ADDR=<host of rank 0> ..."
            )
        address = "127.0.0.1"
    return {**variables, "MASTER_ADDR": address}


def _variable(name: str, launcher: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ValueError(
            f"The environment variable {name} is not set, which {launcher} sets for its processes. "
            f"Start the program with {launcher}; or run it as one process, without a launcher."
        )
    return value


def _port(port: int | None) -> str:
    return str(port) if port is not None else os.environ.get("MASTER_PORT", str(_DEFAULT_PORT))


def _first_host(hosts: str) -> str:
    """Return the first host of SLURM's compact list.

    >>> _first_host("gpu[07-09,12],login1"), _first_host("rack[1-2]node[03-04]-ib"), _first_host("a,b")
    ('gpu07', 'rack1node03-ib', 'a')
    """
    first = re.match(r"(?:\[[^\]]*\]|[^,\[])+", hosts)
    if first is None:
        raise ValueError(f"SLURM's list of hosts is {hosts!r}, which names none.")
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0])


def _tasks_on_node(tasks: str, node: int) -> int:
    """Return how many tasks a node has, from SLURM's compact list.

    >>> _tasks_on_node("4(x2),1", 1), _tasks_on_node("4(x2),1", 2)
    (4, 1)
    """
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", tasks):
        counts += [int(count)] * int(times or 1)
    return counts[node]
