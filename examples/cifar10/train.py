"""CIFAR-10 and ResNet-50, as the model tutorial has it.

python examples/cifar10/train.py --data-root DIR [--epochs 5] [--work-dir work_dirs/cifar10]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from data import cifar10
from resnet import resnet50
from torch import Tensor, nn
from torch.nn import functional as F

from mainspring import BaseModel, Runner


class MMResNet50(BaseModel):
    def __init__(self, data_preprocessor: dict[str, Any] | None = None) -> None:
        super().__init__(data_preprocessor)
        self.resnet = resnet50(num_classes=10)  # torchvision.models.resnet50 fits here as well

    def forward(self, imgs: Tensor, labels: Tensor, mode: str) -> Any:
        x = self.resnet(imgs)
        if mode == "loss":
            return {"loss": F.cross_entropy(x, labels)}
        return (x, labels) if mode == "predict" else x


class RandomCropAndFlip(nn.Module):
    """Pads by 4 and crops at a random place, the same for the batch; mirrors every other image at random."""

    def forward(self, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = data
        top, left = (int(i) for i in torch.randint(9, (2,)))
        height, width = images.shape[-2:]
        images = F.pad(images, (4, 4, 4, 4))[..., top : top + height, left : left + width]
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return torch.where(mirrored, images.flip(-1), images), labels


def main() -> None:
    parser = argparse.ArgumentParser(description="Train ResNet-50 on CIFAR-10.")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--work-dir", default="work_dirs/cifar10")
    args = parser.parse_args()

    loader = dict(batch_size=args.batch_size, collate_fn="default_collate")
    runner = Runner(
        model=MMResNet50(
            dict(
                type="ImgDataPreprocessor",
                mean=[125.3, 123.0, 113.9],
                std=[63.0, 62.1, 66.7],
                augments=[RandomCropAndFlip()],
            )
        ),
        work_dir=args.work_dir,
        train_dataloader=dict(dataset=cifar10(args.data_root, train=True), shuffle=True, **loader),
        train_cfg=dict(by_epoch=True, max_epochs=args.epochs, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.001, momentum=0.9)),
        val_dataloader=dict(dataset=cifar10(args.data_root, train=False), **loader),
        val_cfg=dict(),
        val_evaluator=dict(type="Accuracy"),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, save_best="accuracy/top1")),
        resume="auto",
    )
    runner.train()


if __name__ == "__main__":
    main()
