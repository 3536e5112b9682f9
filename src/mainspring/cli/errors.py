"""What a command was given wrongly."""

from __future__ import annotations

__all__ = ["UsageError"]


class UsageError(ValueError):
    """A command line that cannot be meant; it ends with exit code 2."""
