"""What a run finds or fixes once, before anything is built."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..device import default_device, make_current, usable_device
from ..dist import broadcast_object_list, found_launcher, get_dist_info, init_dist, is_distributed
from ..logging import print_log
from ..utils import Stream, did_you_mean, explaining, mix, options_from, seed_generators
from .options import DistCfg, EnvCfg, MpCfg, Randomness

__all__ = ["Environment"]

_LAUNCHERS = ("auto", "none", "pytorch", "slurm", "mpi")


@dataclass(frozen=True)
class Environment:
    """Seed, device, directories and place among the processes of a run."""

    work_dir: Path
    timestamp: str
    seed: int
    diff_rank_seed: bool
    deterministic: bool
    sample_seeding: bool
    running_streams: bool
    saves_on_usr1: bool
    channels_last: bool
    device: torch.device
    launcher: str
    rank: int
    world_size: int

    @classmethod
    def make(
        cls,
        work_dir: str | os.PathLike[str],
        randomness: Mapping[str, Any] | Randomness | None,
        env_cfg: Mapping[str, Any] | EnvCfg | None,
        launcher: str,
        earlier_seed: Callable[[], int | None],
    ) -> Environment:
        """Check the options, and set what is global in a process.

        Args:
            work_dir: Where a run leaves its files; made where missing.
            randomness: See :class:`Randomness`.
            env_cfg: See :class:`EnvCfg`.
            launcher: What has started the processes; see :class:`~mainspring.Runner`.
            earlier_seed: Returns the seed of the run that is resumed, if any; asked where ``randomness`` has none.
        """
        random_options = options_from(Randomness, randomness, "randomness")
        options = options_from(EnvCfg, env_cfg, "env_cfg")
        launcher = _join(launcher, options)
        directory = Path(work_dir).expanduser().absolute()
        with explaining("The work_dir cannot be made", directory):
            directory.mkdir(parents=True, exist_ok=True)
        rank, world_size = get_dist_info()
        chosen = random_options.seed if random_options.seed is not None else earlier_seed()
        seed = int(np.random.randint(2**31)) if chosen is None else chosen
        agreed: list[Any] = [time.strftime("%Y%m%d_%H%M%S"), seed]  # of the first process: clocks differ
        broadcast_object_list(agreed)
        environment = cls(
            work_dir=directory,
            timestamp=agreed[0],
            seed=agreed[1],
            diff_rank_seed=random_options.diff_rank_seed,
            deterministic=random_options.deterministic,
            sample_seeding=random_options.sample_seeding,
            running_streams=random_options.running_streams,
            saves_on_usr1=options.on_usr1 == "save",
            channels_last=options.channels_last,
            device=_device_for(options, world_size),
            launcher=launcher,
            rank=rank,
            world_size=world_size,
        )
        _set_up_process(options, environment)
        return environment

    def seed_initialisation(self, phase: int = 0) -> None:
        """Seed the generators for building (0) or initialising (1) the model."""
        rank = self.rank if self.diff_rank_seed else 0
        seed_generators(mix(Stream.INIT, self.seed, rank, phase), self.device)


def _join(launcher: str, options: EnvCfg) -> str:
    """Join the processes of the run, unless somebody has done so or there is only one; return what started them."""
    if launcher not in _LAUNCHERS:
        meant = " torchrun is called 'pytorch'." if launcher == "torchrun" else did_you_mean(str(launcher), _LAUNCHERS)
        raise ValueError(
            f"launcher={launcher!r}: there is no such launcher.{meant} The launchers are: {', '.join(_LAUNCHERS)}."
        )
    found = found_launcher()
    if launcher == "auto":
        launcher = found
    elif launcher == "none" and found != "none" and not is_distributed():
        print_log(
            f"This process is one of several that {_STARTERS[found]} has started, but with launcher='none' it trains by"
            f" itself, and so does each of the others. Leave launcher out, or pass launcher={found!r}, for one run of"
            " all.",
            "current",
            logging.WARNING,
        )
    if launcher == "none" or is_distributed():
        return launcher
    dist_cfg = options_from(DistCfg, options.dist_cfg, "env_cfg.dist_cfg")
    given = {"timeout": dist_cfg.timeout, "port": dist_cfg.port, "init_method": dist_cfg.init_method}
    init_dist(
        launcher,
        _backend(dist_cfg.backend, options.device),
        **{name: value for name, value in given.items() if value is not None},
    )
    return launcher


_STARTERS = {"pytorch": "torchrun", "slurm": "srun", "mpi": "mpirun"}


def _backend(chosen: str | None, device: str | None) -> str | None:
    """Return the backend that a user has chosen, or gloo where the run is on the CPU and that cannot serve it."""
    kind = (device or default_device().type).partition(":")[0]
    if kind != "cpu":
        return chosen
    if chosen in ("nccl", "xccl", "hccl", "cncl", "mccl"):
        message = f"env_cfg.dist_cfg.backend is {chosen!r}, but this run is on the CPU: it takes 'gloo'."
        print_log(message, "current", logging.WARNING)
        return "gloo"
    return chosen or "gloo"


def _device_for(options: EnvCfg, world_size: int) -> torch.device:
    if not options.device:
        return default_device()
    device = usable_device(options.device, "env_cfg.device")
    if device.index is not None and device.type != "cpu" and world_size > 1:
        raise ValueError(
            f"env_cfg.device is {options.device!r}, but this run has {world_size} processes, each of which needs a"
            f" device of its own. Write {device.type!r}: a process takes the one of its LOCAL_RANK."
        )
    return device


# What torch has one of in a process: how to read it, and how to set it.
_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "deterministic algorithms": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "cudnn.deterministic": (
        lambda: torch.backends.cudnn.deterministic,
        lambda value: setattr(torch.backends.cudnn, "deterministic", value),
    ),
    "cudnn.benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
    "matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
}
_RAISING = 2
"""torch's number for an error where an operation is not deterministic."""
_user_settings: dict[str, Any] = {}
"""The user's values of the settings that the latest run changed."""


def _set(name: str, value: Any) -> None:
    read, write = _SETTINGS[name]
    before = read()
    if before != value:
        _user_settings[name] = before
        write(value)


def _restore_settings() -> None:
    while _user_settings:
        name, value = _user_settings.popitem()
        _SETTINGS[name][1](value)


def _set_up_process(options: EnvCfg, environment: Environment) -> None:
    make_current(environment.device)
    cudnn = torch.backends.cudnn
    _restore_settings()  # what an earlier run of this process changed, this one need not want
    if environment.deterministic:
        if options.cudnn_benchmark or cudnn.benchmark:
            message = "cuDNN's benchmark mode is off in this run, since randomness.deterministic is on."
            print_log(message, "current", logging.WARNING)
        # cuBLAS is deterministic only with it. It stays, since it does nothing by itself.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        _set("deterministic algorithms", _RAISING)
        _set("cudnn.deterministic", True)
        _set("cudnn.benchmark", False)
    elif options.cudnn_benchmark:
        _set("cudnn.benchmark", True)
    if options.matmul_precision is not None:
        _set("matmul precision", options.matmul_precision)
    _set_up_data_loading(options_from(MpCfg, options.mp_cfg, "env_cfg.mp_cfg"))
    _raise_file_limit(options.resource_limit)


def _set_up_data_loading(mp_cfg: MpCfg) -> None:
    method = mp_cfg.mp_start_method
    methods = torch.multiprocessing.get_all_start_methods()
    if method is not None and method not in methods:
        raise ValueError(
            f"env_cfg.mp_cfg.mp_start_method is {method!r}, but this machine knows only {', '.join(methods)}."
        )
    if method is not None and torch.multiprocessing.get_start_method(allow_none=True) != method:
        torch.multiprocessing.set_start_method(method, force=True)
    threads = mp_cfg.opencv_num_threads
    if threads is not None:
        try:
            import cv2  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return  # no OpenCV, no threads of it
        cv2.setNumThreads(threads)


def _raise_file_limit(wanted: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(wanted, hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
