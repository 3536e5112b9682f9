"""Configurations: Python, YAML and JSON files that inherit from each other, and overrides."""

from .arguments import DictAction
from .config import Config, config_text
from .config_dict import ConfigDict
from .errors import ConfigKeyError, ConfigParsingError
from .lazy import LazyObject, read_base
from .source import Origin

__all__ = [
    "Config",
    "ConfigDict",
    "ConfigKeyError",
    "ConfigParsingError",
    "DictAction",
    "LazyObject",
    "Origin",
    "config_text",
    "read_base",
]
