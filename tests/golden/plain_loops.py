"""Small models trained by hand, without the engine: what its trajectories are compared with.

Of mainspring there are only the keys from which an initialisation, an epoch's order and a step's chance follow.
``losses.json`` beside this file holds the losses of these loops. Write it anew after a change that is meant to move
them, and say in the changelog that runs of before and after differ:

    python tests/golden/plain_loops.py
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mainspring.utils import Stream, mix, seed_generators, step_seeder

LOSSES = Path(__file__).with_name("losses.json")
SEED = 11
EPOCHS, BATCHES, BATCH_SIZE = 5, 10, 5  # 50 steps; the last batch of an epoch has 3 samples
CPU = torch.device("cpu")


def data() -> tuple[Tensor, Tensor]:
    """Return 48 images of 2 x 6 x 6 and their classes, of which there are 4."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 4
    images = torch.randn(48, 2, 6, 6, generator=generator)
    images += labels.view(-1, 1, 1, 1) * torch.randn(2, 6, 6, generator=generator) / 4
    return images, labels


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))


class ConvNet(nn.Sequential):
    def __init__(self) -> None:
        # No bias before the normalisation: its gradient is rounding noise, which Adam would blow up.
        super().__init__(
            nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(8, 4),
        )  # fmt: skip


def mixed(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Blend the images of a batch, and add noise: draws from NumPy's and torch's generators."""
    share = np.random.beta(0.4, 0.4)
    order = torch.randperm(len(images))
    soft = F.one_hot(labels, 4).float()
    images = share * images + (1 - share) * images[order] + 0.1 * torch.randn(images.shape)
    return images, share * soft + (1 - share) * soft[order]


def new(net: type[nn.Module]) -> nn.Module:
    seed_generators(mix(Stream.INIT, SEED, 0, 0))
    return net().train()


def batches() -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the number of the step and its batch, and seed the step."""
    images, labels = data()
    seed_step = step_seeder(Stream.STEP, SEED, 0, CPU)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(mix(Stream.ORDER, SEED, epoch)))
        for batch, index in enumerate(order.split(BATCH_SIZE)):
            step = epoch * BATCHES + batch
            seed_step(step)
            yield step, images[index], labels[index]


Trajectory = tuple[list[float], dict[str, Tensor]]


def mlp_with_dropout_and_sgd() -> Trajectory:
    net, losses = new(Mlp), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3, fused=True)
    for _, images, labels in batches():
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, net.state_dict()


def conv_net_with_mixing_and_adam() -> Trajectory:
    net, losses = new(ConvNet), []
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, fused=True)
    for _, images, labels in batches():
        images, targets = mixed(images, labels)
        loss = F.cross_entropy(net(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, net.state_dict()


def accumulation_and_clipping() -> Trajectory:
    net, losses = new(Mlp), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9, fused=True)
    for step, images, labels in batches():
        loss = F.cross_entropy(net(images), labels)
        (loss / (3 if step < 48 else 2)).backward()
        if (step + 1) % 3 == 0 or step == 49:
            nn.utils.clip_grad_norm_(net.parameters(), max_norm=0.5)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return losses, net.state_dict()


def warm_up_and_cosine() -> Trajectory:
    net, losses = new(ConvNet), []
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.05, fused=True)
    for step, images, labels in batches():
        if step < 10:
            lr = 0.02 * (0.1 * (1 - step / 9) + step / 9)
        else:
            share = (1 + math.cos(math.pi * (step - 10) / 40)) / 2
            lr = 0.02 * share + 0.001 * (1 - share)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, net.state_dict()


def bfloat16() -> Trajectory:
    net, losses = new(ConvNet), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, fused=True)
    for _, images, labels in batches():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, net.state_dict()


LOOPS: dict[str, Callable[[], Trajectory]] = {
    loop.__name__: loop
    for loop in (
        mlp_with_dropout_and_sgd,
        conv_net_with_mixing_and_adam,
        accumulation_and_clipping,
        warm_up_and_cosine,
        bfloat16,
    )
}


def main() -> None:
    torch.set_num_threads(1)
    lines = ",\n".join(f'  "{name}": {json.dumps(loop()[0])}' for name, loop in LOOPS.items())
    LOSSES.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
