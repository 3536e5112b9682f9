"""Registries that other libraries take as parents of theirs, or by another name."""

from __future__ import annotations

from ..registry import FUNCTIONS, Registry

__all__ = ["COLLATE_FUNCTIONS", "STRATEGIES"]

COLLATE_FUNCTIONS = FUNCTIONS
"""An earlier name."""

STRATEGIES = Registry("strategy", scope="mainspring")
"""Empty: a runner trains in its own ways. It is there for libraries that have a registry below it."""
