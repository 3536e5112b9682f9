"""The way in, and the way out: errors become messages, and numbers for the shell.

====  ==================================================================================
code  means
====  ==================================================================================
0     done
1     an error, or a check that has found something
2     the command line itself is wrong
130   stopped by Ctrl-C; a run that trains has saved a checkpoint before
143   stopped by SIGTERM; the same
138   stopped by SIGUSR1; the same (on Linux)
====  ==================================================================================
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .errors import UsageError

__all__ = ["main"]

_OURS = str(Path(__file__).resolve().parents[1]) + os.sep
_PYTHON = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))
_SAID = (ArithmeticError, AssertionError, AttributeError, IndexError, NameError, NotImplementedError)
"""What nobody raises to tell a user something: with these, where they were raised says more than what they say."""


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run a command, and end the process with its exit code.

    Args:
        tokens: The command line; by default that of the process. ``--traceback`` may stand anywhere in it.
    """
    given = list(sys.argv[1:] if tokens is None else tokens)
    shows_all = "--traceback" in given or os.environ.get("MAINSPRING_TRACEBACK", "") not in ("", "0")
    given = [token for token in given if token != "--traceback"]
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` has it: modules of the project are found, however it was called
    sys.exit(_run(given, shows_all))


def _run(tokens: list[str], shows_all: bool) -> int:
    from .app import app

    try:
        command, bound, _ = app.parse_args(tokens)
        result: Any = command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        _say("Stopped by Ctrl-C.")
        return 130
    except BrokenPipeError:  # whoever reads, as `head` does, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        _say(f"Error: {error}")
        return 2
    except Exception as error:
        if shows_all or not _speaks_for_itself(error):
            traceback.print_exception(error)
        else:
            _say(f"Error: {_message(error)}")
            _say("(--traceback shows where it was raised.)")
        return 1


def _say(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr)


def _message(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)).strip()
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return "\n".join([text or type(error).__name__, *getattr(error, "__notes__", ())])


def _speaks_for_itself(error: Exception) -> bool:
    """Whether an error is a message of ours: raised by this package, with no code of the user on the way."""
    if isinstance(error, SyntaxError):
        return True  # it names the file and the line
    if isinstance(error, _SAID) and not isinstance(error, KeyError):
        return False
    places = list(_files(error))
    raised_at = places[-1] if places else ""
    return raised_at.startswith(_OURS) and not any(_is_users(name) for name in _all_files(error))


def _all_files(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    ahead: BaseException | None = error
    while ahead is not None and id(ahead) not in seen:
        seen.add(id(ahead))
        yield from _files(ahead)
        ahead = ahead.__cause__


def _files(error: BaseException) -> Iterator[str]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield frame.f_code.co_filename


def _is_users(filename: str) -> bool:
    if filename.startswith("<"):  # frozen parts of Python, and code that was made from a text
        return False
    path = os.path.abspath(filename)
    return not path.startswith((_OURS, *_PYTHON, *_INSTALLED))
