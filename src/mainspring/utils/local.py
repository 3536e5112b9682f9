"""Where files go: so far only to directories of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["require_local"]

_LOCAL = ("local", "disk")


def require_local(
    owner: str,
    out_dir: str | os.PathLike[str] | None = None,
    backend_args: Mapping[str, Any] | None = None,
    file_client_args: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a place for files that is not a local directory.

    Args:
        owner: Who writes the files; begins the message.
        out_dir: Where to; a URL such as ``'s3://bucket'`` is refused.
        backend_args: None or empty, or ``dict(backend='local')``.
        file_client_args: The same under its older name; ``'disk'`` is its word for local.

    Raises:
        ValueError: It is another place.

    >>> require_local("CheckpointHook", "runs", backend_args=dict(backend="local"))
    >>> require_local("CheckpointHook", "s3://bucket/runs")
    Traceback (most recent call last):
    ...
    ValueError: CheckpointHook: out_dir is 's3://bucket/runs', but this version writes to local directories only.
    """
    if isinstance(out_dir, str) and "://" in out_dir:
        raise ValueError(f"{owner}: out_dir is {out_dir!r}, but this version writes to local directories only.")
    for name, given in (("backend_args", backend_args), ("file_client_args", file_client_args)):
        if given and not (isinstance(given, Mapping) and list(given) == ["backend"] and given["backend"] in _LOCAL):
            raise ValueError(
                f"{owner}: {name} is {given!r}, but this version writes to local directories only: leave {name} out, or"
                " write dict(backend='local')."
            )
