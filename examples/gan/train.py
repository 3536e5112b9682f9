"""A generative adversarial network: two networks, two optimizers, and a training step of its own.

    python examples/gan/train.py [--work-dir work_dirs/gan] [--precision bfloat16] [--accumulate 2]

It learns a mixture of eight Gaussians on a circle, and draws its samples in samples.png. Stop it, or kill it, and run
it again: it goes on, and ends with the same bits.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mainspring import BaseMetric, BaseModel, OptimWrapperDict, Runner
from mainspring.hooks import EMAHook

MODES = 8
SPREAD = 0.05  # the standard deviation of each Gaussian; the circle has radius 1
LATENT = 8
BATCH = 256


def centres() -> Tensor:
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


class GAN(BaseModel):
    """Goodfellow et al., "Generative adversarial nets", 2014, with the loss that does not saturate.

    The discriminator's slope at real points is penalised, which makes the game converge: Mescheder et al., "Which
    training methods for GANs do actually converge?", ICML 2018.
    """

    def __init__(self, penalty: float = 0.02) -> None:
        super().__init__()
        self.generator = network(LATENT, 128, 2)
        self.discriminator = network(2, 128, 1)
        self.penalty = penalty

    def forward(self, latent: Tensor, mode: str = "tensor") -> Tensor:
        samples: Tensor = self.generator(latent)
        return samples

    # The wrappers are those that the runner was given: another type than that of a model with one optimizer.
    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:  # type: ignore[override]
        (real,) = self.data_preprocessor(data, True)
        latent = torch.randn(len(real), LATENT, device=real.device)

        discriminator = optim_wrapper["discriminator"]
        with discriminator.optim_context(self):
            with torch.no_grad():
                fake = self.generator(latent)
            real.requires_grad_()
            on_real, on_fake = self.discriminator(real), self.discriminator(fake)
            loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
            (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
        loss_penalty = self.penalty / 2 * slope.square().sum(1).mean()
        discriminator.update_params(loss + loss_penalty)

        # Gradients of the generator's loss run through the discriminator, and must not stay there.
        self.discriminator.requires_grad_(False)
        generator = optim_wrapper["generator"]
        with generator.optim_context(self):
            loss_generator = F.softplus(-self.discriminator(self.generator(latent))).mean()
        generator.update_params(loss_generator)
        self.discriminator.requires_grad_(True)

        return {"loss_discriminator": loss, "loss_penalty": loss_penalty, "loss_generator": loss_generator}


class Coverage(BaseMetric):
    """How many samples lie within three standard deviations of a mode, and how many modes get their share of them.

    Of samples of the mixture itself, 98.9% lie there. A mode is covered if at least a quarter of what it would get of
    those lie near it.
    """

    default_prefix = "samples"

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        self.results.extend(data_samples)

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        distance, nearest = torch.cdist(torch.stack(results).float(), centres()).min(dim=1)
        good = distance < 3 * SPREAD
        counts = torch.bincount(nearest[good], minlength=MODES)
        covered = counts >= len(results) / MODES / 4
        return {"modes": covered.sum().item(), "good": 100 * good.float().mean().item()}


def mixture(count: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(MODES, (count,), generator=generator)
    return TensorDataset(centres()[which] + SPREAD * torch.randn(count, 2, generator=generator))


def latents(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, LATENT, generator=torch.Generator().manual_seed(1)))


@torch.no_grad()
def draw(model: nn.Module, device: torch.device, file: Path) -> None:
    """Draw what a model makes, beside the data."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("No picture of the samples: it needs matplotlib, as pip install 'mainspring[plot]' brings it.")
        return
    made = model.eval()(latents(2000).tensors[0].to(device)).cpu()
    figure = Figure(figsize=(6, 3), layout="constrained")
    plots = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, title, points in zip(plots, ("data", "samples"), (mixture(2000, seed=0).tensors[0], made), strict=True):
        axes.scatter(*points.T, s=2, alpha=0.5, linewidths=0, color="tab:blue")
        axes.set(title=title, aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a generative adversarial network on eight Gaussians.")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--work-dir", default="work_dirs/gan")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--accumulate", type=int, default=1, help="iterations that give one update")
    args = parser.parse_args()

    wrapper: dict[str, Any] = dict(accumulative_counts=args.accumulate)
    if args.precision != "float32":
        wrapper.update(type="AmpOptimWrapper", dtype=args.precision)
    adam = dict(type="Adam", betas=(0.0, 0.99))
    average = EMAHook(momentum=0.005)  # of the weights: with it the run validates, and draws
    runner = Runner(
        model=dict(type=GAN),  # not an object: so its first weights follow from the seed too
        work_dir=args.work_dir,
        train_dataloader=dict(
            dataset=mixture(16384, seed=0), batch_size=BATCH, shuffle=True, collate_fn="default_collate"
        ),
        train_cfg=dict(by_epoch=True, max_epochs=args.epochs, val_interval=5),
        optim_wrapper=dict(
            generator=dict(optimizer=dict(lr=3e-3, **adam), **wrapper),
            discriminator=dict(optimizer=dict(lr=3e-3, **adam), clip_grad=dict(max_norm=10.0), **wrapper),
        ),
        param_scheduler=dict(type="LinearLR", start_factor=1.0, end_factor=0.0, convert_to_iter_based=True),
        val_dataloader=dict(dataset=latents(2000), batch_size=500, collate_fn="default_collate"),
        val_cfg=dict(),
        val_evaluator=dict(type=Coverage),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=64),
            checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2),
        ),
        custom_hooks=[average],
        randomness=dict(seed=args.seed),
        resume="auto",
    )
    runner.train()
    draw(average.ema_model, runner.device, Path(args.work_dir) / "samples.png")


if __name__ == "__main__":
    main()
