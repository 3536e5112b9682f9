"""YAML files."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..utils import require
from .base_handler import BaseFileHandler

__all__ = ["YamlHandler"]


class YamlHandler(BaseFileHandler):
    """YAML. Only plain data is read: a tag that would make a Python object is an error.

    Tuples, ranges and NumPy arrays are written as lists, NumPy numbers as numbers, so that any YAML reader can read
    the file. Of Python's tags only ``!!python/tuple`` is read, which other writers leave for a tuple.

    Keyword arguments go to ``yaml.load`` and ``yaml.dump``; a ``Loader`` must be one of the safe ones.

    Raises:
        ImportError: PyYAML is not installed.
    """

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read an object from an open file.

        Args:
            file: A file, or a string of YAML.
            **kwargs: ``Loader``: ``yaml.SafeLoader``, ``yaml.BaseLoader`` or a subclass, with constructors of your own.

        Raises:
            ValueError: The ``Loader`` would run code that a file names.
            yaml.YAMLError: It is no YAML, or more than plain data.
        """
        yaml = _yaml()
        loader = kwargs.pop("Loader", None) or _loader()
        if issubclass(loader, yaml.constructor.FullConstructor):
            raise ValueError(
                f"Loader is {loader.__name__}, with which a YAML file can make Python objects and run code. Leave it"
                " out, or give yaml.SafeLoader."
            )
        return yaml.load(file, Loader=loader, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        """Write an object to an open file."""
        _yaml().dump(obj, file, **{"Dumper": _dumper(), **kwargs})

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        """Return an object as YAML."""
        return str(_yaml().dump(obj, **{"Dumper": _dumper(), **kwargs}))


def _yaml() -> Any:
    return require("yaml", extra="yaml", purpose="Reading or writing YAML files")


@cache
def _loader() -> Any:
    yaml = _yaml()

    class Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
        """The safe loader, and tuples."""

    Loader.add_constructor(
        "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node))
    )
    return Loader


@cache
def _dumper() -> Any:
    yaml = _yaml()

    class Dumper(yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper):  # type: ignore[misc]
        """The safe dumper, and what is nearly plain: NumPy's values, ranges, subclasses of Python's types."""

    Dumper.add_multi_representer(np.generic, lambda dumper, value: dumper.represent_data(value.item()))
    Dumper.add_multi_representer(np.ndarray, lambda dumper, value: dumper.represent_data(value.tolist()))
    Dumper.add_representer(range, lambda dumper, value: dumper.represent_list(value))
    for kind in (dict, list, tuple, set, str, int, float):
        Dumper.add_multi_representer(kind, Dumper.yaml_representers[kind])
    return Dumper
