"""Dicts with further manners, which are plain dicts where they are saved."""

from __future__ import annotations

from typing import Any

__all__ = ["KeptAsDict"]


class KeptAsDict(dict[Any, Any]):
    """A dict of which a checkpoint keeps the content, in a plain dict."""

    __slots__ = ()
