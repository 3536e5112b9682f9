"""Models and data that the programs of these tests share, small enough for two processes on one core."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mainspring import BaseModel


def vectors(count: int = 48, dtype: torch.dtype = torch.float32) -> TensorDataset:
    generator = torch.Generator().manual_seed(7)
    return TensorDataset(torch.randn(count, 6, generator=generator, dtype=dtype), torch.arange(count) % 3)


class Net(BaseModel):
    """Classifies vectors of 6 numbers into 3 classes."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)

    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor") -> Any:
        scores = self.layers(inputs)
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels)}
        return (scores, labels) if mode == "predict" else scores

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.layers(inputs), labels)


class Dropping(Net):
    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor") -> Any:
        return super().forward(F.dropout(inputs, 0.3, self.training), labels, mode)


class CallsForward(Net):
    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        loss, log_vars = self.parse_losses(self.forward(*data, mode="loss"))
        optim_wrapper.update_params(loss)
        return log_vars


class CallsLoss(Net):
    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        loss = self.loss(*data)
        optim_wrapper.update_params(loss)
        return {"loss": loss}


class CallsBoth(Net):
    """Two backward passes an iteration, of which only the first goes through the model's own call."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        loss = self(*data, mode="loss")["loss"]
        optim_wrapper.backward(loss)
        (0.1 * self.loss(*data)).backward()
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        return {"loss": loss}


class StepsByClosure(Net):
    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        losses = []

        def closure() -> torch.Tensor:
            optim_wrapper.zero_grad()
            loss, _ = self.parse_losses(self(*data, mode="loss"))
            optim_wrapper.backward(loss)
            losses.append(loss)
            return loss

        optim_wrapper.step(closure=closure)
        return {"loss": losses[0]}


class Branches(Net):
    """Takes one of two heads, by what the batch of this process is like."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(dtype)
        self.heads = nn.ModuleList(nn.Linear(3, 3) for _ in range(3)).to(dtype)  # the last is never used

    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor") -> Any:
        scores = self.layers(inputs)
        scores = self.heads[int(inputs.sum() > 0)](scores)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else scores


class Gan(BaseModel):
    """Calls its parts directly, each with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(2, 6)
        self.discriminator = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor") -> Any:
        return self.generator(inputs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        real, _ = data
        noise = torch.randn(len(real), 2)
        fake = self(noise)
        real_score, fake_score = self.discriminator(real), self.discriminator(fake.detach())
        d_loss = F.softplus(-real_score).mean() + F.softplus(fake_score).mean()
        optim_wrapper["discriminator"].update_params(d_loss)
        self.discriminator.requires_grad_(False)
        g_loss = F.softplus(-self.discriminator(self.generator(noise))).mean()
        self.discriminator.requires_grad_(True)
        optim_wrapper["generator"].update_params(g_loss)
        return {"d_loss": d_loss, "g_loss": g_loss}
