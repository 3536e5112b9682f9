"""Collectives of any Python objects.

They pickle the objects between the job's own processes, which trust each other: nothing that comes from
outside the job may be unpickled this way. Tensors in them should lie on the CPU.
"""

from __future__ import annotations

import pickle
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as torch_dist

from ..utils import atomic_write
from .processes import barrier, get_dist_info, get_rank, get_world_size
from .tensors import broadcast

if TYPE_CHECKING:
    import os

    from torch.distributed import ProcessGroup

__all__ = [
    "all_gather_object",
    "broadcast_object_list",
    "collect_results",
    "collect_results_cpu",
    "collect_results_gpu",
    "gather_object",
    "sync_random_seed",
]


def all_gather_object(data: Any, group: ProcessGroup | None = None) -> list[Any]:
    """Return the objects of all processes, in the order of their ranks; ``[data]`` with one process.

    The objects are pickled between the job's own processes.

    >>> all_gather_object({"samples": 128})
    [{'samples': 128}]
    """
    size = get_world_size(group)
    if size <= 1:
        return [data]
    received: list[Any] = [None] * size
    torch_dist.all_gather_object(received, data, group)
    return received


def gather_object(data: Any, dst: int = 0, group: ProcessGroup | None = None) -> list[Any] | None:
    """Return the objects of all processes to one of them.

    The objects are pickled between the job's own processes.

    Args:
        data: Any object that can be pickled.
        dst: The rank, among all processes, of the one that receives.
        group: The processes that take part; None for all.

    Returns:
        In ``dst`` the objects in the order of their ranks; in the others None; ``[data]`` with one process.
    """
    size = get_world_size(group)
    if size <= 1:
        return [data]
    received: list[Any] | None = [None] * size if get_rank() == dst else None
    torch_dist.gather_object(data, received, dst, group)
    return received


def broadcast_object_list(data: list[Any], src: int = 0, group: ProcessGroup | None = None) -> None:
    """Overwrite the items of a list with those of one process, in place.

    The objects are pickled between the job's own processes.

    Args:
        data: A list, of the same length in every process.
        src: The rank, among all processes, of the one that sends.
        group: The processes that take part; None for all.
    """
    if not isinstance(data, list):
        raise TypeError(f"broadcast_object_list fills a list in place, but it was given a {type(data).__name__}.")
    if get_world_size(group) > 1:
        torch_dist.broadcast_object_list(data, src, group)


def collect_results(
    results: list[Any], size: int, device: str = "cpu", tmpdir: str | os.PathLike[str] | None = None
) -> list[Any] | None:
    """Bring the results of all processes together in the main process, in the order of the data set.

    A distributed sampler hands out samples like cards: rank 0 the first, rank 1 the second, and so on. The
    results are put together in the same way, and those of samples that were added to make the parts equal are
    cut off. They are pickled between the job's own processes.

    Args:
        results: The results of this process, in the order in which it had its samples.
        size: The length of the data set: how many results to keep at most.
        device: ``"cpu"`` or ``"gpu"``; the outcome is the same.
        tmpdir: With ``"cpu"``: send the results through files in this directory, which all processes must
            share, rather than through the process group. The files are removed afterwards, and the directory
            too if it is empty then.

    Returns:
        The results in the main process, None in the others.

    >>> collect_results(["cat", "dog", "cat (added)"], size=2)
    ['cat', 'dog']
    """
    if not isinstance(results, list):
        raise TypeError(f"collect_results takes a list of results, but it was given a {type(results).__name__}.")
    if device not in ("cpu", "gpu"):
        raise ValueError(f"device must be 'cpu' or 'gpu', but it is {device!r}.")
    if device == "gpu" and tmpdir is not None:
        raise ValueError("tmpdir goes with device='cpu': with 'gpu' nothing is written to files.")
    if get_world_size() == 1:
        return results[:size]
    parts = gather_object(results) if tmpdir is None else _gather_through_files(results, Path(tmpdir))
    if parts is None:
        return None
    absent = object()
    dealt = chain.from_iterable(zip_longest(*parts, fillvalue=absent))
    return [result for result in dealt if result is not absent][:size]


def collect_results_cpu(result_part: list[Any], size: int, tmpdir: str | None = None) -> list[Any] | None:
    """Return :func:`collect_results`, by way of files where ``tmpdir`` is given."""
    return collect_results(result_part, size, tmpdir=tmpdir)


def collect_results_gpu(result_part: list[Any], size: int) -> list[Any] | None:
    """Return :func:`collect_results`, by way of the process group."""
    return collect_results(result_part, size, device="gpu")


def _gather_through_files(results: list[Any], directory: Path) -> list[list[Any]] | None:
    rank, world_size = get_dist_info()
    with atomic_write(directory / f"part_{rank}.pkl") as file:
        pickle.dump(results, file, protocol=pickle.HIGHEST_PROTOCOL)
    barrier()
    parts = _read_parts(directory, world_size) if rank == 0 else None
    barrier()  # before the next call writes files of the same names
    return parts


def _read_parts(directory: Path, world_size: int) -> list[list[Any]]:
    parts = []
    for part_rank in range(world_size):
        path = directory / f"part_{part_rank}.pkl"
        if not path.exists():
            raise ValueError(
                f"The results of rank {part_rank} are not at {path}. tmpdir must be a directory that all "
                "processes share; leave it out to send the results through the process group."
            )
        parts.append(pickle.loads(path.read_bytes()))
        path.unlink()
    if not any(directory.iterdir()):
        directory.rmdir()
    return parts


def sync_random_seed(group: ProcessGroup | None = None) -> int:
    """Return one seed for all processes, drawn from NumPy's global generator in the first of them.

    Returns:
        A number from 0 to 2**31 - 1.
    """
    seed = torch.tensor(np.random.randint(2**31), dtype=torch.int64)
    if get_world_size(group) > 1:
        broadcast(seed, torch_dist.get_process_group_ranks(group)[0], group)
    return int(seed)
