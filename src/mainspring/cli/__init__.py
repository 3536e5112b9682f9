"""The command line: ``mainspring train CONFIG``, and so on. It imports torch when a command needs it."""

from .failing import main

__all__ = ["main"]
