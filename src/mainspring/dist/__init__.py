"""Talking to the other processes of the job; with one process every function is an identity or does nothing.

Nothing needs to be initialised to call them, so code that uses them runs the same in a notebook and on a
cluster. They are a thin layer over ``torch.distributed``; ``group`` is one of its process groups, or None for
all processes.
"""

from .agreement import Ballot, Board
from .devices import cast_data_device, get_comm_device, get_data_device
from .gradients import GradientSync, Reducer, average_gradients, broadcast_tensors
from .launch import found_launcher, infer_launcher, init_dist
from .local_group import get_local_group, init_local_group
from .objects import (
    all_gather_object,
    broadcast_object_list,
    collect_results,
    collect_results_cpu,
    collect_results_gpu,
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
    "Ballot",
    "Board",
    "GradientSync",
    "Reducer",
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "all_reduce_dict",
    "all_reduce_params",
    "average_gradients",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "broadcast_tensors",
    "cast_data_device",
    "collect_results",
    "collect_results_cpu",
    "collect_results_gpu",
    "found_launcher",
    "gather",
    "gather_object",
    "get_backend",
    "get_comm_device",
    "get_data_device",
    "get_default_group",
    "get_dist_info",
    "get_local_group",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "infer_launcher",
    "init_dist",
    "init_local_group",
    "is_distributed",
    "is_main_process",
    "master_only",
    "sync_random_seed",
]
