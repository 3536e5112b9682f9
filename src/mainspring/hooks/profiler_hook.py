"""Where the time of the first iterations goes."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile, supported_activities, tensorboard_trace_handler
from torch.profiler import schedule as make_schedule

from ..dist import is_main_process
from ..registry import HOOKS
from ..utils import check_count, check_type, did_you_mean
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["ProfilerHook"]

_SUMMARY = {"sort_by": "self_cpu_time_total", "row_limit": 10}


@HOOKS.register_module()
class ProfilerHook(Hook):
    """Profiles the first iterations or epochs of training with :class:`torch.profiler.profile`.

    Profiling slows the run down, and what is recorded takes memory: a few iterations tell as much as many. A run that
    goes on from a checkpoint profiles its own first ones.

    Args:
        by_epoch: Whether ``profile_times`` counts epochs or iterations.
        profile_times: How many are profiled.
        activity_with_cpu: Whether what the host does is recorded.
        activity_with_cuda: Whether what the device does is recorded.
        schedule: Arguments of :func:`torch.profiler.schedule`, such as ``dict(wait=1, warmup=1, active=2)``: which
            iterations are recorded. By default all that are profiled.
        on_trace_ready: What is done with a trace: a function that takes the profiler; ``dict(type='log_trace')``,
            which logs a table, with arguments of it such as ``sort_by`` and ``row_limit``; or
            ``dict(type='tb_trace')``, which writes files for TensorBoard into ``dir_name``, by default
            ``tf_tracing_logs`` in the work directory. By default a table of ten lines is logged, unless
            ``json_trace_path`` is given.
        record_shapes: Whether the shapes of inputs are recorded.
        profile_memory: Whether memory is.
        with_stack: Whether the lines of the program are.
        with_flops: Whether the operations of matrix products and convolutions are estimated.
        json_trace_path: A file for the trace, which ``chrome://tracing`` shows; of several processes the main one
            writes it.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an impossible value, or nothing is to be recorded.

    >>> hook = ProfilerHook(by_epoch=False, profile_times=4, schedule=dict(wait=1, warmup=1, active=2))
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        *,
        by_epoch: bool = True,
        profile_times: int = 1,
        activity_with_cpu: bool = True,
        activity_with_cuda: bool = False,
        schedule: Mapping[str, Any] | None = None,
        on_trace_ready: Callable[[profile], Any] | Mapping[str, Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        json_trace_path: str | os.PathLike[str] | None = None,
    ) -> None:
        for name, value, kind in (
            ("by_epoch", by_epoch, bool),
            ("activity_with_cpu", activity_with_cpu, bool),
            ("activity_with_cuda", activity_with_cuda, bool),
            ("schedule", schedule, Mapping | None),
            ("record_shapes", record_shapes, bool),
            ("profile_memory", profile_memory, bool),
            ("with_stack", with_stack, bool),
            ("with_flops", with_flops, bool),
            ("json_trace_path", json_trace_path, str | os.PathLike | None),
        ):
            check_type(value, kind, f"ProfilerHook: {name}")
        check_count(profile_times, "ProfilerHook: profile_times")
        if not (activity_with_cpu or activity_with_cuda):
            raise ValueError(
                "ProfilerHook: there is nothing to record: activity_with_cpu or activity_with_cuda must be True."
            )
        self.by_epoch = by_epoch
        self.profile_times = profile_times
        self.activity_with_cpu = activity_with_cpu
        self.activity_with_cuda = activity_with_cuda
        self.schedule = None if schedule is None else _schedule_of(schedule)
        self.on_trace_ready = _checked_handler(on_trace_ready)
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.json_trace_path = json_trace_path
        self._profiler: profile | None = None
        self._finished = 0

    def before_train(self, runner: Runner) -> None:
        """Begin.

        Raises:
            ValueError: More is to be profiled than the run has.
        """
        unit = "epochs" if self.by_epoch else "iterations"
        there = runner.max_epochs if self.by_epoch and runner.by_epoch else runner.max_iters
        if self.by_epoch and not runner.by_epoch:
            raise ValueError("ProfilerHook counts epochs, but this run counts iterations: write by_epoch=False.")
        if self.profile_times > there:
            raise ValueError(f"ProfilerHook: profile_times is {self.profile_times} {unit}, but the run has {there}.")
        self._finished = 0
        self._profiler = profile(
            activities=self._activities(runner),
            schedule=self.schedule,
            on_trace_ready=self._handler(runner),
            record_shapes=self.record_shapes,
            profile_memory=self.profile_memory,
            with_stack=self.with_stack,
            with_flops=self.with_flops,
        )
        self._profiler.start()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count an iteration."""
        if self._profiler is None:
            return
        self._profiler.step()
        if not self.by_epoch:
            self._count(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Count an epoch."""
        if self._profiler is not None and self.by_epoch:
            self._count(runner)

    def after_train(self, runner: Runner) -> None:
        """End, if the run was shorter than it was to be."""
        self._end(runner)

    def close(self) -> None:
        """Drop what an interrupted run has recorded."""
        if self._profiler is not None:
            self._profiler.on_trace_ready = None
            self._profiler.stop()
            self._profiler = None

    def _count(self, runner: Runner) -> None:
        self._finished += 1
        if self._finished == self.profile_times:
            self._end(runner)

    def _end(self, runner: Runner) -> None:
        if self._profiler is None:
            return
        runner.logger.info("Profiling ends. What was recorded is now gathered, which may take a while.")
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        if self.json_trace_path is not None and is_main_process():
            os.makedirs(os.path.dirname(os.path.abspath(self.json_trace_path)), exist_ok=True)
            profiler.export_chrome_trace(os.fspath(self.json_trace_path))

    def _activities(self, runner: Runner) -> list[ProfilerActivity]:
        activities = [ProfilerActivity.CPU] if self.activity_with_cpu else []
        if self.activity_with_cuda:
            supported: Any = supported_activities  # which has no types
            devices = supported() - {ProfilerActivity.CPU}
            if devices:
                activities += devices
            else:
                runner.logger.warning(
                    "ProfilerHook: activity_with_cuda is True, but torch's profiler finds no device here; what the host"
                    " does is recorded.",
                )
                activities = [ProfilerActivity.CPU]
        return activities

    def _handler(self, runner: Runner) -> Callable[[profile], Any] | None:
        given = self.on_trace_ready
        if given is None:
            return None if self.json_trace_path is not None else partial(_log_table, runner.logger, _SUMMARY)
        if callable(given):
            return given
        options = dict(given)
        if options.pop("type") == "log_trace":
            return partial(_log_table, runner.logger, options)
        options["dir_name"] = os.path.join(runner.work_dir, options.get("dir_name") or "tf_tracing_logs")
        writer: Callable[[profile], Any] = tensorboard_trace_handler(**options)
        return writer


def _log_table(logger: logging.Logger, options: Mapping[str, Any], profiler: profile) -> None:
    logger.info("\n%s", profiler.key_averages().table(**options))


def _schedule_of(given: Mapping[str, Any]) -> Callable[[int], torch.profiler.ProfilerAction]:
    _check_options(given, make_schedule, "ProfilerHook: schedule")
    try:
        made: Callable[[int], torch.profiler.ProfilerAction] = make_schedule(**given)
    except (TypeError, AssertionError) as error:
        raise ValueError(
            f"ProfilerHook: schedule is {dict(given)!r}, which torch.profiler refuses: {error}."
        ) from error
    return made


def _checked_handler(given: Any) -> Callable[[profile], Any] | Mapping[str, Any] | None:
    if given is None or (callable(given) and not isinstance(given, Mapping)):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(
            "ProfilerHook: on_trace_ready must be a function, or dict(type='log_trace') or dict(type='tb_trace'), but"
            f" it is {given!r}."
        )
    makers: dict[str, Callable[..., Any]] = {"log_trace": EventList.table, "tb_trace": tensorboard_trace_handler}
    kind = given.get("type")
    if kind not in makers:
        raise ValueError(
            f"ProfilerHook: on_trace_ready['type'] must be 'log_trace' or 'tb_trace', but it is {kind!r}."
            f"{did_you_mean(str(kind), makers)}"
        )
    options = {key: value for key, value in given.items() if key != "type"}
    _check_options(options, makers[kind], "ProfilerHook: on_trace_ready")
    return given


def _check_options(given: Mapping[str, Any], function: Callable[..., Any], path: str) -> None:
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    for key in given:
        if key not in known:
            raise ValueError(
                f"{path}.{key}: there is no such option.{did_you_mean(str(key), known)} The options are:"
                f" {', '.join(known)}."
            )
