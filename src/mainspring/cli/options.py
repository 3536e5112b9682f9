"""The options that commands share, and what they change in a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..config import Config, ConfigKeyError
from ..config.literals import literal
from ..utils import did_you_mean
from .errors import UsageError

__all__ = ["ReadOptions", "RunOptions", "change", "pairs"]

_HELP_OF_SET = (
    "Change a value: --set train_cfg.max_epochs=3. A new key has a plus: --set +compile=True. Values are numbers, True,"
    " False, None, texts, [lists] and (tuples). May be repeated."
)


@Parameter(name="*")
@dataclass(frozen=True)
class ReadOptions:
    """How a configuration is read."""

    set: Annotated[tuple[str, ...], Parameter(name="--set", negative=(), help=_HELP_OF_SET)] = ()
    trust_config: Annotated[bool, Parameter(negative=())] = False
    """Let YAML and JSON import what they name, which runs code; Python is code anyhow."""


@Parameter(name="*")
@dataclass(frozen=True)
class RunOptions(ReadOptions):
    """What is different in this run."""

    work_dir: str | None = None
    """Where checkpoints, logs and results go; by default work_dirs/ and the name of the configuration."""
    seed: int | None = None
    """From which all randomness follows (randomness.seed)."""
    device: str | None = None
    """Such as cpu or cuda:1 (env_cfg.device)."""
    amp: Annotated[bool, Parameter(negative=())] = False
    """Mixed precision: the AmpOptimWrapper."""
    compile: Annotated[bool, Parameter(negative=())] = False
    """Compile the model by torch.compile."""
    launcher: Literal["none", "pytorch", "slurm", "mpi"] | None = None
    """What has started the processes."""
    load_from: str | None = None
    """A checkpoint whose weights the run begins with."""

    def given(self) -> dict[str, Any]:
        """Return the options that were given, by name; those of :class:`ReadOptions` are left out."""
        own = [field.name for field in fields(self) if field.name not in ("set", "trust_config")]
        return {name: getattr(self, name) for name in own if getattr(self, name) not in (None, False)}


def pairs(given: tuple[str, ...]) -> Iterator[tuple[str, Any, bool]]:
    """Yield key and value of each ``--set``, and whether the key may be a new one.

    Raises:
        UsageError: One is no pair.
    """
    for text in given:
        key, equals, value = text.removeprefix("+").partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"--set {text}: that is no pair of key and value. Write it as --set model.depth=50, without spaces at"
                " the '='."
            )
        try:
            yield key.strip(), literal(value), text.startswith("+")
        except ValueError as error:
            raise UsageError(f"--set {text}: {error}") from error


def change(cfg: Config, options: ReadOptions) -> None:
    """Change a configuration as the command line says.

    Raises:
        UsageError: A key is not there, and does not say that it is a new one.
    """
    for key, value, may_be_new in pairs(options.set):
        if not may_be_new:
            _check_there(cfg, key, value)
        try:
            cfg.merge_from_dict({key: value})
        except (ConfigKeyError, TypeError) as error:
            raise UsageError(f"--set {key}={value!r}: {error}") from error
    if isinstance(options, RunOptions):
        _take_over(cfg, options)


def _take_over(cfg: Config, options: RunOptions) -> None:
    changes: dict[str, Any] = {}
    for key, value in (
        ("work_dir", options.work_dir),
        ("randomness.seed", options.seed),
        ("env_cfg.device", options.device),
        ("launcher", options.launcher),
        ("load_from", options.load_from),
    ):
        if value is not None:
            changes[key] = value
    if options.compile and not isinstance(cfg.get("compile"), Mapping):
        changes["compile"] = True
    if cfg.get("work_dir") is None and options.work_dir is None:
        changes["work_dir"] = f"work_dirs/{Path(cfg.filename or 'config').stem}"
    cfg.merge_from_dict(changes)
    if options.amp:
        _turn_on_amp(cfg)


def _turn_on_amp(cfg: Config) -> None:
    wrapper = cfg.get("optim_wrapper")
    if not isinstance(wrapper, Mapping):
        raise UsageError("--amp changes the type of optim_wrapper, but the configuration has none.")
    several = "optimizer" not in wrapper and "type" not in wrapper
    names = [f"optim_wrapper.{name}" for name, one in wrapper.items() if isinstance(one, Mapping)]
    for path in names if several else ["optim_wrapper"]:
        one = wrapper[path.partition(".")[2]] if several else wrapper
        kind = one.get("type", "OptimWrapper")
        name = (kind if isinstance(kind, str) else getattr(kind, "__name__", "")).rpartition(".")[2]
        if name not in ("OptimWrapper", "AmpOptimWrapper"):
            raise UsageError(
                f"--amp makes an AmpOptimWrapper of an OptimWrapper, but {path}.type is {kind!r}. Leave out --amp, and"
                " turn mixed precision on in the configuration."
            )
        cfg.merge_from_dict({f"{path}.type": "AmpOptimWrapper"})


def _check_there(cfg: Config, key: str, value: Any) -> None:
    """Check that a key is there, and so are those in a dict that is merged into it."""
    here: Any = cfg
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(here, (list, tuple)) and part.isdecimal():
            if int(part) >= len(here):
                return  # merging says so
            here = here[int(part)]
        elif isinstance(here, Mapping) and part in here:
            here = here[part]
        elif isinstance(here, Mapping):
            above = ".".join(parts[:depth])
            raise UsageError(
                f"--set {key}: {above or 'the configuration'} has no {part!r}.{did_you_mean(part, map(str, here))}"
                f" A new key is set with a plus: --set +{key}=..."
            )
        else:
            return  # merging says that nothing can be below it
    if isinstance(value, dict) and isinstance(here, Mapping) and not value.get("_delete_"):
        for name, inner in value.items():
            _check_there(cfg, f"{key}.{name}", inner)
