"""Handwritten digits: a small residual network, trained on the 1,797 real images that scikit-learn ships.

    python examples/digits/train.py [--epochs 60] [--work-dir work_dirs/digits]

Stop it with Ctrl-C, or kill it, and run it again: it goes on, and ends with the same bits. Ask for more epochs, and it
trains on.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mainspring import BaseModel, Runner


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class DigitNet(BaseModel):
    def __init__(self, data_preprocessor: dict[str, Any]) -> None:
        super().__init__(data_preprocessor)
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), ResidualBlock(32), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), ResidualBlock(64), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        scores = self.head(self.body(self.stem(images)).flatten(1))
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels)}
        return (scores, labels) if mode == "predict" else scores


class RandomShift(nn.Module):
    """Shifts each image by up to one pixel: batch augmentation is any module that takes a batch and returns one."""

    def forward(self, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = data
        count, _, height, width = images.shape
        y = torch.arange(height)[None, :, None] + torch.randint(3, (count, 1, 1))
        x = torch.arange(width)[None, None, :] + torch.randint(3, (count, 1, 1))
        which = torch.arange(count)[:, None, None]
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        return padded.permute(0, 2, 3, 1)[which, y, x].permute(0, 3, 1, 2), labels


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return 1,437 images to train on and 360 to validate with, uint8 of shape (1, 8, 8), always the same."""
    data = load_digits()
    images = torch.from_numpy((data.images * 15).astype(np.uint8))[:, None]
    labels = torch.from_numpy(data.target)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    train, val = order[:1437], order[1437:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[val], labels[val])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small residual network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--work-dir", default="work_dirs/digits")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    train, val = digits()
    preprocessor = dict(
        type="ImgDataPreprocessor",
        mean=[73.0],
        std=[90.0],
        augments=[RandomShift(), dict(type="MixUp", alpha=0.2, num_classes=10)],
    )
    runner = Runner(
        model=dict(type=DigitNet, data_preprocessor=preprocessor),
        work_dir=args.work_dir,
        train_dataloader=dict(dataset=train, batch_size=32, shuffle=True, collate_fn="default_collate"),
        train_cfg=dict(by_epoch=True, max_epochs=args.epochs),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-3, nesterov=True)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=args.epochs, convert_to_iter_based=True),
        val_dataloader=dict(dataset=val, batch_size=180, collate_fn="default_collate"),
        val_cfg=dict(),
        val_evaluator=dict(type="Accuracy"),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2, save_best="accuracy/top1")
        ),
        randomness=dict(seed=args.seed),
        resume="auto",
    )
    runner.train()


if __name__ == "__main__":
    main()
