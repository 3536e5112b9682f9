"""Reading checkpoints, without ever running what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from logging import Logger
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

import torch

from ..fileio import get_local_path
from ..logging import print_log
from ..utils import from_plain
from .errors import CheckpointError
from .stand_ins import STAND_INS, without_stand_ins
from .verifying import checked, open_checkpoint
from .weights_file import is_weights_file, read_weights

__all__ = ["CheckpointLoader", "MapLocation", "read_checkpoint"]

MapLocation = str | torch.device | dict[str, str] | Callable[..., Any] | None
Loader = TypeVar("Loader", bound=Callable[..., Any])

_ZOOS = ("torchvision://", "modelzoo://", "open-mmlab://", "openmmlab://", "mmcls://", "pavi://")


def read_checkpoint(
    filename: str | os.PathLike[str], map_location: MapLocation = "cpu", *, trust: bool = False
) -> dict[str, Any]:
    """Read a checkpoint file into a dict.

    It is verified first (see :func:`~mainspring.checkpoint.verify_checkpoint`), so that nothing damaged is read, and
    nothing that claims more memory than the file holds data.

    Files of MMEngine are read as safely, and without it: NumPy's arrays and numbers are rebuilt from their bytes, and
    the histories of its message hub come as the dicts that :class:`~mainspring.logging.MessageHub` loads.

    Args:
        filename: What :func:`save_checkpoint`, ``torch.save`` or MMEngine wrote, or weights in a ``.safetensors``
            file: a local path, a URL that fsspec opens (``https://``, ``s3://``, ...), which is downloaded to a
            temporary file, or a name that begins as a scheme of :class:`CheckpointLoader`.
        map_location: As for ``torch.load``.
        trust: Unpickle objects of any class, which RUNS CODE that the file names. Only for files whose author
            you trust as you trust a program of theirs.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, holds objects that are not plain, claims more than it has, or is no dict; or
            nobody knows how to open such a name.
    """
    name = os.fspath(filename)
    loader = CheckpointLoader.loader_of(name)
    if loader is not None:
        content = loader(name, map_location)
    else:
        with _on_this_machine(filename) as path:
            content = _read(path, name, map_location, trust)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{name!r} holds a {type(content).__name__}, but a checkpoint is a dict, of weights or with the key"
            " 'state_dict'."
        )
    return dict(content)


@contextmanager
def _on_this_machine(filename: str | os.PathLike[str]) -> Iterator[Path]:
    name = os.fspath(filename)
    zoo = next((prefix for prefix in _ZOOS if name.startswith(prefix)), None)
    if zoo is not None:
        raise CheckpointError(
            f"{name!r} names a model of a collection, which mainspring does not download. Download its file and pass"
            f" the path, or the file's https:// URL; or register what loads such names with"
            f" CheckpointLoader.register_scheme({zoo!r}, loader)."
        )
    with ExitStack() as stack:
        try:
            path = stack.enter_context(get_local_path(filename))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"There is no checkpoint {name!r}.") from error
        except ValueError as error:
            raise CheckpointError(
                f"{name!r} cannot be opened. {error} Or download the file and pass its path, or register what loads"
                " such names with CheckpointLoader.register_scheme."
            ) from error
        yield Path(path)


def _read(path: Path, name: str, map_location: MapLocation, trust: bool) -> Any:
    with open_checkpoint(path, name) as file:
        if is_weights_file(name):
            return read_weights(path, name, map_location)
        with checked(file, name, trust=trust):
            try:
                # Empty bytes are pickled by their class, which torch left out. Sparse tensors are believed unless
                # checked.
                with (
                    torch.serialization.safe_globals([(bytes, "builtins.bytes"), *STAND_INS]),
                    torch.sparse.check_sparse_tensor_invariants(),  # type: ignore[no-untyped-call]
                ):
                    content = torch.load(path, map_location=map_location, weights_only=not trust)
                content = from_plain(without_stand_ins(content))
            except OSError:
                raise
            except Exception as error:  # of any kind, from all that torch calls
                raise CheckpointError(
                    f"{name!r} cannot be read as a checkpoint: {type(error).__name__}: {error}."
                ) from error
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):  # torch has read another than was checked
            raise CheckpointError(f"{name!r} was replaced while it was read. Read it again.")
        return content


class CheckpointLoader:
    """Reads checkpoints; what reads names that begin in a certain way can be registered.

    >>> @CheckpointLoader.register_scheme("numbers://")
    ... def load_numbers(filename, map_location):
    ...     return {"count": int(filename.removeprefix("numbers://"))}
    >>> CheckpointLoader.load_checkpoint("numbers://3", logger="silent")
    {'count': 3}
    """

    _schemes: ClassVar[dict[str, Callable[..., Any]]] = {}

    @overload
    @classmethod
    def register_scheme(
        cls, prefixes: str | list[str] | tuple[str, ...], loader: None = None, force: bool = False
    ) -> Callable[[Loader], Loader]: ...
    @overload
    @classmethod
    def register_scheme(
        cls, prefixes: str | list[str] | tuple[str, ...], loader: Callable[..., Any], force: bool = False
    ) -> None: ...
    @classmethod
    def register_scheme(
        cls, prefixes: str | list[str] | tuple[str, ...], loader: Callable[..., Any] | None = None, force: bool = False
    ) -> Callable[[Loader], Loader] | None:
        """Register what reads the names that begin with a prefix; the longest prefix decides. Also as a decorator.

        :func:`read_checkpoint` and :func:`load_checkpoint` obey it too.

        Args:
            prefixes: One or several, such as ``'mine://'``.
            loader: Is called with the whole name and ``map_location``, and returns a dict. What it reads, and how
                safely, is its own affair.
            force: Replace what is registered for a prefix.

        Raises:
            KeyError: A prefix is taken, and ``force`` is False.
            TypeError: ``prefixes`` are no strings, or ``loader`` cannot be called.
        """
        listed = [prefixes] if isinstance(prefixes, str) else prefixes
        if not isinstance(listed, (list, tuple)) or not all(isinstance(prefix, str) for prefix in listed):
            raise TypeError(f"prefixes must be a string or a list of strings, but it is {prefixes!r}.")
        if loader is None:

            def register(function: Loader) -> Loader:
                cls.register_scheme(prefixes, function, force)
                return function

            return register
        if not callable(loader):
            raise TypeError(f"A loader is called with a name and a map_location, but this is {loader!r}.")
        for prefix in listed:
            if prefix in cls._schemes and not force:
                raise KeyError(
                    f"The prefix {prefix!r} is taken by {cls._schemes[prefix]!r}. Choose another, or replace it with"
                    " force=True."
                )
        cls._schemes.update(dict.fromkeys(listed, loader))
        return None

    @classmethod
    def loader_of(cls, filename: str) -> Callable[..., Any] | None:
        """Return what is registered for a name, or None where there is nothing, as for ordinary paths."""
        fitting = [prefix for prefix in cls._schemes if filename.startswith(prefix)]
        return cls._schemes[max(fitting, key=len)] if fitting else None

    @classmethod
    def load_checkpoint(
        cls, filename: str, map_location: MapLocation = None, logger: Logger | str | None = "current"
    ) -> dict[str, Any]:
        """Read a checkpoint, and log its name.

        Args:
            filename: As for :func:`read_checkpoint`.
            map_location: As for ``torch.load``.
            logger: As for ``print_log``.
        """
        print_log(f"Reading the checkpoint {os.fspath(filename)!r}.", logger=logger)
        return read_checkpoint(filename, map_location)
