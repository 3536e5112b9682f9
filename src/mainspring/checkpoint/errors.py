"""What is raised when a checkpoint cannot be used."""

from __future__ import annotations

__all__ = ["CheckpointError", "UnknownNameError"]


class CheckpointError(ValueError):
    """A checkpoint that is damaged, not one at all, or does not fit the model."""


class UnknownNameError(ValueError):
    """A pickle names a class or function that is not among those which only hold data."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
