"""What a report of a bug should say about the machine and the software."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._version import __version__

__all__ = ["collect_env"]

_LIBRARIES = {
    "NumPy": "numpy",
    "TorchVision": "torchvision",
    "torchmetrics": "torchmetrics",
    "OpenCV": "opencv-python",
    "fsspec": "fsspec",
    "matplotlib": "matplotlib",
    "MMEngine": "mmengine",
}


def collect_env() -> dict[str, Any]:
    """Return versions, devices and compilers by name, for a log or a report of a bug.

    Nothing is computed on a device, and a library that is not installed is left out.

    >>> collect_env()["Python"] == sys.version.replace("\\n", "")
    True
    """
    import torch

    found: dict[str, Any] = {
        "sys.platform": sys.platform,
        "Platform": platform.platform(),
        "Python": sys.version.replace("\n", ""),
        "CPUs": _usable_cpus(),
        "CUDA available": torch.cuda.is_available(),
        **_devices(torch),
        **_compilers(),
        "PyTorch": torch.__version__,
        "PyTorch compiling details": torch.__config__.show(),
        "PyTorch threads": torch.get_num_threads(),
        "BLAS": _blas(torch),
    }
    for name, package in _LIBRARIES.items():
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(package)
    commit = _commit_of(Path(__file__).parent)
    found["mainspring"] = f"{__version__}+{commit}" if commit else __version__
    here = _commit_of(Path.cwd())
    if here:
        found["Commit of this directory"] = here
    return found


def _usable_cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _devices(torch: Any) -> dict[str, Any]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return {}
    count = torch.accelerator.device_count()
    name_of = getattr(torch.get_device_module(accelerator), "get_device_name", None)
    by_name: dict[str, list[str]] = {}
    for index in range(count):
        by_name.setdefault(name_of(index) if name_of else str(accelerator), []).append(str(index))
    kind = "GPU" if accelerator.type == "cuda" else accelerator.type.upper()
    found: dict[str, Any] = {f"{kind} {','.join(indices)}": name for name, indices in by_name.items()}
    if accelerator.type == "cuda":
        found["CUDA of PyTorch"] = torch.version.cuda or torch.version.hip
        found["cuDNN"] = torch.backends.cudnn.version()
    return found


def _compilers() -> dict[str, str]:
    found = {}
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home:
        found["CUDA_HOME"] = home
    for name, program, line in (("NVCC", "nvcc", -1), ("GCC", "gcc", 0)):
        text = _output(program, "--version").splitlines()
        if text:
            found[name] = text[line]
    return found


def _blas(torch: Any) -> str:
    details = torch.__config__.show()
    return next((name for name in ("MKL", "OpenBLAS", "Accelerate", "BLIS") if name.lower() in details.lower()), "?")


def _commit_of(folder: Path) -> str:
    return _output("git", "-C", str(folder), "rev-parse", "--short", "HEAD").strip()


def _output(program: str, *arguments: str) -> str:
    """Return what a program prints; nothing where it is not there, fails, or takes long."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
