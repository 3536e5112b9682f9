"""What each of three torchrun processes sees; written to a file per rank for the tests to judge."""

import os
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as torch_dist

from mainspring import dist


def main(directory):
    dist.init_dist("pytorch", timeout=120)
    rank, size = dist.get_dist_info()
    seen = {"facts": facts(), "environment": {key: os.environ.get(key) for key in ("RANK", "LOCAL_RANK")}}
    seen |= reductions(rank)
    seen |= gathers(rank)
    seen |= objects(rank)
    seen |= collected(rank, size, directory)
    seen |= subgroup(rank)
    seen |= local_group(rank)
    dist.barrier()
    (directory / f"rank{rank}.pkl").write_bytes(pickle.dumps(seen))
    torch_dist.destroy_process_group()


def facts():
    @dist.master_only
    def only_main():
        return "ran"

    return {
        "info": dist.get_dist_info(),
        "local": (dist.get_local_rank(), dist.get_local_size()),
        "backend": dist.get_backend(),
        "distributed": dist.is_distributed(),
        "main": dist.is_main_process(),
        "master_only": only_main(),
        "world": dist.get_world_size(dist.get_default_group()),
    }


def reductions(rank):
    def reduced(tensor, op="sum"):
        dist.all_reduce(tensor, op)
        return tensor

    seen = {op: reduced(torch.tensor([rank + 1.0, -rank]), op) for op in ("sum", "mean", "product", "min", "max")}
    seen["bits"] = [reduced(torch.tensor([1 << rank, 7]), op) for op in ("band", "bor", "bxor")]
    seen["integer_mean"] = reduced(torch.tensor([-rank * rank, 5 * rank]), "mean")  # of -5 and 15
    seen["bool_mean"] = reduced(torch.tensor([rank == 1, False]), "mean")
    seen["scalar"] = reduced(torch.tensor(1.0 + rank))
    base = torch.arange(12.0).reshape(3, 4) + 100 * rank
    seen["strided"] = reduced(base[:, ::2])
    seen["around_strided"] = base
    parameter = torch.nn.Parameter(torch.full((2,), float(rank)))
    dist.all_reduce(parameter, "mean")
    seen["parameter"] = parameter.tolist(), parameter.requires_grad, parameter.is_leaf

    # Keys in another order in each process, and three dtypes.
    entries = [("loss", torch.tensor(0.5 * rank)), ("hits", torch.tensor([rank])), ("big", torch.tensor(2**60 + rank))]
    entries.append(("fine", torch.tensor([[1.0 / 3]], dtype=torch.float64)))
    for op in ("sum", "mean"):
        before = dict(entries[rank:] + entries[:rank])
        data = dict(before)
        dist.all_reduce_dict(data, op)
        seen[f"dict_{op}"] = data
    seen["dict_original"] = before["hits"]

    for coalesce, bucket_size_mb in ((True, -1), (True, 1), (False, -1)):
        tensors = [torch.full((300, 1000), rank + 1.0), torch.tensor([[rank]]), torch.full((5,), rank + 1.0)]
        tensors.append(torch.full((4, 3), rank + 1.0).t())
        dist.all_reduce_params(iter(tensors), coalesce, bucket_size_mb, op="mean")
        seen[f"params_{coalesce}_{bucket_size_mb}"] = [(t.min().item(), t.max().item()) for t in tensors]
    return seen


def gathers(rank):
    broadcast = torch.full((2, 3), rank).t()
    dist.broadcast(broadcast, src=1)
    return {
        "all_gather": dist.all_gather(torch.tensor([rank, 10 * rank])),
        "all_gather_strided": dist.all_gather(torch.arange(6).reshape(2, 3).t() + rank),
        "gather": dist.gather(torch.tensor(rank)),
        "gather_to_2": dist.gather(torch.tensor(rank), dst=2),
        "broadcast": broadcast,
    }


def objects(rank):
    words = [f"from {rank}", {"rank": rank}]
    dist.broadcast_object_list(words, src=2)
    return {
        "all_gather_object": dist.all_gather_object({"rank": "x" * rank}),
        "gather_object": dist.gather_object(rank),
        "gather_object_to_1": dist.gather_object(rank, dst=1),
        "broadcast_object_list": words,
        "seed": dist.sync_random_seed(),
    }


def collected(rank, world_size, directory):
    outcomes = {}
    for size in range(8):
        dealt = list(range(rank, size, world_size))
        longest = -(-size // world_size)
        padded = dealt + ["added"] * (longest - len(dealt))
        outcomes[size] = [
            dist.collect_results(dealt, size),
            dist.collect_results(padded, size),
            dist.collect_results(padded, size, device="gpu"),
            dist.collect_results(padded, size, tmpdir=directory / "parts"),
            dist.collect_results_cpu(padded, size, directory / "parts"),
            dist.collect_results_gpu(padded, size),
        ]
    parts_are_gone = not (directory / "parts").exists()
    (directory / "kept").mkdir(exist_ok=True)
    (directory / "kept" / f"mine_{rank}.txt").write_text("not part of the results")
    outcomes["nones"] = dist.collect_results([None, rank], 6, tmpdir=directory / "kept")
    left = sorted(path.name for path in (directory / "kept").iterdir())
    return {"collected": outcomes, "parts_are_gone": parts_are_gone, "left": left}


def subgroup(rank):
    group = torch_dist.new_group([1, 2])
    tensor = torch.tensor([float(rank)])
    seen = {"group_info": dist.get_dist_info(group), "group_main": dist.is_main_process(group)}
    if rank != 0:
        dist.all_reduce(tensor, "mean", group)
        seen["group_gather"] = dist.gather(torch.tensor(rank), dst=2, group=group)
        seen["group_seed"] = dist.sync_random_seed(group)
    seen["group_mean"] = tensor
    return seen


def local_group(rank):
    errors = []
    for call in (dist.get_local_group, lambda: dist.init_local_group(0, 2), lambda: dist.init_local_group(rank + 1, 1)):
        try:
            call()
        except (RuntimeError, ValueError) as error:
            errors.append(str(error))
    dist.init_local_group(rank, 1)
    alone = dist.get_dist_info(dist.get_local_group())
    dist.init_local_group(0, 3)
    return {"local_errors": errors, "alone": alone, "together": dist.get_dist_info(dist.get_local_group())}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
