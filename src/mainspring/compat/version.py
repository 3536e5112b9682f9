"""The version as numbers."""

from __future__ import annotations

from .._version import __version__
from ..utils import digit_version

__all__ = ["version_info"]

version_info = digit_version(__version__)
"""The version of this library, as :func:`~mainspring.utils.digit_version` returns it."""
