"""The older name of ``backend_args``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

__all__ = ["chosen_backend_args"]


def chosen_backend_args(
    file_client_args: Mapping[str, Any] | None, backend_args: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Return whichever of the two is given; the older one with a warning.

    Raises:
        ValueError: Both are given.
    """
    if file_client_args is None:
        return backend_args
    if backend_args is not None:
        raise ValueError("file_client_args and backend_args are two names of one thing: give only backend_args.")
    # The caller's caller is the user's line.
    warnings.warn("file_client_args is now called backend_args.", DeprecationWarning, stacklevel=3)
    return file_client_args
