"""Log lines: to the console for the person, to a file for later."""

from __future__ import annotations

import logging
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..dist import get_rank
from ..utils import ManagerMixin, did_you_mean, explained, explaining
from .console import get_console, live_display_active

if TYPE_CHECKING:
    import os

__all__ = ["MMLogger", "print_log"]

_COLOURS = {"DEBUG": "34", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class MMLogger(logging.Logger, ManagerMixin):
    """A logger with a console handler and, if asked for, a file handler, that any code finds by name.

    It stands apart from the loggers of :func:`logging.getLogger`: no other logging configuration concerns
    it. Of several processes only the main one has a file, and shows on the console what is below
    ``WARNING``.

    Args:
        name: Name of the instance, for :meth:`get_instance`.
        logger_name: Name that stands in the log lines.
        log_file: Path of the log file; its directory is made where missing. None for none.
        log_level: Name or number of the lowest level that is logged.
        file_mode: How the file is opened: ``"a"`` appends, ``"w"`` begins anew.
        distributed: Let every process have a log file; that of rank ``n`` > 0 is called
            ``<stem>_rank<n><suffix>``. The level ``DEBUG`` does that, too.

    Raises:
        ValueError: ``log_level`` is no level.

    >>> logger = MMLogger("doc", logger_name="example", log_level="WARNING")
    >>> logger.info("not shown")
    """

    def __init__(
        self,
        name: str,
        logger_name: str = "mainspring",
        log_file: str | os.PathLike[str] | None = None,
        log_level: int | str = "INFO",
        file_mode: str = "a",
        distributed: bool = False,
    ) -> None:
        logging.Logger.__init__(self, logger_name, _level(log_level))
        ManagerMixin.__init__(self, name)
        rank = get_rank()
        console = _ConsoleHandler()
        console.setLevel(logging.NOTSET if rank == 0 else logging.WARNING)
        console.setFormatter(_LineFormatter("%m/%d %H:%M:%S", coloured=True))
        self.addHandler(console)
        self._asked_file = None if log_file is None else Path(log_file).absolute()
        self._log_file: Path | None = None
        if self._asked_file is not None and (rank == 0 or distributed or self.level == logging.DEBUG):
            self._log_file = _file_of_rank(self._asked_file, rank)
            with explaining("The log file cannot be made", self._log_file):
                self._log_file.parent.mkdir(parents=True, exist_ok=True)
                file = _FileHandler(self._log_file, mode=file_mode, encoding="utf-8")
            file.setFormatter(_LineFormatter("%Y/%m/%d %H:%M:%S"))
            self.addHandler(file)
            # When the logger goes. At the end of the process logging closes it, after everybody's last words.
            weakref.finalize(self, file.close).atexit = False

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> Self:
        """Return the logger called ``name``; make it from ``kwargs`` where there is none yet.

        If ``kwargs`` names another log file than that of the logger, a new logger takes its place: a second
        run never writes into the file of the first.
        """
        log_file = kwargs.get("log_file")
        if log_file is not None and cls.check_instance_created(name):
            existing: Self = cls._instance_dict[name]
            if existing._asked_file != Path(log_file).absolute():
                return cls.new_instance(name, **kwargs)
        return super().get_instance(name, **kwargs)

    @classmethod
    def get_current_instance(cls) -> Self:
        """Return the logger that was made last; where there is none, one called ``mainspring`` is made."""
        if not cls._instance_dict:
            return cls.get_instance("mainspring")
        return super().get_current_instance()

    @property
    def log_file(self) -> str | None:
        """Path of this process's log file, or None."""
        return None if self._log_file is None else str(self._log_file)

    def close_file(self) -> None:
        """Let go of the log file; the next record opens it again."""
        for handler in self.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        """Return whether a record of ``level`` would be logged."""
        # The base class answers from a cache that is emptied only for the loggers of logging.getLogger.
        return not self.disabled and level >= self.level and level > self.manager.disable

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy or an unpickled one is the logger of that name, as with the loggers of logging.getLogger.
        return type(self).get_instance, (self.instance_name,)


def print_log(msg: object, logger: logging.Logger | str | None = None, level: int = logging.INFO) -> None:
    """Log a message.

    Args:
        msg: The message.
        logger: A logger; the instance name of an :class:`MMLogger`; ``"current"`` for the one made last;
            ``"silent"`` to log nothing; None to ``print``.
        level: Level of the record, such as ``logging.WARNING``.

    Raises:
        ValueError: There is no logger of that name.
        TypeError: ``logger`` is something else.
    """
    if logger is None:
        print(msg)
    elif isinstance(logger, logging.Logger):
        logger.log(level, msg, stacklevel=2)
    elif logger == "current":
        MMLogger.get_current_instance().log(level, msg, stacklevel=2)
    elif not isinstance(logger, str):
        raise TypeError(
            "logger must be a logging.Logger, the name of an MMLogger, 'current', 'silent' or None,"
            f" got {logger!r} ({type(logger).__name__})."
        )
    elif logger != "silent":
        if not MMLogger.check_instance_created(logger):
            raise ValueError(
                f"There is no MMLogger called {logger!r}.{did_you_mean(logger, MMLogger._instance_dict)}"
                " Make it with MMLogger.get_instance(name), or say 'current' for the one made last."
            )
        MMLogger.get_instance(logger).log(level, msg, stacklevel=2)


class _FileHandler(logging.FileHandler):
    """Writes to the log file. Where that fails, says so once, and the run goes on: the console has the lines too."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._tell(error)
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()  # which writes what it could not write before
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            print(explained(error, "The log file cannot be written", self.baseFilename), file=sys.stderr)


class _ConsoleHandler(logging.Handler):
    """Writes to the standard output, or above the live display that runs there."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not live_display_active():
                sys.stdout.write(self.format(record) + "\n")
                sys.stdout.flush()
            elif not getattr(record, "live", False):
                from rich.text import Text

                get_console().print(Text.from_ansi(self.format(record)), soft_wrap=True)
        except Exception:
            self.handleError(record)


class _LineFormatter(logging.Formatter):
    """``time - name - LEVEL - message``, and for errors the place in the code before the message.

    Args:
        datefmt: Format of the time.
        coloured: Colour the level where the console is a terminal with colours.
    """

    def __init__(self, datefmt: str, coloured: bool = False) -> None:
        super().__init__("%(asctime)s", datefmt)
        self._coloured = coloured

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        level, place = record.levelname, ""
        if self._coloured and level in _COLOURS and _console_has_colours():
            level = f"\x1b[{_COLOURS[level]}m{level}\x1b[0m"
        if record.levelno >= logging.ERROR:
            place = f"{record.pathname} - {record.funcName} - {record.lineno} - "
        return f"{record.asctime} - {record.name} - {level} - {place}{record.message}"


def _console_has_colours() -> bool:
    console = get_console()
    return console.is_terminal and console.color_system is not None and not console.no_color


def _level(level: int | str) -> int:
    if isinstance(level, int):
        return level
    if not isinstance(level, str):
        raise TypeError(f"log_level must be a name such as 'INFO', or a number, but it is {level!r}.")
    levels = logging.getLevelNamesMapping()
    if level.upper() not in levels:
        raise ValueError(
            f"log_level {level!r} is no level.{did_you_mean(level, levels)} The levels are: {', '.join(levels)}."
        )
    return levels[level.upper()]


def _file_of_rank(path: Path, rank: int) -> Path:
    return path if rank == 0 else path.with_name(f"{path.stem}_rank{rank}{path.suffix}")
