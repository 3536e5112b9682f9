"""From the scalars of a run to one line for people and one record for machines."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from ..device import max_memory_allocated
from ..hooks.results import is_left_out
from ..logging import HistoryBuffer
from ..registry import LOG_PROCESSORS
from ..utils import did_you_mean

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["LogProcessor"]

Window = int | Literal["epoch", "global"] | None

_MODES = ("train", "val", "test")


@dataclass(frozen=True)
class _Statistic:
    """What the user asked for in one entry of ``custom_cfg``."""

    source: str
    name: str
    method: str
    window: Window
    arguments: dict[str, Any]

    def of(self, history: HistoryBuffer, iterations: int, batches: int) -> Any:
        if self.window is None:
            return history.statistics(self.method, **self.arguments)
        window = self.window
        if window == "epoch":
            window = max(batches, 1)
        elif window == "global":
            window = max(iterations, history.total_updates)
        return history.statistics(self.method, window_size=window, **self.arguments)


@LOG_PROCESSORS.register_module()
class LogProcessor:
    """Reads the message hub's scalars of a mode (``train/loss``, ``val/time``, ...) and puts them into log lines.

    Of a scalar whose name matches ``mean_pattern`` the mean of the newest ``window_size`` values is logged,
    of others the newest value. After an epoch of validation or testing, ``time`` and ``data_time`` are
    means of the epoch, and everything else is the newest value.

    Args:
        window_size: How many values a mean is taken of.
        by_epoch: Whether a line says epoch and batch, or iteration.
        custom_cfg: Further statistics, or others than the usual ones. Each is a dict of ``data_src`` (name
            of the scalar without its mode), ``method_name`` (``"mean"``, ``"min"``, ``"max"``,
            ``"current"`` or what was registered with :meth:`HistoryBuffer.register_statistics`), and where
            wanted ``log_name`` (what it is called; without it, it takes the place of the scalar),
            ``window_size`` (a number, ``"epoch"`` or ``"global"``), and further arguments of the method.
        num_digits: Digits after the point. A number that would show as zero, but is none, is written with an
            exponent.
        log_with_hierarchy: Whether names in the record keep their mode: ``train/loss``.
        mean_pattern: Regular expression, searched in names without their mode.

    Raises:
        ValueError: An argument is impossible; two entries of ``custom_cfg`` have one result.

    >>> processor = LogProcessor(
    ...     custom_cfg=[dict(data_src="loss", log_name="loss_epoch", method_name="mean", window_size="epoch")]
    ... )
    """

    def __init__(
        self,
        window_size: int = 10,
        by_epoch: bool = True,
        custom_cfg: Sequence[Mapping[str, Any]] | None = None,
        num_digits: int = 4,
        log_with_hierarchy: bool = False,
        mean_pattern: str = r".*(loss|time|data_time|grad_norm).*",
    ) -> None:
        if not _is_count(window_size, least=1):
            raise ValueError(f"window_size must be a whole number of at least 1, got {window_size!r}.")
        if not _is_count(num_digits, least=0):
            raise ValueError(f"num_digits must be a whole number of at least 0, got {num_digits!r}.")
        try:
            self._mean_pattern = re.compile(mean_pattern)
        except (re.error, TypeError) as error:
            raise ValueError(f"mean_pattern {mean_pattern!r} is no regular expression: {error}.") from error
        self.window_size = window_size
        self.by_epoch = by_epoch
        self.num_digits = num_digits
        self.log_with_hierarchy = log_with_hierarchy
        self._statistics = _statistics(custom_cfg, by_epoch)
        self._averaged: dict[str, bool] = {}  # by name, whether the pattern matches

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Return the record and the line that belong to an iteration.

        Args:
            runner: The run.
            batch_idx: Number of the batch in its epoch, from 0.
            mode: ``"train"``, ``"val"`` or ``"test"``.

        Returns:
            Everything by its name, with ``iter`` (iterations done), and ``epoch`` where lines count epochs;
            and the line, which in validation and testing shows times only.
        """
        _check_mode(mode, _MODES)
        scalars = self._collect(runner, mode, batches=batch_idx + 1)
        record = self._named(scalars, mode)
        items = [self._learning_rates(scalars)]
        eta = runner.message_hub.get_info("eta")
        if eta is not None and math.isfinite(eta):
            items.append(f"eta: {timedelta(seconds=int(eta))}")
        items += [self._item(name, scalars.pop(name)) for name in ("time", "data_time") if name in scalars]
        memory = max_memory_allocated(runner.device)
        if memory is not None:
            items.append(f"memory: {memory}")
            record["memory"] = memory
        if mode == "train":
            items += [self._item(name, value) for name, value in scalars.items() if not name.endswith("lr")]
        if self.by_epoch and mode != "test":
            record["epoch"] = _epoch(runner, mode)
        record["iter"] = runner.iter + 1 if mode == "train" else runner.iter
        return record, "  ".join([self._place(runner, batch_idx + 1, mode), *items]).rstrip()

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        """Return the record and the line that belong to an epoch of validation or testing.

        Args:
            runner: The run.
            batch_idx: How many batches the epoch had.
            mode: ``"val"`` or ``"test"``.
            with_non_scalar: Whether the record holds the results that are no numbers, too. The line does.

        Returns:
            Metrics first, then times; and the line.
        """
        _check_mode(mode, ("val", "test"))
        scalars = self._collect(runner, mode, batches=batch_idx, after_epoch=True)
        times = {name: scalars.pop(name) for name in ("time", "data_time") if name in scalars}
        infos = runner.message_hub.runtime_info
        others = {name.removeprefix(f"{mode}/"): infos[name] for name in infos if name.startswith(f"{mode}/")}
        if mode == "val":  # of a set that this validation leaves out, the newest values are old
            scalars = {name: value for name, value in scalars.items() if not is_left_out(name, runner)}
            others = {name: value for name, value in others.items() if not is_left_out(name, runner)}
        results = scalars | others | times
        line = "  ".join(
            [self._place(runner, batch_idx, mode), "", *(self._item(name, value) for name, value in results.items())]
        )
        return self._named(results if with_non_scalar else scalars | times, mode), line.rstrip()

    def _collect(self, runner: Runner, mode: str, batches: int, after_epoch: bool = False) -> dict[str, Any]:
        hub = runner.message_hub
        hub.flush()
        prefix = f"{mode}/"
        histories = {
            name.removeprefix(prefix): history for name, history in hub.log_scalars.items() if name.startswith(prefix)
        }
        scalars: dict[str, Any] = {}
        for name, history in histories.items():
            if after_epoch and name in ("time", "data_time"):
                scalars[name] = history.mean(max(batches, 1))
            elif not after_epoch and self._is_averaged(name):
                scalars[name] = history.mean(self.window_size)
            else:
                scalars[name] = history.current()
        for statistic in self._statistics:
            if statistic.source in histories:
                history = histories[statistic.source]
                scalars[statistic.name] = statistic.of(history, runner.iter + 1, batches)
        return scalars

    def _is_averaged(self, name: str) -> bool:
        found = self._averaged.get(name)
        if found is None:
            found = self._averaged[name] = self._mean_pattern.search(name) is not None
        return found

    def _named(self, values: dict[str, Any], mode: str) -> dict[str, Any]:
        return {f"{mode}/{name}": value for name, value in values.items()} if self.log_with_hierarchy else dict(values)

    def _learning_rates(self, scalars: dict[str, Any]) -> str:
        rates = (f"{k}: {v:.{self.num_digits}e}" for k, v in scalars.items() if k.endswith("lr"))
        return " ".join(rates)

    def _item(self, name: str, value: Any) -> str:
        if not isinstance(value, float):
            return f"{name}: {value}"
        text = f"{value:.{self.num_digits}f}"
        if value != 0 and float(text) == 0:
            text = f"{value:.{self.num_digits}e}"
        return f"{name}: {text}"

    def _place(self, runner: Runner, batch: int, mode: str) -> str:
        """Return ``Epoch(train)  [1][10/22]`` and the like; numbers are as wide as the last of their kind."""
        if not self.by_epoch and mode == "train":
            return f"Iter(train) {_of(runner.iter + 1, runner.max_iters)}"
        place = _of(batch, _batches(runner, mode))
        if not self.by_epoch:
            return f"Iter({mode}) {place}"
        if mode == "test":
            return f"Epoch(test) {place}"
        # Only training knows how many epochs there will be.
        width = len(str(runner.max_epochs)) + 2 if mode == "train" else 0
        return f"Epoch({mode}) {f'[{_epoch(runner, mode)}]':>{width}}{place}"


def _epoch(runner: Runner, mode: str) -> int:
    # While an epoch is trained, its number of epochs done is one behind; at the validation after it, no more.
    return runner.epoch + 1 if mode == "train" else runner.epoch


def _of(number: int, total: int | None) -> str:
    # An evaluation of several sets of data has more batches than the loader that the runner names.
    return f"[{number}]" if total is None else f"[{number:>{len(str(total))}}/{max(number, total)}]"


def _batches(runner: Runner, mode: str) -> int | None:
    if mode == "train":
        loader = runner.train_dataloader
    else:
        loader = runner.val_dataloader if mode == "val" else runner.test_dataloader
    try:
        return len(loader)
    except TypeError:  # of a stream nobody knows the length
        return None


def _check_mode(mode: str, modes: Sequence[str]) -> None:
    if mode not in modes:
        raise ValueError(f"mode must be {' or '.join(map(repr, modes))}, got {mode!r}.")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _statistics(custom_cfg: Any, by_epoch: bool) -> list[_Statistic]:
    if custom_cfg is None:
        return []
    if isinstance(custom_cfg, (str, Mapping)) or not isinstance(custom_cfg, Sequence):
        raise ValueError(f"custom_cfg must be a list of dicts, got {custom_cfg!r}.")
    found: dict[str, int] = {}
    statistics = []
    for index, entry in enumerate(custom_cfg):
        statistic = _statistic(entry, f"custom_cfg[{index}]", by_epoch)
        if statistic.name in found:
            raise ValueError(
                f"custom_cfg[{index}] and custom_cfg[{found[statistic.name]}] both log {statistic.name!r}:"
                " give one of them a log_name of its own."
            )
        found[statistic.name] = index
        statistics.append(statistic)
    return statistics


def _statistic(entry: Any, path: str, by_epoch: bool) -> _Statistic:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{path} must be a dict, got {entry!r}.")
    given = dict(entry)
    for key in ("data_src", "method_name"):
        if not isinstance(given.get(key), str):
            raise ValueError(f"{path}.{key} must be a string, got {given.get(key)!r} in {dict(entry)!r}.")
    source, method, window = given.pop("data_src"), given.pop("method_name"), given.pop("window_size", None)
    name = given.pop("log_name", source)
    mode = source.partition("/")[0]
    if mode in _MODES:
        raise ValueError(f"{path}.data_src: leave the mode out and say {source.removeprefix(mode + '/')!r}.")
    methods = HistoryBuffer._statistics_methods
    if method not in methods:
        raise ValueError(
            f"{path}.method_name: there is no statistic {method!r}.{did_you_mean(method, methods)}"
            f" The statistics are: {', '.join(methods)}."
        )
    if window not in (None, "epoch", "global") and not _is_count(window, least=1):
        raise ValueError(
            f"{path}.window_size must be a whole number of at least 1, 'epoch' or 'global', got {window!r}."
        )
    if window == "epoch" and not by_epoch:
        raise ValueError(f"{path}.window_size cannot be 'epoch' with by_epoch=False: give a number or 'global'.")
    arguments = given if window is None else {**given, "window_size": window}
    try:
        inspect.signature(methods[method]).bind(None, **arguments)
    except TypeError as error:
        raise ValueError(f"{path}: the statistic {method!r} does not take what is given: {error}.") from error
    return _Statistic(source, name, method, window, given)
