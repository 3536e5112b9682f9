"""The mean over all items of a group, also of those of other processes."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from mainspring import OptimWrapper

SIZES = ((3, 1, 6, 2, 5), (2, 7, 1, 4, 1))
"""Of the micro-batches of each process; in groups of two, the last is smaller."""


def network() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 2).double()


def batches(rank: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    return [
        (
            torch.randn(size, 3, generator=generator, dtype=torch.float64),
            torch.randn(size, 2, generator=generator, dtype=torch.float64),
        )
        for size in SIZES[rank]
    ]


def train(rank: int, folder: str) -> None:
    torch_dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for as_tensors in (False, True):
        model = DistributedDataParallel(network())
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
        wrapper.initialize_count_status(model, 0, 5)
        for inputs, targets in batches(rank):
            with wrapper.optim_context(model):
                loss = F.mse_loss(model(inputs), targets)
            wrapper.update_params(loss, num_items=torch.tensor(len(inputs)) if as_tensors else len(inputs))
        torch.save(model.module.state_dict(), f"{folder}/{rank}_{as_tensors}.pth")
    torch_dist.destroy_process_group()


def test_two_processes_give_the_gradient_of_one_big_batch(tmp_path: Path) -> None:
    mp.spawn(train, (str(tmp_path),), nprocs=2)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    both = list(zip(batches(0), batches(1), strict=True))
    for start in (0, 2, 4):
        group = [batch for pair in both[start : start + 2] for batch in pair]
        inputs, targets = (torch.cat(parts) for parts in zip(*group, strict=True))
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    for rank in (0, 1):
        for as_tensors in (False, True):
            found = torch.load(tmp_path / f"{rank}_{as_tensors}.pth")
            for name, expected in model.state_dict().items():
                torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-12)
