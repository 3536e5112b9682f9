"""A model from a checkpoint alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoint import load_weights, read_checkpoint
from ..config import Config
from ..device import usable_device
from ..registry import MODELS, DefaultScope, RegistryError
from ..runner.build import build_model
from ..utils import RegisteredName, check_type, did_you_mean
from .config_as_data import config_of, model_names

if TYPE_CHECKING:
    from ..model import BaseModel

__all__ = ["as_config", "built_model", "load_model"]


def load_model(
    checkpoint: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    trust: bool = False,
    cfg: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    strict: bool = True,
) -> BaseModel:
    """Return the model of a checkpoint with its weights, ready to predict: in evaluation mode, on a device.

    It is built from the configuration that the checkpoint keeps, which is there if the run was made by
    ``Runner.from_cfg`` or with ``cfg=...``. By default nothing in the file is run: the configuration is read as data,
    and the classes that it names must be registered already, so import the modules that do so first.

    The weights are those under ``state_dict``: of a run with an :class:`~mainspring.hooks.EMAHook` the averaged ones,
    and also of its best and published checkpoints. A file of weights alone needs ``cfg``.

    Args:
        checkpoint: A checkpoint of mainspring or MMEngine, or a file of weights, ``.safetensors`` too; a path or URL.
        device: Where the model goes.
        trust: RUN CODE that the file names: unpickle objects of any class, import the classes and modules that the
            configuration names by their paths, and run it where it is a program. Only for files whose author you trust
            as you trust a program of theirs.
        cfg: The configuration in place of the kept one: the path of a file, a whole configuration, or that of the model
            alone, ``dict(type='ResNet', depth=50)``.
        strict: Names and shapes of the weights must be exactly the model's. Otherwise what fits is loaded, and a
            warning names the rest.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged or unsafe, or its weights do not fit.
        ValueError: It keeps no configuration, or one that needs ``trust``; or the device is not here.
        KeyError: A class that the configuration names is not registered.

    >>> model = mainspring.load_model("work_dirs/digits/best_accuracy_top1_epoch_9.pth")  # doctest: +SKIP
    """
    check_type(trust, bool, "load_model: trust")
    there = usable_device(str(device), "load_model: device")
    content = read_checkpoint(checkpoint, "cpu", trust=trust)
    name = os.fspath(checkpoint)
    config = config_of(content, name, trust) if cfg is None else as_config(cfg, "load_model: cfg")
    model = built_model(config, there, name if cfg is None else "cfg")
    load_weights(model, content, strict=strict, source=repr(name))
    return model


def as_config(cfg: Any, path: str) -> Config:
    """Return a configuration that was given as a file, as a whole, or as that of a model alone.

    Raises:
        TypeError: It is none of these.
        ValueError: It has no model.
    """
    check_type(cfg, str | os.PathLike | Mapping, path)
    whole: Config = Config(cfg) if isinstance(cfg, Mapping) else Config.fromfile(cfg)
    if "model" not in whole and "type" in whole:
        whole = Config({"model": whole})
    if "model" not in whole:
        raise ValueError(
            f"{path} has no 'model', from which one could be built.{did_you_mean('model', whole)} Pass a whole"
            " configuration, or that of the model, such as dict(type='ResNet', depth=50)."
        )
    return whole


def built_model(cfg: Mapping[str, Any], device: torch.device, source: str, scope: str | None = None) -> BaseModel:
    """Return the model that a configuration describes, in evaluation mode.

    What the configuration names as ``pretrained`` is left out, as the weights come from elsewhere.

    Args:
        cfg: The whole configuration; names are looked up in its ``default_scope``.
        device: Where the model goes.
        source: Where the configuration is from, for messages.
        scope: The scope in place of that of the configuration.

    Raises:
        KeyError: A class is not registered.
    """
    described = {key: value for key, value in cfg["model"].items() if key != "pretrained" or value is None}
    preprocessor = cfg.get("data_preprocessor")
    with DefaultScope.overwrite_default_scope(scope or cfg.get("default_scope")):
        try:
            model = build_model(described, preprocessor, device)
        except RegistryError as error:
            missing = [repr(str(name)) for name in model_names([described, preprocessor]) if _is_missing(name)]
            if not missing:
                raise
            raise RegistryError(
                f"The model in {source!r} cannot be built: {', '.join(missing)}"
                f" {'is' if len(missing) == 1 else 'are'} not registered, and for a checkpoint nothing is imported."
                " Import what registers it first; or pass trust=True, by which what the file names is imported, if you"
                " trust whoever made it."
            ) from error
    return model.eval()


def _is_missing(name: str) -> bool:
    return isinstance(name, RegisteredName) and MODELS.get(name) is None
