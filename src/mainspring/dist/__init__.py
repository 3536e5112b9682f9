"""Talking to the other processes of the job; with one process every function is an identity or does nothing.

Nothing needs to be initialised to call them, so code that uses them runs the same in a notebook and on a
cluster. They are a thin layer over ``torch.distributed``; ``group`` is one of its process groups, or None for
all processes.
"""

from .devices import cast_data_device, get_comm_device, get_data_device
from .launch import infer_launcher, init_dist
from .objects import (
    all_gather_object,
    broadcast_object_list,
    collect_results,
    gather_object,
    sync_random_seed,
)
from .processes import (
    barrier,
    get_backend,
    get_default_group,
    get_dist_info,
    get_local_rank,
    get_local_size,
    get_rank,
    get_world_size,
    is_distributed,
    is_main_process,
    master_only,
)
from .tensors import all_gather, all_reduce, all_reduce_dict, all_reduce_params, broadcast, gather

__all__ = [
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "all_reduce_dict",
    "all_reduce_params",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "cast_data_device",
    "collect_results",
    "gather",
    "gather_object",
    "get_backend",
    "get_comm_device",
    "get_data_device",
    "get_default_group",
    "get_dist_info",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "infer_launcher",
    "init_dist",
    "is_distributed",
    "is_main_process",
    "master_only",
    "sync_random_seed",
]
