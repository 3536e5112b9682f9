"""Reading checkpoints, without ever running what is in them."""

from __future__ import annotations

import logging
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from logging import Logger
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..logging import print_log
from ..utils import nearest
from .stand_ins import STAND_INS, without_stand_ins

__all__ = [
    "CheckpointError",
    "find_latest_checkpoint",
    "load_checkpoint",
    "load_state_dict",
    "load_weights",
    "read_checkpoint",
]

MapLocation = str | torch.device | dict[str, str] | Callable[..., Any] | None


class CheckpointError(ValueError):
    """A checkpoint that is damaged, not one at all, or does not fit the model."""


def read_checkpoint(
    filename: str | os.PathLike[str], map_location: MapLocation = "cpu", *, trust: bool = False
) -> dict[str, Any]:
    """Read a checkpoint file into a dict.

    Files of MMEngine are read as safely, and without it: NumPy's arrays and numbers are rebuilt from their bytes, and
    the histories of its message hub come as the dicts that :class:`~mainspring.logging.MessageHub` loads.

    Args:
        filename: A local path to what :func:`save_checkpoint`, ``torch.save`` or MMEngine wrote.
        map_location: As for ``torch.load``.
        trust: Unpickle objects of any class, which RUNS CODE that the file names. Only for files whose author
            you trust as you trust a program of theirs.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, holds objects that are not plain, or is no dict.
    """
    path = Path(filename)
    if not path.is_file():
        beside = nearest(path.name, [p.name for p in path.parent.glob("*.pth")]) if path.parent.is_dir() else []
        hint = f" Beside it lies {beside[0]!r}." if beside else ""
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.{hint}")
    verified = _check_whole(path)
    try:
        # Empty bytes are pickled by their class, which torch left out.
        with torch.serialization.safe_globals([(bytes, "builtins.bytes"), *STAND_INS]):
            checkpoint = torch.load(path, map_location=map_location, weights_only=not trust)
        checkpoint = without_stand_ins(checkpoint)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_not_plain(path, str(error))) from error
    except Exception as error:  # a damaged file of the old format fails in any way
        guess = "" if verified else " It is damaged, or was not written by torch.save."
        raise CheckpointError(
            f"{str(path)!r} cannot be read as a checkpoint: {type(error).__name__}: {error}.{guess}"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(
            f"{str(path)!r} holds a {type(checkpoint).__name__}, but a checkpoint is a dict, of weights or with"
            " the key 'state_dict'."
        )
    return dict(checkpoint)


def _not_plain(path: Path, refusal: str) -> str:
    """Say what torch refused; its own text goes on for lines about how to allow it."""
    advice = (
        "If you trust where the file comes from, read it once with read_checkpoint(file, trust=True) of"
        " mainspring.checkpoint, and write its weights to a file that is plain:"
        " save_checkpoint({'state_dict': checkpoint['state_dict']}, new_file). Then load that."
    )
    named = re.search(r"(?:GLOBAL|global|class) ([\w.]+)", refusal)
    if named:
        return f"{str(path)!r} holds an object of {named[1]}, and building it would run code from the file. {advice}"
    reason = re.search(r"WeightsUnpickler error:\s*(.+)", refusal)
    detail = f": {reason[1].strip()}" if reason else ""
    return f"{str(path)!r} cannot be read as plain data{detail}. {advice}"


def _check_whole(path: Path) -> bool:
    """Check lengths and the checksum of every entry; return False where the format has none."""
    with path.open("rb") as file:
        start = file.read(4)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        elif start == b"PK\x03\x04" or not start:
            raise ValueError("it is cut short, its end is missing")
        elif not start.startswith(b"\x80"):  # as every pickle does, torch's format before 1.6
            raise ValueError(f"it begins with {start!r}, so torch.save did not write it")
        else:
            return False
    except Exception as error:  # flipped bits make it look compressed, encrypted, of several disks, ...
        raise CheckpointError(f"{str(path)!r} is damaged: {error}. Use an older checkpoint.") from error
    if damaged is not None:
        raise CheckpointError(
            f"{str(path)!r} is damaged: the checksum of its entry {damaged!r} is wrong. Use an older checkpoint."
        )
    return True


def load_state_dict(
    module: nn.Module,
    state_dict: Mapping[str, Any],
    strict: bool = False,
    logger: Logger | str | None = None,
    *,
    source: str = "the state dict",
) -> None:
    """Load weights into a module.

    Args:
        module: Receives the weights.
        state_dict: Its weights by name.
        strict: Names and shapes must agree exactly. Otherwise what fits is loaded, and one warning lists the
            missing and the unexpected names and the shapes that differ.
        logger: Where the warning goes, as for ``print_log``.
        source: What the weights come from, for messages.

    Raises:
        CheckpointError: ``strict`` and something differs; or not one name fits.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state_dict]
    unexpected = [key for key in state_dict if key not in own]
    wrong_shape = {
        key: f"{key}: {_shape(state_dict[key])} given, {_shape(value)} expected"
        for key, value in own.items()
        # A parameter of a lazy module takes the shape that it is given.
        if key in state_dict
        and isinstance(value, torch.Tensor)
        and not is_lazy(value)
        and _shape(state_dict[key]) != _shape(value)
    }
    findings = [
        f"{title} ({len(names)}): {', '.join(names)}"
        for title, names in (
            ("missing", missing),
            ("not in the model", unexpected),
            ("other shapes", wrong_shape.values()),
        )
        if names
    ]
    report = f"The weights in {source} do not fit {type(module).__name__}.\n  " + "\n  ".join(findings)
    if findings and strict:
        raise CheckpointError(f"{report}\nLoad what fits with strict=False, or rename keys with revise_keys.")
    if own and len(missing) == len(own):
        raise CheckpointError(
            f"{report}\nNot one name fits. If only a prefix differs, rename keys with"
            " revise_keys=[(pattern, replacement)]."
        )
    if findings:
        print_log(report, logger=logger, level=logging.WARNING)
    fitting = {key: value for key, value in state_dict.items() if key not in wrong_shape}
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is not None:
        fitting = _WithMetadata(fitting, metadata)
    module.load_state_dict(fitting, strict=False)


def _shape(value: Any) -> tuple[int, ...] | str:
    if is_lazy(value):
        return "a tensor without a shape yet"
    return tuple(value.shape) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"


class _WithMetadata(dict[str, Any]):
    """A state dict with the version numbers that modules leave in one."""

    def __init__(self, items: Mapping[str, Any], metadata: Any) -> None:
        super().__init__(items)
        self._metadata = metadata

    def copy(self) -> _WithMetadata:
        return _WithMetadata(self, self._metadata)


def load_checkpoint(
    model: nn.Module,
    filename: str | os.PathLike[str],
    map_location: MapLocation = "cpu",
    strict: bool = False,
    logger: Logger | str | None = None,
    revise_keys: Iterable[tuple[str, str]] = ((r"^module\.", ""),),
    *,
    trust: bool = False,
) -> dict[str, Any]:
    """Read a checkpoint file and load its weights into a model.

    Args:
        model: Receives the weights.
        filename: The file; its weights stand under ``'state_dict'`` or are the whole file.
        map_location: As for ``torch.load``.
        strict: See :func:`load_state_dict`.
        logger: Where warnings go, as for ``print_log``.
        revise_keys: Pairs of a regular expression and its replacement, applied in order to every name.
        trust: See :func:`read_checkpoint`.

    Returns:
        The whole checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, unsafe, or does not fit.
    """
    checkpoint = read_checkpoint(filename, map_location, trust=trust)
    load_weights(model, checkpoint, strict, logger, revise_keys, source=repr(str(filename)))
    return checkpoint


def load_weights(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    strict: bool = False,
    logger: Logger | str | None = None,
    revise_keys: Iterable[tuple[str, str]] = ((r"^module\.", ""),),
    *,
    source: str = "the checkpoint",
) -> None:
    """Load the weights of a checkpoint that has been read; the arguments are those of :func:`load_checkpoint`."""
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, Mapping) or not all(isinstance(key, str) for key in weights):
        raise CheckpointError(f"What {source} holds as weights is no dict of tensors by name, but {_shown(weights)}.")
    revise_keys = list(revise_keys)
    renamed = {_rename(key, revise_keys): value for key, value in weights.items()}
    metadata = getattr(weights, "_metadata", None)
    named: Mapping[str, Any] = renamed if metadata is None else _WithMetadata(renamed, metadata)
    load_state_dict(model, named, strict, logger, source=source)


def _shown(weights: Any) -> str:
    keys = f" with the keys {', '.join(map(repr, list(weights)[:5]))}" if isinstance(weights, Mapping) else ""
    return f"a {type(weights).__name__}{keys}"


def _rename(key: str, revise_keys: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in revise_keys:
        key = re.sub(pattern, replacement, key)
    return key


def find_latest_checkpoint(path: str | os.PathLike[str]) -> str | None:
    """Return the checkpoint of a directory from which a run should go on, or None where there is none.

    It is the one that the file ``last_checkpoint`` names, which is looked for in this directory, wherever the run was
    when it wrote the name. A run with an ``out_dir`` keeps its checkpoints elsewhere, in a folder of the same name as
    this directory, and only there is the file followed to. Without it, it is the newest ``epoch_*.pth`` or
    ``iter_*.pth``.
    """
    directory = Path(path)
    pointer = directory / "last_checkpoint"
    if pointer.is_file():
        named = Path(pointer.read_text(encoding="utf-8", errors="replace").strip())
        if (directory / named.name).is_file():
            return str(directory / named.name)
        if named.parent.name == directory.resolve().name and named.is_file():
            return str(named)
    found = [p for pattern in ("epoch_*.pth", "iter_*.pth") for p in directory.glob(pattern)]
    newest = max(found, key=lambda p: (p.stat().st_mtime_ns, _number(p)), default=None)
    return None if newest is None else str(newest)


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.name)
    return int(digits[-1]) if digits else -1
