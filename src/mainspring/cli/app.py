"""The commands. Each imports what it needs when it is called: to ask for help imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from .._version import __version__
from .options import ReadOptions, RunOptions

__all__ = ["app"]

# What cyclopts reads at run time cannot stand under TYPE_CHECKING.
_FLAG = Parameter(negative=())
_READ = ReadOptions()
_RUN = RunOptions()

app = App(
    name="mainspring",
    help="Train, validate and test models by a configuration (Python, YAML, JSON), or by a Python file that defines"
    " make_runner(). An error is told in a message; --traceback shows where it was raised.",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(show_default=False),
)
app["--help"].group = app["--version"].group = "Help"
app.register_install_completion_command(help="Install completion for this shell (bash, zsh, fish, PowerShell).")
app["--install-completion"].group = "Help"

config = App(name="config", help="Show configurations, compare them, and tell where a value comes from.")
app.command(config)


@app.command
def train(path: Path, /, *, options: RunOptions = _RUN, resume: bool | None = None) -> None:
    """Train; go on where a run of the same work_dir was stopped.

    Args:
        path: A configuration, or a Python file that defines make_runner().
        resume: Go on from the newest whole checkpoint in the work_dir, if there is one. That is so unless
            --no-resume is given.
    """
    from . import running

    running.train(path, options, resume)


@app.command
def val(path: Path, checkpoint: str | None = None, /, *, options: RunOptions = _RUN) -> None:
    """Validate, and print the metrics.

    Args:
        path: A configuration, or a Python file that defines make_runner().
        checkpoint: Whose weights; by default the newest in the work_dir.
    """
    from . import running

    running.evaluate(path, checkpoint, options, "val")


@app.command(name="test")
def run_test(path: Path, checkpoint: str | None = None, /, *, options: RunOptions = _RUN) -> None:
    """Test, and print the metrics.

    Args:
        path: A configuration, or a Python file that defines make_runner().
        checkpoint: Whose weights; by default the newest in the work_dir.
    """
    from . import running

    running.evaluate(path, checkpoint, options, "test")


@app.command
def resume(path: Path, checkpoint: str | None = None, /, *, options: RunOptions = _RUN) -> None:
    """Go on with a training; there must be a checkpoint to go on from.

    Args:
        path: A configuration, or a Python file that defines make_runner().
        checkpoint: Where to go on; by default from the newest whole one in the work_dir.
    """
    from . import running

    running.go_on(path, checkpoint, options)


@app.command
def check(
    path: Path,
    /,
    *,
    options: RunOptions = _RUN,
    strict: bool = True,
    steps: int = 5,
) -> int:
    """Try everything for a few steps before the real run, and change nothing.

    Args:
        path: A configuration, or a Python file that defines make_runner().
        strict: What only looks wrong in the configuration is an error, too.
        steps: How many batches of each loader are tried.
    """
    from . import checking

    return checking.check(path, options, strict, steps)


@config.command
def show(
    path: Path,
    /,
    *,
    options: ReadOptions = _READ,
    format: Literal["py", "yaml", "json"] = "py",  # noqa: A002
) -> None:
    """Print a configuration whole, with its bases and changes.

    Args:
        path: A configuration.
        format: In which language.
    """
    from . import showing

    showing.show(path, options, format)


@config.command
def diff(first: Path, second: Path, /) -> None:
    """Print in what two configurations differ, as `diff -u` does.

    Args:
        first: A configuration.
        second: Another one.
    """
    from . import showing

    showing.diff(first, second)


@config.command
def explain(path: Path, keys: tuple[str, ...] = (), /, *, options: ReadOptions = _READ) -> None:
    """Tell the file and the line where values come from.

    Args:
        path: A configuration.
        keys: Such as optim_wrapper.optimizer.lr; by default all.
    """
    from . import showing

    showing.explain(path, keys, options)


@app.command
def plot(
    runs: tuple[Path, ...],
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    key: Annotated[tuple[str, ...], _FLAG] = (),
) -> None:
    """Show the scalars of one or several runs as a table, or draw them.

    Args:
        runs: Work directories, or files of scalars.
        out: A picture, *.png, to draw instead (needs matplotlib).
        key: Only scalars with this in their name, such as loss; may be repeated.
    """
    from . import plotting

    plotting.plot(runs, out, key)


@app.command(name="lr-find")
def lr_find(
    path: Path,
    /,
    *,
    options: RunOptions = _RUN,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    updates: int = 100,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Train a little with rising learning rates, and suggest one.

    Args:
        path: A configuration, or a Python file that defines make_runner().
        start_lr: The first learning rate.
        end_lr: The last one.
        updates: How many are tried.
        out: A picture of the losses, *.png (needs matplotlib).
    """
    from . import finding

    finding.find(path, options, start_lr, end_lr, updates, out)


@app.command
def env() -> None:
    """Print versions, devices and the like, for a report of a bug."""
    from ..utils import collect_env

    for name, value in collect_env().items():
        print(f"{name}: {value}")
