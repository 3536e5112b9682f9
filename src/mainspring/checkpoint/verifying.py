"""Whether a checkpoint file is whole, and asks for no more than it has, before torch reads it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..fileio import get_local_path
from ..logging import print_log
from ..utils import nearest
from .archive import Entry, read_archive, wrong_checksum
from .digest import Digesting, Ending, digest_is_right, read_ending
from .errors import CheckpointError, UnknownNameError
from .weights_file import check_weights, is_weights_file

if TYPE_CHECKING:
    from .claims import Storage

__all__ = ["checked", "open_checkpoint", "verify_checkpoint"]

_ARCHIVE, _PICKLE = b"PK\x03\x04", b"\x80"
_LONG = 32 * 2**20
"""Bytes from which on the digest of a file is computed beside its reading."""

_told: set[str] = set()
"""Files of which the log says already that they have no digest."""


def verify_checkpoint(path: str | os.PathLike[str]) -> None:
    """Check that a checkpoint file is whole, without loading it.

    The file is read once, and little memory is taken, whatever its size; one behind a URL is downloaded to a temporary
    file. Of a file with a digest every flipped bit and
    every cut is noticed. One without (MMEngine's, plain ``torch.save``'s) is checked as far as its format allows, and
    the log says so once, at level INFO.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, holds objects that are not plain, or claims more than it has.

    >>> import tempfile, pathlib
    >>> from mainspring.checkpoint import save_checkpoint
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "epoch_1.pth"
    >>> save_checkpoint({"state_dict": {}}, file)
    >>> verify_checkpoint(file)
    >>> _ = file.write_bytes(file.read_bytes()[:-1])
    >>> verify_checkpoint(file)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    mainspring.checkpoint.errors.CheckpointError: '...' is damaged: it is cut short, its end is missing. ...
    """
    name = os.fspath(path)
    with get_local_path(path) as local, open_checkpoint(Path(local), name) as file:
        if is_weights_file(name):
            check_weights(Path(local), name)
        else:
            with checked(file, name):
                pass


@contextmanager
def open_checkpoint(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a checkpoint file, or say that there is none, and what lies beside it; ``name`` is what it was called."""
    if not path.is_file():
        beside = nearest(path.name, [p.name for p in path.parent.glob("*.pth")]) if path.parent.is_dir() else []
        hint = f" Beside it lies {beside[0]!r}." if beside else ""
        raise FileNotFoundError(f"There is no checkpoint {name!r}.{hint}")
    with path.open("rb") as file:
        yield file


@contextmanager
def checked(file: IO[bytes], name: str, *, trust: bool = False) -> Iterator[None]:
    """Check an open checkpoint file, in part while it is read in the context.

    The digest of a long file is computed meanwhile, in a thread. What the context has read is good if it ends without
    an error; until then it may be damaged, so with ``trust`` all is checked before.

    Args:
        file: The file.
        name: What messages call it.
        trust: Allow objects of any class.
    """
    ending = read_ending(file)
    if ending.kind != "sealed":
        _check_form(file, name, ending, trust)
        yield
    elif trust or ending.end_record < _LONG or not hasattr(os, "preadv"):
        if not digest_is_right(file, ending):
            raise _changed(name)
        _check_form(file, name, ending, trust)
        yield
    else:
        with Digesting(file, ending) as digest:
            try:
                _check_form(file, name, ending, trust)
                yield
            except Exception as error:
                if not digest.is_right():
                    raise _changed(name) from error
                raise
            if not digest.is_right():
                raise _changed(name)


def _check_form(file: IO[bytes], name: str, ending: Ending, trust: bool) -> None:
    """Check all but the digest."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    first = file.read(4)
    if ending.kind != "sealed":
        if not first or (first == _ARCHIVE and ending.kind == "other"):
            raise _damaged(name, "it is cut short, its end is missing")
        if first != _ARCHIVE and not first.startswith(_PICKLE):  # as files began before torch 1.6
            raise _damaged(name, f"it begins with {first!r}, so torch.save did not write it")
    if first == _ARCHIVE:
        entries = _entries(file, name, ending.end_record)
        wrong = None if ending.kind == "sealed" else wrong_checksum(file, entries.values())
        if wrong is not None:
            raise _damaged(name, f"the checksum of its entry {wrong!r} is wrong")
    if ending.kind != "sealed":
        _tell(name, "ZIP" if first == _ARCHIVE else "the format of torch before 1.6")
    if not trust:
        with _refusal(name):
            if first == _ARCHIVE:
                _examine_archive(file, entries, size)
            else:
                from .legacy import examine_legacy

                examine_legacy(file, size)


def _entries(file: IO[bytes], name: str, end_record: int) -> dict[str, Entry]:
    try:
        return read_archive(file, end_record)
    except ValueError as error:
        raise _damaged(name, f"{error}, or torch.save did not write it") from error


def _examine_archive(file: IO[bytes], entries: Mapping[str, Entry], size: int) -> None:
    """Check the pickle in an archive against the storages there."""
    # Not at the start: a run that begins anew reads no checkpoint.
    from .claims import Claims, shown
    from .examining import examine

    folder = next(iter(entries), "").partition("/")[0]
    pickle = entries.get(f"{folder}/data.pkl")
    if pickle is None or not all(name.startswith(f"{folder}/") for name in entries):
        raise ValueError("it is an archive of something else than torch.save's")
    if f"{folder}/constants.pkl" in entries:
        raise ValueError("it is a TorchScript archive, which torch.jit.load reads")
    claims = Claims(size)
    storages: dict[str, Storage] = {}

    def storage(kind: Any, key: Any, location: Any, count: Any) -> Storage:
        entry = entries.get(f"{folder}/data/{key}") if type(key) is str else None
        if entry is None:
            raise ValueError(f"it refers to the storage {shown(key)}, which it does not have")
        checked = claims.storage(kind, count, entry.size)
        if storages.setdefault(key, checked) != checked:
            raise ValueError(f"it describes its storage {shown(key)} in two ways")
        return checked

    file.seek(pickle.start)
    examine(BytesIO(file.read(pickle.size)), claims, storage)


@contextmanager
def _refusal(name: str) -> Iterator[None]:
    """Name the file, and what to do, where its content is refused."""
    advice = (
        "If you trust where the file comes from, read it once with read_checkpoint(file, trust=True) of"
        " mainspring.checkpoint, and write its weights to a file that is plain:"
        " save_checkpoint({'state_dict': checkpoint['state_dict']}, new_file). Then load that."
    )
    try:
        yield
    except UnknownNameError as error:
        raise CheckpointError(
            f"{name!r} holds an object of {error.name}, and building it would run code from the file. {advice}"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{name!r} cannot be read as a checkpoint: {error}.") from error


def _changed(name: str) -> CheckpointError:
    return _damaged(name, "its SHA-256 digest is wrong, so bytes were changed after it was written")


def _damaged(name: str, reason: str) -> CheckpointError:
    return CheckpointError(f"{name!r} is damaged: {reason}. Use an older checkpoint.")


def _tell(name: str, form: str) -> None:
    place = os.path.realpath(name)
    if place not in _told:
        _told.add(place)
        text = f"{name!r} holds no digest, so it was checked only as far as {form} allows."
        print_log(text, logger="current", level=logging.INFO)
