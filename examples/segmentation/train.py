"""Semantic segmentation: a small U-Net finds discs, squares and triangles in pictures that are drawn while it trains.

    python examples/segmentation/train.py [--epochs 12] [--work-dir work_dirs/segmentation]

Afterwards it loads the best checkpoint, and draws what the model predicts in predictions.png. Stop it, or kill it, and
run it again: it goes on, and ends with the same bits.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import mainspring
from mainspring import DATASETS, MODELS, BaseModel, Config, Runner

CLASSES = ("background", "disc", "square", "triangle")
SIZE = 48


def draw_picture() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture with one to four shapes, (SIZE, SIZE, 3), and the class of each pixel, (SIZE, SIZE).

    Colours say nothing of the class, and the picture is noisy. Numbers are drawn from NumPy's global generator.
    """
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    slope = np.random.uniform(-1, 1, 2)
    shade = (slope[0] * x + slope[1] * y)[..., None]
    picture = np.random.uniform(60, 200, 3) + shade
    classes = np.zeros((SIZE, SIZE), np.uint8)
    for _ in range(np.random.randint(1, 5)):
        kind = np.random.randint(1, len(CLASSES))
        radius, angle = np.random.uniform(5, 11), np.random.uniform(0, 2 * np.pi)
        right, down = (grid - np.random.uniform(6, SIZE - 6) for grid in (x, y))
        u, v = np.cos(angle) * right - np.sin(angle) * down, np.sin(angle) * right + np.cos(angle) * down
        if kind == 1:
            inside = np.hypot(u, v) < radius
        elif kind == 2:
            inside = np.maximum(abs(u), abs(v)) < 0.85 * radius
        else:
            inside = np.maximum(-v, 0.5 * v + 0.866 * abs(u)) < 0.6 * radius
        colour = np.random.uniform(0, 255, 3)
        picture[inside] = colour + 0.5 * shade[inside]
        classes[inside] = kind
    picture += np.random.normal(0, 12, picture.shape)
    return picture.clip(0, 255).astype(np.uint8), classes


@DATASETS.register_module()
class Shapes(Dataset[Any]):
    """Pictures and their classes: new ones in each epoch, or always the same for a ``seed``.

    The engine seeds the global generators for each sample, by its place in the run: so pictures drawn from them are new
    in each epoch, and yet a run that was killed goes on with those that it would have had.
    """

    metainfo: ClassVar = dict(classes=CLASSES)  # by which the metric names them

    def __init__(self, count: int, seed: int | None = None) -> None:
        self.count = count
        self.fixed: list[tuple[Tensor, Tensor]] = []
        if seed is not None:
            before = np.random.get_state()
            np.random.seed(seed)
            self.fixed = [self.sample() for _ in range(count)]
            np.random.set_state(before)

    def sample(self) -> tuple[Tensor, Tensor]:
        picture, classes = draw_picture()
        return torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(classes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.fixed[index] if self.fixed else self.sample()


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    def conv(channels: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(*conv(inputs), *conv(outputs))


@MODELS.register_module()
class SmallUNet(BaseModel):
    """Ronneberger et al., "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015; three levels.

    Args:
        width: Channels of the first level; each further one has twice as many.
        data_preprocessor: As of any model.
    """

    def __init__(self, width: int = 12, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(double_conv(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(double_conv(a + b, a) for a, b in itertools.pairwise(widths))
        self.head = nn.Conv2d(width, len(CLASSES), 1)

    def forward(self, images: Tensor, classes: Any = None, mode: str = "tensor") -> Any:
        levels: list[Tensor] = []
        x = images
        for block in self.down:
            x = block(F.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for block, beside in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            x = block(torch.cat([beside, F.interpolate(x, scale_factor=2.0)], dim=1))
        scores: Tensor = self.head(x)
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, classes.long())}
        return (scores, classes) if mode == "predict" else scores


def config(epochs: int, work_dir: str, seed: int) -> Config:
    """Return the configuration: names and numbers only, so that each checkpoint keeps what its model is made of."""
    return Config(
        dict(
            model=dict(
                type="SmallUNet",
                data_preprocessor=dict(type="ImgDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3),
            ),
            work_dir=work_dir,
            train_dataloader=dict(
                dataset=dict(type="Shapes", count=1024),
                batch_size=16,
                shuffle=True,
                drop_last=True,
                collate_fn="default_collate",
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01, weight_decay=0.01), clip_grad=dict(max_norm=1.0)),
            param_scheduler=dict(type="OneCycleLR", eta_max=0.01, total_steps=epochs, convert_to_iter_based=True),
            val_dataloader=dict(
                dataset=dict(type="Shapes", count=256, seed=1), batch_size=64, collate_fn="default_collate"
            ),
            val_cfg=dict(),
            val_evaluator=dict(type="MeanIoU", num_classes=len(CLASSES), per_class=True),
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=64),
                checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2, save_best="mIoU"),
            ),
            custom_hooks=[
                dict(type="EMAHook", momentum=0.01)
            ],  # the average is what is validated, and kept as the best
            randomness=dict(seed=seed),
            resume="auto",
        )
    )


@torch.no_grad()
def draw_predictions(checkpoint: Path, file: Path) -> None:
    """Draw pictures, their classes, and what the model of a checkpoint predicts."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("No picture of the predictions: it needs matplotlib, as pip install 'mainspring[plot]' brings it.")
        return
    model = mainspring.load_model(checkpoint)
    pictures, classes = (torch.stack(column) for column in zip(*Shapes(6, seed=2).fixed, strict=True))
    scores, _ = model.test_step((pictures, classes))
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    rows = (pictures.permute(0, 2, 3, 1), classes, scores.argmax(1))
    for line, title, images in zip(figure.subplots(3, 6), ("picture", "classes", "predicted"), rows, strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, cmap="viridis", vmin=0, vmax=len(CLASSES) - 1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(title)
    figure.savefig(file, dpi=60)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small U-Net to find shapes.")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--work-dir", default="work_dirs/segmentation")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    Runner.from_cfg(config(args.epochs, args.work_dir, args.seed)).train()
    work_dir = Path(args.work_dir)
    (best,) = work_dir.glob("best_mIoU_*.pth")
    draw_predictions(best, work_dir / "predictions.png")


if __name__ == "__main__":
    main()
