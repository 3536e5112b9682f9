"""The configuration of a run."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn, Self

from ..utils import atomic_write, check_type, display_path
from .arguments import add_options
from .config_dict import ConfigDict, as_plain
from .custom_imports import import_custom
from .data_file import OR_TRUST, restrict
from .errors import ConfigKeyError, ConfigParsingError
from .merging import DELETE, merged, nested
from .places import FORMATS
from .reader import Found, Reader, first_file
from .source import Origin, Source
from .writing import as_json, as_python, as_yaml

__all__ = ["Config", "config_text"]

_RESERVED = ("filename", "text", "pretty_text", "env_variables")
_READ_AS_ORDERS = ("_base_", "_deprecation_")


class Config(MutableMapping[str, Any]):
    """The configuration of a run: keys and values from a file, its bases, and overrides.

    Values are had as attributes and as items; dicts in it are :class:`ConfigDict`. A configuration in Python is a
    program, which reading runs. One in YAML or JSON is data: reading it runs nothing, and the classes that it names
    must be registered already.

    Args:
        cfg_dict: The keys and values.
        cfg_text: The text that they are from; by default that of the file ``filename``.
        filename: The file that they are from.
        env_variables: The environment variables that were used.
        format_python_code: Accepted for compatibility: :attr:`pretty_text` is always laid out.

    Raises:
        TypeError: ``cfg_dict`` is no dict, or a key is no string.
        ConfigKeyError: A key has the name of an attribute: filename, text, pretty_text, env_variables.

    >>> cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1))))
    >>> cfg.merge_from_dict({"optim_wrapper.optimizer.lr": 0.01})
    >>> cfg.optim_wrapper.optimizer.lr
    0.01
    """

    _cfg_dict: ConfigDict
    _filename: str | None
    _text: str
    _env_variables: dict[str, str]
    _sources: list[Source]
    _is_data: bool

    def __init__(
        self,
        cfg_dict: Mapping[str, Any] | None = None,
        cfg_text: str | None = None,
        filename: str | os.PathLike[str] | None = None,
        env_variables: Mapping[str, str] | None = None,
        format_python_code: bool = True,
    ) -> None:
        check_type(cfg_dict, Mapping | None, "cfg_dict")
        check_type(filename, str | os.PathLike | None, "filename")
        if isinstance(cfg_dict, Config):
            cfg_dict = cfg_dict._cfg_dict
        values = {} if cfg_dict is None else cfg_dict
        for key in values:
            if not isinstance(key, str):
                raise TypeError(f"The keys of a configuration's top level are strings, got {key!r}.")
            if key in _RESERVED:
                raise ConfigKeyError(
                    f"{key!r} cannot be a key of a configuration, which has an attribute of that name."
                )
        name = None if filename is None else os.fspath(filename)
        if cfg_text is None:
            cfg_text = Path(name).read_text(encoding="utf-8") if name is not None and Path(name).is_file() else ""
        self._set("_cfg_dict", ConfigDict.within(values, "", "" if name is None else display_path(name)))
        self._set("_filename", name)
        self._set("_text", cfg_text)
        self._set("_env_variables", dict(env_variables or {}))
        self._set("_sources", [])
        self._set("_is_data", False)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    # Reading

    @classmethod
    def fromfile(
        cls,
        filename: str | os.PathLike[str],
        use_predefined_variables: bool = True,
        import_custom_modules: bool = True,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
        format_python_code: bool = True,
        *,
        trust: bool = False,
    ) -> Self:
        """Read a file, ``*.py``, ``*.yaml``, ``*.yml`` or ``*.json``, with its bases.

        A Python file is run: read only those that you would run.

        Args:
            filename: The file.
            use_predefined_variables: Replace ``{{ fileDirname }}``, ``{{ fileBasename }}``,
                ``{{ fileBasenameNoExtension }}`` and ``{{ fileExtname }}``.
            import_custom_modules: Import what ``custom_imports`` names.
            use_environment_variables: Replace ``{{ $VARIABLE:default }}``.
            lazy_import: Whether the imports of a Python file become lazy objects; None looks at the file.
            format_python_code: Accepted for compatibility.
            trust: Let YAML and JSON do what RUNS CODE that they name: dotted paths as types, ``custom_imports``, and
                bases in Python.

        Raises:
            FileNotFoundError: The file, or a base, is not there; the message names files that look like it.
            ConfigParsingError: A file is not written as a configuration.
            ConfigKeyError: Two bases have the same key, or a variable is not there.
            SyntaxError: A Python file is no Python.
            ImportError: ``custom_imports`` names a module that is not there.
        """
        check_type(filename, str | os.PathLike, "filename")
        reader = Reader(use_predefined_variables, use_environment_variables, lazy_import, trust)
        found = reader.read(first_file(os.fspath(filename)))
        return cls._made(found, reader, os.fspath(filename), import_custom_modules, trust)

    @classmethod
    def fromstring(cls, cfg_str: str, file_format: str) -> Self:
        """Read a string.

        Args:
            cfg_str: What would stand in a file; the paths of bases are relative to the current directory.
            file_format: ``'.py'``, ``'.yaml'``, ``'.yml'`` or ``'.json'``.

        Raises:
            ValueError: The format is none of these.

        >>> Config.fromstring("train_cfg = dict(max_epochs=3)", ".py").train_cfg.max_epochs
        3
        """
        check_type(cfg_str, str, "cfg_str")
        if file_format not in FORMATS:
            raise ValueError(f"file_format must be one of {', '.join(FORMATS)}, but it is {file_format!r}.")
        reader = Reader()
        return cls._made(reader.read_text(cfg_str, FORMATS[file_format], None), reader, None, True, False)

    @classmethod
    def _made(cls, found: Found, reader: Reader, filename: str | None, import_modules: bool, trust: bool) -> Self:
        cfg = cls(found.values, "\n".join(found.texts), filename, reader.environment)
        cfg._set("_sources", found.sources)
        cfg._set("_is_data", found.is_data and not trust)
        custom = found.values.get("custom_imports")
        if import_modules and custom is not None:
            if cfg._is_data:
                raise ConfigParsingError(
                    f"{filename or '<string>'} has custom_imports, but for YAML and JSON nothing is imported."
                    f" {OR_TRUST}"
                )
            import_custom(custom)
        return cfg

    @staticmethod
    def auto_argparser(description: str | None = None) -> tuple[argparse.ArgumentParser, Config]:
        """Return a parser with an option for each value of the configuration that the command line names, and that.

        ``cfg.merge_from_dict(vars(arguments))`` takes over what was given; take ``config`` out before.
        """
        first = argparse.ArgumentParser(description=description, add_help=False)
        first.add_argument("config", nargs="?", help="the configuration")
        name = first.parse_known_args()[0].config
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("config", help="the configuration")
        if name is None:
            parser.parse_args()  # which helps, or says what is missing
        cfg = Config.fromfile(name)
        add_options(parser, cfg._cfg_dict)
        return parser, cfg

    # What it is

    @property
    def filename(self) -> str | None:
        """The file that it was read from."""
        return self._filename

    @property
    def text(self) -> str:
        """The contents of the file and its bases, each behind its name, the bases first."""
        return self._text

    @property
    def env_variables(self) -> dict[str, str]:
        """The environment variables that were used, with their values."""
        return self._env_variables

    @property
    def pretty_text(self) -> str:
        """The whole as Python; a value that cannot be read back stands there as a string that describes it."""
        return as_python(self._cfg_dict, strict=False)

    def origin(self, key: str) -> Origin | None:
        """Return where the value of a key comes from, or None where it was there from the beginning.

        Changes by assignment are not followed, those by :meth:`merge_from_dict` are.

        Args:
            key: ``'optim_wrapper.optimizer.lr'``, with numbers for the items of lists.

        Raises:
            ConfigKeyError: There is no such key.
        """
        parts = key.split(".")
        value: Any = self._cfg_dict
        for part in parts:
            if isinstance(value, (list, tuple)) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, dict):
                value = dict.get(value, part) if part in value else value[int(part) if part.isdecimal() else part]
            else:
                raise ConfigKeyError(f"The configuration has no {key}: nothing is below {value!r}.")
        for source in reversed(self._sources):
            if source.sets(parts):
                return Origin(source.filename, source.line_of(parts))
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of plain dicts; classes of lazy configurations stand there by their dotted names."""
        return self._cfg_dict.to_dict()

    def copy(self) -> Self:
        """Return a shallow copy."""
        return self.__copy__()

    # Changing

    def merge_from_dict(self, options: Mapping[str, Any], allow_list_keys: bool = True) -> None:
        """Change what ``options`` names.

        Args:
            options: Values by key; ``'model.depth'`` goes into dicts, ``'hooks.0.interval'`` into lists. A dict is
                merged into the one that is there, unless it has ``_delete_=True``.
            allow_list_keys: Whether numbers are indexes of lists.

        Raises:
            TypeError: A dict would change what is none.
            ConfigKeyError: An index is beyond the end of its list.

        >>> cfg = Config(dict(hooks=[dict(type="EMAHook"), dict(type="CheckpointHook", interval=1)]))
        >>> cfg.merge_from_dict({"hooks.1.interval": 5})
        >>> cfg.hooks
        [{'type': 'EMAHook'}, {'type': 'CheckpointHook', 'interval': 5}]
        """
        check_type(options, Mapping, "options")
        changed = nested(options)
        if self._is_data:
            changed = restrict(changed, "An override")
        result = merged(self._cfg_dict, changed, "", allow_list_keys)
        self._set("_cfg_dict", ConfigDict.within(result, "", self._cfg_dict._source))
        self._sources.append(Source(None, "override", "", changed))

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take the values of a dict; see :meth:`ConfigDict.update`."""
        self._cfg_dict.update(*args, **kwargs)

    # Writing

    def dump(self, file: str | os.PathLike[str] | None = None) -> str | None:
        """Write it to a file, which reads back as an equal configuration, or return the text.

        JSON has no tuples: they come back as lists.

        Args:
            file: ``*.py``, ``*.yaml``, ``*.yml`` or ``*.json``; None returns the text, in the format of the file that
                it was read from.

        Raises:
            TypeError: A value cannot be read back from that format.
            ValueError: The file's ending is none of these, or a key would be read as an order.
        """
        check_type(file, str | os.PathLike | None, "file")
        ending = Path(file if file is not None else self._filename or "config.py").suffix
        if ending not in FORMATS:
            raise ValueError(
                f"A configuration is written to a file that ends in {', '.join(FORMATS)}, not in {ending!r}."
            )
        _check_no_orders(self._cfg_dict)
        write = {"py": as_python, "yaml": as_yaml, "json": as_json}[FORMATS[ending]]
        text = write(self._cfg_dict)
        if file is None:
            return text
        with atomic_write(file) as out:
            out.write(text.encode())
        return None

    @staticmethod
    def diff(cfg1: str | os.PathLike[str] | Config, cfg2: str | os.PathLike[str] | Config) -> str:
        """Return the difference of two configurations, as ``diff -u`` shows it; an empty string where there is none.

        >>> print(Config.diff(Config(dict(lr=0.1, seed=0)), Config(dict(lr=0.2, seed=0))))
        --- first
        +++ second
        @@ -1,2 +1,2 @@
        -lr = 0.1
        +lr = 0.2
         seed = 0
        """
        texts: list[list[str]] = []
        names: list[str] = []
        for one, other in ((cfg1, "first"), (cfg2, "second")):
            cfg = one if isinstance(one, Config) else Config.fromfile(one)
            texts.append(as_python(cfg._cfg_dict, strict=False, sort=True).splitlines())
            names.append(cfg.filename or other)
        return "\n".join(difflib.unified_diff(texts[0], texts[1], names[0], names[1], lineterm=""))

    # As a mapping, and its keys as attributes

    def __getitem__(self, key: str) -> Any:
        return self._cfg_dict[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._cfg_dict[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self._cfg_dict:
            self._missing(key)
        del self._cfg_dict[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cfg_dict)

    def __len__(self) -> int:
        return len(self._cfg_dict)

    def __contains__(self, key: object) -> bool:
        return key in self._cfg_dict

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Config, dict)):
            return NotImplemented
        # A class, whether imported already or not, is equal to its name, as a file that was written has it.
        values = other._cfg_dict if isinstance(other, Config) else other
        return bool(as_plain(self._cfg_dict, name_all=True) == as_plain(values, name_all=True))

    def __getattr__(self, name: str) -> Any:
        if name == "_cfg_dict" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._cfg_dict, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"{name!r} is an attribute of a Config: write cfg[{name!r}] = ... for the key.")
        self._cfg_dict[name] = value

    def __delattr__(self, name: str) -> None:
        delattr(self._cfg_dict, name)

    def __repr__(self) -> str:
        return f"Config (path: {self._filename}): {dict.__repr__(self._cfg_dict)}"

    def _missing(self, key: str) -> NoReturn:
        self._cfg_dict[key]
        raise ConfigKeyError(key)

    # Copies

    def __copy__(self) -> Self:
        return self._with(self._cfg_dict.copy())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = self._with(deepcopy(self._cfg_dict, memo))
        return made

    def _with(self, values: ConfigDict) -> Self:
        made = type(self)()
        made.__setstate__(self.__getstate__())
        made._set("_cfg_dict", values)
        return made

    def __getstate__(self) -> tuple[Any, ...]:
        sources = list(self._sources)
        return self._cfg_dict, self._filename, self._text, dict(self._env_variables), sources, self._is_data

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        names = ("_cfg_dict", "_filename", "_text", "_env_variables", "_sources", "_is_data")
        for name, value in zip(names, state, strict=True):
            self._set(name, value)


def config_text(cfg: Mapping[Any, Any]) -> str:
    """Return a configuration, or any other mapping of settings, as Python; see :attr:`Config.pretty_text`."""
    return cfg.pretty_text if isinstance(cfg, Config) else as_python(cfg, strict=False)


def _check_no_orders(values: ConfigDict) -> None:
    for key in values:
        if key in _READ_AS_ORDERS or key.startswith("__"):
            raise ValueError(f"The key {key!r} would not be read back, as it means something in a file. Rename it.")

    def check(value: Any, path: str) -> None:
        if isinstance(value, dict):
            if DELETE in value:
                raise ValueError(f"{path}.{DELETE} would be read as an order. Take it out.")
            for key, item in dict.items(value):
                check(item, f"{path}.{key}")

    for key, value in dict.items(values):
        check(value, key)
