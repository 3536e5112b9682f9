"""The options of a runner: dicts from the user become these, or one error that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from ..utils import options_from

__all__ = ["AutoScaleLR", "DistCfg", "EnvCfg", "MpCfg", "Randomness"]


@dataclass(frozen=True)
class Randomness:
    """``randomness=dict(...)``."""

    seed: int | None = None
    """From which all randomness of the run follows. None draws one, which is logged and saved."""
    diff_rank_seed: bool = False
    """Whether ranks initialise and draw running streams differently."""
    deterministic: bool = False
    """Whether torch must use deterministic algorithms, which some operations lack and others are slower with."""

    sample_seeding: bool = True
    """Whether each sample's augmentation follows from the seed and its place in the stream, whatever the number of
    workers and wherever a run was stopped. Otherwise data sets draw from generators that run on, as in plain torch."""
    running_streams: bool = False
    """Whether the steps (dropout, noise, MixUp) draw from generators that run on from one step to the next, their
    states saved in checkpoints. Otherwise the generators are set at each step from seed and iteration, which is
    cheaper."""

    def __post_init__(self) -> None:
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must lie between 0 and 2**64 - 1, but it is {self.seed}.")


@dataclass(frozen=True)
class MpCfg:
    """``env_cfg.mp_cfg``: the processes that load data."""

    mp_start_method: str | None = None
    """``'fork'``, ``'spawn'`` or ``'forkserver'``, as far as the machine has them; None leaves it as it is."""
    opencv_num_threads: int | None = None
    """How many threads OpenCV may use in each process; 0 for none but its own, None leaves it as it is."""

    def __post_init__(self) -> None:
        if self.opencv_num_threads is not None and self.opencv_num_threads < 0:
            raise ValueError(f"opencv_num_threads must not be negative, but it is {self.opencv_num_threads}.")


@dataclass(frozen=True)
class DistCfg:
    """``env_cfg.dist_cfg``: how the processes of a run find each other; one process needs none of it."""

    backend: str | None = None
    """``'nccl'``, ``'gloo'`` or another that torch has."""
    timeout: float | timedelta | None = None
    """Seconds that a process waits for the others before it ends with an error."""
    port: int | None = None
    """Where the first process listens."""
    init_method: str | None = None
    """A URL by which they meet, such as ``'tcp://10.0.0.1:29500'``."""

    def __post_init__(self) -> None:
        if isinstance(self.timeout, (int, float)) and not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, but it is {self.timeout}.")
        if self.port is not None and not 0 < self.port < 2**16:
            raise ValueError(f"port must lie between 1 and {2**16 - 1}, but it is {self.port}.")


@dataclass(frozen=True)
class EnvCfg:
    """``env_cfg=dict(...)``."""

    cudnn_benchmark: bool = False
    """Let cuDNN time its convolution algorithms and take the fastest for each new shape; False leaves it as it is."""
    mp_cfg: Mapping[str, Any] = field(default_factory=dict)
    """The processes that load data; see :class:`MpCfg`."""
    dist_cfg: Mapping[str, Any] = field(default_factory=dict)
    """How processes find each other; see :class:`DistCfg`."""
    resource_limit: int = 4096
    """The number of files that the process may hold open, where the system allows it."""
    device: str | None = None
    """The device to train on, such as ``'cpu'`` or ``'cuda:1'``; by default the machine's accelerator."""
    channels_last: bool = False
    """Keep the weights of convolutions, and the images of an ``ImgDataPreprocessor``, with their channels innermost:
    many devices are faster so. Results differ by rounding."""
    matmul_precision: Literal["highest", "high", "medium"] | None = None
    """How float32 matrix products may be computed: ``'high'`` allows TF32 and the like, which are faster and less
    exact; None leaves it as it is. See :func:`torch.set_float32_matmul_precision`."""
    on_usr1: Literal["stop", "save"] = "stop"
    """What the signal SIGUSR1, which some job schedulers send ahead of the end, does in training: ``'stop'`` saves and
    ends the run, ``'save'`` saves and goes on."""

    def __post_init__(self) -> None:
        options_from(MpCfg, self.mp_cfg, "mp_cfg")
        options_from(DistCfg, self.dist_cfg, "dist_cfg")


@dataclass(frozen=True)
class AutoScaleLR:
    """``auto_scale_lr=dict(...)``."""

    base_batch_size: int
    """The batch size, over all ranks, for which the learning rate was chosen."""
    enable: bool = False
    """Whether to scale the learning rate by the real batch size over ``base_batch_size``."""

    def __post_init__(self) -> None:
        if self.base_batch_size < 1:
            raise ValueError(f"base_batch_size must be at least 1, but it is {self.base_batch_size}.")
