"""Where a run's scalars, images and configuration are kept."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..registry import VISBACKENDS
from ..utils import explaining, require
from .scalars_file import ScalarsFile

__all__ = ["BaseVisBackend", "LocalVisBackend", "TensorboardVisBackend"]


class BaseVisBackend(ABC):
    """Keeps what a run gives it. A subclass implements what it can keep; the rest is ignored.

    Args:
        save_dir: Directory of what is kept. Nothing is made in it before there is something to keep.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        self._save_dir = Path(save_dir)

    @property
    @abstractmethod
    def experiment(self) -> Any:
        """The object behind this one, for what has no method here."""

    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Keep the configuration of the run."""

    def add_image(self, name: str, image: np.ndarray[Any, Any], step: int = 0, **kwargs: Any) -> None:
        """Keep an image: uint8 of shape (H, W, 3) in the order red, green, blue, or of shape (H, W)."""

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Keep a scalar."""

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Keep several scalars of one step."""

    def rewind(self, iteration: int, validated: bool = True) -> None:
        """Drop what belongs to later iterations: the run goes on from the end of ``iteration``.

        Args:
            iteration: How many iterations are done.
            validated: Whether the results of a validation after them stay; otherwise it is made once more.
        """

    def set_aside(self) -> None:
        """Make room for a run that begins anew where an earlier one has left its scalars."""

    def close(self) -> None:
        """Write what is not written yet, and let files go. What comes afterwards is still kept."""


@VISBACKENDS.register_module()
class LocalVisBackend(BaseVisBackend):
    """Keeps everything in plain files.

    The scalars are JSON lines, one record for each call, readable even when the run is killed; NaN and the
    infinities stand there as strings, see :func:`read_scalars`.

    Args:
        save_dir: Directory of the files.
        img_save_dir: Directory of the images in it; they are called ``<name>_<step>.png``.
        config_save_file: Name of the configuration, ``*.py``.
        scalar_save_file: Name of the scalars, ``*.jsonl`` or ``*.json``.

    Raises:
        ValueError: A file name ends in something else.

    >>> import tempfile
    >>> backend = LocalVisBackend(tempfile.mkdtemp())
    >>> backend.add_scalars({"loss": 0.5, "iter": 10})
    >>> backend.scalars_path.read_text()
    '{"loss": 0.5, "iter": 10, "step": 0}\\n'
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        img_save_dir: str = "vis_image",
        config_save_file: str = "config.py",
        scalar_save_file: str = "scalars.jsonl",
    ) -> None:
        super().__init__(save_dir)
        self._img_save_dir = self._save_dir / img_save_dir
        self._config_save_file = self._file("config_save_file", config_save_file, ".py")
        self._scalars = ScalarsFile(self._file("scalar_save_file", scalar_save_file, ".jsonl", ".json"))
        self._further: dict[Path, ScalarsFile] = {}

    @property
    def experiment(self) -> LocalVisBackend:
        """This object."""
        return self

    @property
    def scalars_path(self) -> Path:
        """The file of the scalars."""
        return self._scalars.path

    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the configuration as Python, which :class:`~mainspring.Config` reads; an object is its ``repr``.

        Raises:
            TypeError: ``config`` is no mapping.
        """
        if not isinstance(config, Mapping):
            raise TypeError(f"config must be a dict or Config, got {config!r} ({type(config).__name__}).")
        from ..config import config_text  # here, as runs without one do without the package

        text = config_text(config)
        with explaining("The configuration cannot be written", self._config_save_file):
            self._config_save_file.parent.mkdir(parents=True, exist_ok=True)
            self._config_save_file.write_text(text, encoding="utf-8")

    def add_image(self, name: str, image: np.ndarray[Any, Any], step: int = 0, **kwargs: Any) -> None:
        """Write an image; ``/`` in its name makes directories.

        Raises:
            ValueError: It is not uint8 of shape (H, W, 3), red, green, blue, or (H, W).
        """
        _check_image(name, image)
        pillow = require("PIL.Image", extra="plot", purpose="Writing an image")
        path = self._img_save_dir / f"{name}_{step}.png"
        with explaining("The image cannot be written", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            pillow.fromarray(image).save(path)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a record of one scalar and its step."""
        self._scalars.append({name: value, "step": step})

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write a record.

        Args:
            scalar_dict: The record; ``step`` is added unless it is in it.
            step: The step.
            file_path: Write it to this file, too (``*.jsonl`` or ``*.json``, in ``save_dir``).

        Raises:
            ValueError: ``file_path`` is the file of the scalars, or ends in something else.
            TypeError: A value cannot be written as JSON.
        """
        record = {**scalar_dict, "step": scalar_dict.get("step", step)}
        self._scalars.append(record)
        if file_path is not None:
            path = self._file("file_path", file_path, ".jsonl", ".json")
            if path == self._scalars.path:
                raise ValueError(f"file_path {file_path!r} is the file of all scalars: name another one.")
            self._further.setdefault(path, ScalarsFile(path)).append(record)

    def rewind(self, iteration: int, validated: bool = True) -> None:
        """Drop the records of later iterations from the file of the scalars (not from any ``file_path``)."""
        self._scalars.rewind(iteration, validated)

    def set_aside(self) -> None:
        """Keep the scalars of the earlier run in a file named after its time."""
        self._scalars.set_aside()

    def close(self) -> None:
        """Close the files; a later record opens them again."""
        for file in (self._scalars, *self._further.values()):
            file.close()

    def _file(self, argument: str, name: str, *suffixes: str) -> Path:
        path = self._save_dir / name
        if path.suffix not in suffixes:
            raise ValueError(f"{argument} must end in {' or '.join(suffixes)}, got {name!r}.")
        return path


@VISBACKENDS.register_module()
class TensorboardVisBackend(BaseVisBackend):
    """Writes event files for TensorBoard (extra ``tensorboard``).

    Args:
        save_dir: Directory of the event files.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__(save_dir)
        require("tensorboard", extra="tensorboard", purpose="TensorboardVisBackend")
        self._writer: Any = None
        self._purge_step: int | None = None

    @property
    def experiment(self) -> Any:
        """The ``SummaryWriter``."""
        if self._writer is None:
            tensorboard = importlib.import_module("torch.utils.tensorboard")
            self._writer = tensorboard.SummaryWriter(str(self._save_dir), purge_step=self._purge_step)
        return self._writer

    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Show the configuration as a text."""
        from ..config import config_text

        self.experiment.add_text("config", f"```\n{config_text(config)}```")

    def add_image(self, name: str, image: np.ndarray[Any, Any], step: int = 0, **kwargs: Any) -> None:
        """Show an image: uint8 of shape (H, W, 3) in the order red, green, blue, or of shape (H, W)."""
        _check_image(name, image)
        self.experiment.add_image(name, image, step, dataformats="HWC" if image.ndim == 3 else "HW")

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Show a number; of anything else nothing is kept."""
        if isinstance(value, (int, float, np.number)) or (isinstance(value, torch.Tensor) and value.numel() == 1):
            self.experiment.add_scalar(name, value, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Show every number of a record, at its ``step`` if it has one."""
        step = scalar_dict.get("step", step)
        for name, value in scalar_dict.items():
            if name != "step":
                self.add_scalar(name, value, step)

    def rewind(self, iteration: int, validated: bool = True) -> None:
        """Tell TensorBoard to hide what was written for later steps."""
        self.close()
        self._purge_step = iteration + 1

    def close(self) -> None:
        """Close the event file; what comes later goes to a new one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _check_image(name: str, image: Any) -> None:
    fits = isinstance(image, np.ndarray) and image.dtype == np.uint8
    if not fits or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        what = f"a {type(image).__name__}"
        if isinstance(image, np.ndarray):
            what = f"{image.dtype} of shape {image.shape}"
        raise ValueError(f"The image {name!r} must be a uint8 array of shape (H, W, 3) or (H, W), got {what}.")
