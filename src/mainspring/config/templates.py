"""What stands in double braces: ``{{ fileDirname }}``, ``{{ _base_.key }}`` and ``{{ $VARIABLE:default }}``.

What comes in their place is data, whatever it contains: a quote or a line end in an environment variable ends no
string, and is no code. For this the text is parsed with markers, which are names that nobody else has, and the values
are put where the markers have come to stand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..utils import did_you_mean
from .errors import ConfigKeyError, ConfigParsingError
from .literals import literal

__all__ = ["TEMPLATE", "Templates"]

TEMPLATE = re.compile(
    r"""\{\{\s*(?P<quote>['"]?)\s*(?:
        (?P<file>file[A-Z]\w*)
        | _base_\.(?P<base>[\w.]+)
        | \$(?P<variable>\w+)\s*(?::\s*(?P<default>[^{}\n]*?))?
    )\s*(?P=quote)\s*\}\}""",
    re.VERBOSE,
)
"""A template; in a bare one, quotes may stand around what is in the braces."""

_FILE_PARTS: Mapping[str, Callable[[Path], str]] = {
    "fileDirname": lambda path: path.parent.as_posix(),
    "fileBasename": lambda path: path.name,
    "fileBasenameNoExtension": lambda path: path.stem,
    "fileExtname": lambda path: path.suffix,
}


class Templates:
    """The templates of one file.

    Args:
        text: The file's content.
        path: The file, from which ``{{ fileDirname }}`` and its like are taken.
        predefined: Whether to replace these.
        environment: Whether to replace environment variables.

    >>> templates = Templates("name = 'run of {{ $NO_SUCH_NAME:nobody }}'", None)
    >>> templates.code
    "name = 'run of __template_0__'"
    >>> templates.filled("run of __template_0__")
    'run of nobody'
    """

    def __init__(self, text: str, path: Path | None, predefined: bool = True, environment: bool = True) -> None:
        self._text = text
        self._path = path
        self._prefix = "__template_"
        while self._prefix in text:
            self._prefix += "_"
        self._marker = re.compile(rf"{self._prefix}\d+__")
        self._found: dict[str, re.Match[str]] = {}
        self._values: dict[str, Any] = {}
        self._errors: dict[str, ConfigKeyError | ConfigParsingError] = {}  # raised on use: it may stand in a comment
        self.environment: dict[str, str] = {}
        """The environment variables that were used."""
        self.code = TEMPLATE.sub(lambda match: self._replaced(match, predefined, environment), text)
        """The content with markers in place of the templates."""

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def bare(self) -> dict[str, Any]:
        """By marker, the value of a template that stands in no string: a literal, or what the base has."""
        return {
            marker: literal(value) if self._found[marker]["variable"] else value
            for marker, value in self._values.items()
        }

    def take_base(self, base: Mapping[str, Any]) -> None:
        """Give their values to the templates that name keys of the base."""
        for marker, match in self._found.items():
            if match["base"] is not None:
                self._take(marker, partial(self._of_base, base, match))

    @property
    def whole(self) -> re.Pattern[str]:
        """Matches a text that is a marker and nothing else."""
        return re.compile(rf"{self._marker.pattern}\Z")

    @property
    def first(self) -> str:
        """The character with which markers begin."""
        return self._prefix[0]

    def wrapped(self, text: str, wrapping: str) -> str:
        """Return a text with each marker put into ``wrapping``, in place of its ``{}``."""
        return self._marker.sub(lambda match: wrapping.format(match[0]), text)

    def is_marker(self, text: str) -> bool:
        """Whether a text is a marker and nothing else."""
        return text in self._found

    def has_marker(self, text: str) -> bool:
        """Whether a text contains a marker."""
        return self._prefix in text

    def filled(self, text: str) -> Any:
        """Return a string with values in place of its markers; one that only names a key of the base is its value."""
        if self._prefix not in text:
            return text
        if text in self._found and self._found[text]["base"] is not None:
            return self.value(text)
        return self._marker.sub(lambda match: self._in_words(match[0]), text)

    def original(self, line: int) -> str:
        """Return a line of the file as it was written."""
        return self._text.splitlines()[line - 1]

    def value(self, marker: str) -> Any:
        """Return what a marker stands for.

        Raises:
            ConfigKeyError: There is no such variable, or no such key of the base.
            ConfigParsingError: There is no such template, or it needs a file.
        """
        if marker in self._errors:
            raise self._errors[marker]
        return self._values[marker]

    def _in_words(self, marker: str) -> str:
        return str(self.value(marker)) if marker in self._found else marker

    def _take(self, marker: str, find: Callable[[], Any]) -> None:
        try:
            self._values[marker] = find()
        except (ConfigKeyError, ConfigParsingError) as error:
            self._errors[marker] = error

    def _replaced(self, match: re.Match[str], predefined: bool, environment: bool) -> str:
        marker = f"{self._prefix}{len(self._found)}__"
        if match["file"] is not None:
            if not predefined:
                return match[0]
            self._take(marker, lambda: self._of_file(match))
        elif match["variable"] is not None:
            if not environment:
                return match[0]
            self._take(marker, lambda: self._of_environment(match))
        self._found[marker] = match
        return marker

    def _of_file(self, match: re.Match[str]) -> str:
        name = match["file"]
        if name not in _FILE_PARTS:
            raise ConfigParsingError(
                f"{self._place(match)}: there is no {match[0]}.{did_you_mean(name, _FILE_PARTS)} There are:"
                f" {', '.join(_FILE_PARTS)}."
            )
        if self._path is None:
            raise ConfigParsingError(f"{match[0]} needs a file, but this configuration was given as a string.")
        return _FILE_PARTS[name](self._path)

    def _of_environment(self, match: re.Match[str]) -> str:
        name, default = match["variable"], match["default"]
        if name in os.environ:
            self.environment[name] = os.environ[name]
            return os.environ[name]
        if not default:
            raise ConfigKeyError(
                f"{self._place(match)}: the environment has no variable {name!r}.{did_you_mean(name, os.environ)} Set"
                f" it, or give a default: {{{{ ${name}:default }}}}."
            )
        return str(default)

    def _of_base(self, base: Mapping[str, Any], match: re.Match[str]) -> Any:
        value: Any = base
        for part in match["base"].split("."):
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, (list, tuple)) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                near = did_you_mean(part, map(str, value)) if isinstance(value, dict) else ""
                raise ConfigKeyError(f"{self._place(match)}: the base has no {match['base']!r}.{near}")
        return value

    def _place(self, match: re.Match[str]) -> str:
        line = self._text.count("\n", 0, match.start()) + 1
        return f"{self._path or '<string>'}, line {line}"
