"""The processes of one machine, as a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.distributed as torch_dist

from .processes import get_rank, get_world_size, is_distributed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["get_local_group", "init_local_group"]

_local_groups: dict[int, ProcessGroup] = {}
"""By the identity of the group of all processes: after another initialisation it is of no use any more."""


def init_local_group(node_rank: int, num_gpus_per_node: int) -> None:
    """Make a group of the processes of each machine; every process must call it.

    Args:
        node_rank: The number of this machine.
        num_gpus_per_node: How many processes each machine has.

    Raises:
        RuntimeError: No process group is initialised.
        ValueError: The numbers do not fit the number of processes, or this process is not one of that machine.
    """
    if not is_distributed():
        raise RuntimeError("There is one process, and no group of it: call init_dist before init_local_group.")
    size = get_world_size()
    if num_gpus_per_node < 1 or size % num_gpus_per_node:
        raise ValueError(f"num_gpus_per_node is {num_gpus_per_node}, but must divide the number of processes, {size}.")
    if get_rank() // num_gpus_per_node != node_rank:
        raise ValueError(
            f"node_rank is {node_rank}, but the process of rank {get_rank()} is one of machine"
            f" {get_rank() // num_gpus_per_node}, if each has {num_gpus_per_node}."
        )
    for first in range(0, size, num_gpus_per_node):  # all processes take part in making each of the groups
        group = torch_dist.new_group(list(range(first, first + num_gpus_per_node)))
        if first == node_rank * num_gpus_per_node:
            _local_groups.clear()
            _local_groups[id(torch_dist.group.WORLD)] = group


def get_local_group() -> ProcessGroup | None:
    """Return the group of the processes of this machine, or None where there is one process.

    Raises:
        RuntimeError: :func:`init_local_group` was not called.
    """
    if not is_distributed():
        return None
    group = _local_groups.get(id(torch_dist.group.WORLD))
    if group is None:
        raise RuntimeError("There is no group of the processes of this machine: call init_local_group first.")
    return group
