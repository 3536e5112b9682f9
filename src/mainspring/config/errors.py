"""What is raised where a configuration is wrong."""

from __future__ import annotations

__all__ = ["ConfigKeyError", "ConfigParsingError"]


class ConfigParsingError(ValueError):
    """A configuration that cannot be read as it is written."""


class ConfigKeyError(KeyError):
    """A key that is not there, or not allowed where it stands.

    >>> str(ConfigKeyError("there is no key 'model'"))
    "there is no key 'model'"
    """

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which escapes quotes and line ends.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()
