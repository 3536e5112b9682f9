"""Writing checkpoints: whole under their name, or not there."""

from __future__ import annotations

import importlib
import io
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

from ..fileio import LocalBackend, get_file_backend, local_path
from ..utils import atomic_write, to_plain
from .digest import SealedFile, comment_for
from .snapshot import with_one_dtype_a_storage
from .weights_file import is_weights_file, write_weights

__all__ = ["prepare_to_write", "save_checkpoint", "weights_to_cpu", "write_plain"]


def save_checkpoint(
    checkpoint: Mapping[str, Any],
    filename: str | os.PathLike[str],
    file_client_args: Mapping[str, Any] | None = None,
    backend_args: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, complete and on the disk before it appears under its name.

    ``torch.load`` reads it. At its end stands a digest of the whole file, which is checked by
    :func:`~mainspring.checkpoint.read_checkpoint`; and if the checkpoint has a ``'train_loop'``, its ``iter`` and
    ``epoch``, by which the newest of a run is found.

    Args:
        checkpoint: Tensors and plain containers (see :func:`~mainspring.checkpoint.to_plain`).
        filename: A local path, of which missing directories are made, or a URL that fsspec knows. In a file whose name
            ends with ``.safetensors`` are only the weights: the dict of tensors under ``'state_dict'``, or the
            checkpoint itself. Tied weights and views are written out in full there. In a ``.pth`` file they stay tied,
            unless they look at one memory as different types.
        file_client_args: An older name of ``backend_args``.
        backend_args: Where to write; see :func:`~mainspring.fileio.get_file_backend`.

    Raises:
        TypeError: Something in it is no plain value; the message says where it stands.
        OSError: The file cannot be written; whatever stood under ``filename`` before is untouched.
        ImportError: safetensors is not installed.
    """
    if file_client_args and backend_args:
        raise ValueError("save_checkpoint was given backend_args, and file_client_args, its older name: give one.")
    write_plain(to_plain(checkpoint), filename, backend_args or file_client_args)


def write_plain(
    plain: Mapping[str, Any], filename: str | os.PathLike[str], backend_args: Mapping[str, Any] | None = None
) -> None:
    """Write what :func:`~mainspring.checkpoint.to_plain` has returned, as :func:`save_checkpoint` does.

    Raises:
        OSError: As for :func:`save_checkpoint`.
    """
    prepare_to_write(filename, backend_args)(with_one_dtype_a_storage(plain))


def prepare_to_write(
    filename: str | os.PathLike[str], backend_args: Mapping[str, Any] | None = None
) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that writes a file, as :func:`write_plain` does.

    A background thread may call it: for a ``.pth`` file of this machine nothing is logged and nothing imported then.
    """
    # torch.save imports it, but no import may happen in a thread beside which loader workers are forked.
    importlib.import_module("torch.utils.serialization.config")
    backend = get_file_backend(filename, backend_args=backend_args)
    if isinstance(backend, LocalBackend):
        # The current directory may be another one when the file is opened.
        return partial(_write_here, path=local_path(filename).absolute())
    backend.prepare(filename)
    if is_weights_file(filename):
        return lambda plain: backend.put(_weights_content(plain), filename)
    return lambda plain: backend.put_stream(partial(_write_sealed, plain), filename)


def _write_here(plain: Mapping[str, Any], path: Path) -> None:
    try:
        with atomic_write(path) as file:
            if is_weights_file(path):
                write_weights(plain, file)
            else:
                _write_sealed(plain, file)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _weights_content(plain: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    write_weights(plain, content)
    return content.getvalue()


def _write_sealed(plain: Mapping[str, Any], file: IO[bytes]) -> None:
    sealed = SealedFile(file, comment_for(plain))
    try:
        torch.save(plain, sealed)  # type: ignore[arg-type]  # it needs no more than write and flush
    except RuntimeError as error:  # torch's own, behind an error of the file
        if sealed.error is None:
            raise
        raise sealed.error from error
    sealed.seal()


def weights_to_cpu(state_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Return a model's state dict with every tensor on the CPU, its metadata kept.

    Tied weights and views of one storage stay so: each storage is copied once. What is no tensor, as a module's
    ``get_extra_state`` may return, is handed on as it is.
    """
    copies: dict[tuple[torch.device, int], torch.UntypedStorage] = {}
    moved = OrderedDict(
        (key, _to_cpu(value, copies) if isinstance(value, torch.Tensor) else value) for key, value in state_dict.items()
    )
    moved._metadata = getattr(state_dict, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    return moved


def _to_cpu(tensor: torch.Tensor, copies: dict[tuple[torch.device, int], torch.UntypedStorage]) -> torch.Tensor:
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout is torch.strided
    if tensor.device.type == "cpu" or not plain or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
        return tensor.cpu()
    storage = tensor.untyped_storage()
    place = (tensor.device, storage.data_ptr())
    if place not in copies:
        copies[place] = storage.cpu()  # type: ignore[no-untyped-call]
    empty = torch.empty(0, dtype=tensor.dtype)
    return empty.set_(copies[place], tensor.storage_offset(), tensor.shape, tensor.stride())
