"""A run tried before it is run: a few steps of each kind, and all put back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoint import load_weights, read_checkpoint, save_checkpoint
from ..hooks.optimizer_modes_hook import optimizers_with_modes
from ..registry import DefaultScope
from ..utils import Stream, display_path, generator_states, step_seeder
from . import state
from .base_loop import BaseLoop, BaseTrainLoop
from .check_monitors import check_monitors
from .check_report import CheckReport, NotTriedError, PassFigures, Stage
from .check_timing import Stopwatch, expected_duration, length_of, peak_of_device, peak_of_process, reset_peak
from .evaluation_loop import EvaluationLoop
from .findings import Finding, errors_of, report
from .fingerprint import check_fingerprint, fingerprint
from .keeping import all_kept
from .look_over import look_over

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["check_run", "looked_over", "told_error"]

_PURPOSE = {"train": "training", "val": "validation", "test": "testing"}


def check_run(runner: Runner, strict: bool = True, steps: int = 5) -> CheckReport:
    """Try a run, as :meth:`Runner.check` says."""
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"check: steps must be a whole number of at least 1, but it is {steps!r}.")
    return _Check(runner, strict, steps).run()


def looked_over(findings: Sequence[Finding], strict: bool) -> Stage:
    """Return the first stage: what reading the configuration has found."""
    errors = errors_of(findings, strict)
    if errors:
        return Stage("configuration", "failed", report(errors))
    return Stage("configuration", "ok", report(findings) if findings else "nothing to complain of")


def told_error(error: BaseException) -> str:
    """Return an error as one text: its class unless that says no more, its message, and its notes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return "\n".join([f"{type(error).__name__}: {text}" if text else type(error).__name__, *_notes_of(error)])


def _notes_of(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


class _Check:
    """A check, stage by stage.

    Args:
        runner: What is tried.
        strict: Whether warnings about the configuration are errors.
        steps: How many batches of each loader are tried.
    """

    def __init__(self, runner: Runner, strict: bool, steps: int) -> None:
        self._runner = runner
        self._strict = strict
        self._steps = steps
        self._stages: list[Stage] = []
        self._passes: dict[str, PassFigures] = {}
        self._metrics: list[str] = []
        self._size: int | None = None

    def run(self) -> CheckReport:
        runner = self._runner
        findings = look_over(runner._given, runner.cfg)
        self._stages.append(looked_over(findings, self._strict))
        with DefaultScope.overwrite_default_scope(runner.default_scope):
            for shared in (runner.logger, runner.message_hub, runner.visualizer):
                shared.make_current()
            generators = self._build()
            loops = [_loop(runner, mode) for mode, purpose in _PURPOSE.items() if self._has(purpose)]
            reset_peak(runner.device)
            with all_kept(runner, loops, generators) as begin_again:
                self._try("weights", self._weights)
                self._try("train", self._train, needs=("training", "optimizer"))
                if not self._has("train"):
                    begin_again()  # what a failed step leaves, such as weights that are NaN, is no fault of the others
                self._try("val", lambda: self._evaluate("val"), needs=("validation",))
                self._try("test", lambda: self._evaluate("test"), needs=("testing",))
                self._try("monitors", lambda: check_monitors(runner, self._metrics), needs=("val",))
                self._try("checkpoint", self._checkpoint)
            device_memory = peak_of_device(runner.device)
        return self._reported(findings, device_memory)

    # What is told of a stage.

    def _try(self, name: str, work: Callable[[], str], needs: Sequence[str] = ()) -> None:
        """Run a stage, unless one that it needs has not gone well."""
        missing = [need for need in needs if not self._has(need)]
        if missing:
            given = [stage for stage in self._stages if stage.name == missing[0]]
            if given and given[0].outcome == "failed":
                self._stages.append(Stage(name, "skipped", f"since {missing[0]} failed"))
            return
        try:
            self._stages.append(Stage(name, "ok", work()))
        except NotTriedError as reason:
            self._stages.append(Stage(name, "skipped", str(reason)))
        except Exception as error:
            self._stages.append(Stage(name, "failed", told_error(error), error))

    def _has(self, name: str) -> bool:
        return any(stage.name == name and stage.outcome == "ok" for stage in self._stages)

    def _build(self) -> dict[str, Any]:
        """Build what is given, in the order of ``Runner.train()``, and return the generators as that leaves them."""
        given = self._runner._given
        for mode in ("train", "val"):
            if given[f"{mode}_cfg"] is not None:
                self._try(_PURPOSE[mode], partial(self._loop_text, mode))
        if given["train_cfg"] is not None:
            self._try("optimizer", self._optimizer)
        generators = generator_states(self._runner.device)
        if given["test_cfg"] is not None:
            self._try(_PURPOSE["test"], partial(self._loop_text, "test"))
        return generators

    def _loop_text(self, mode: str) -> str:
        loop: Any = _loop(self._runner, mode)
        loader = getattr(loop, "dataloader", None)
        if mode == "train" and self._runner.by_epoch:
            length = (
                f"{_count(self._runner.max_epochs, 'epoch')} of {_count(getattr(loop, 'num_batches', None), 'batch')}"
            )
        elif mode == "train":
            length = _count(self._runner.max_iters, "iteration")
        else:
            sets = loop._sets if isinstance(loop, EvaluationLoop) else []
            numbers = [
                f"{_count(length_of(one.dataloader), 'batch')}{f' of {one.name}' * bool(one.name)}" for one in sets
            ]
            length = ", ".join(numbers)
        data = type(getattr(loader, "dataset", None)).__name__
        return f"{type(loop).__name__}: {length}, {data}"

    def _optimizer(self) -> str:
        runner = self._runner
        wrapper: Any = runner.optim_wrapper
        schedules = len(runner.schedules)
        parts = getattr(wrapper, "parts", {"": wrapper})  # a wrapper may be anybody's
        names = [type(getattr(part, "optimizer", part)).__name__ for part in parts.values()]
        return f"{type(wrapper).__name__} with {', '.join(names)}; {_count(schedules, 'schedule')}"

    # Trying.

    def _weights(self) -> str:
        """Load what the run would begin with, and compare it with the run where that would go on."""
        runner = self._runner
        filename = runner.goes_on_from
        begins_with = filename or runner._load_from
        if begins_with is None:
            raise NotTriedError("the run begins with the initial ones")
        checkpoint = read_checkpoint(begins_with, trust=runner._trust)
        revise_keys = ((r"^module\.", ""),)
        load_weights(
            runner.model,
            checkpoint,
            filename is not None,
            runner.logger,
            revise_keys=revise_keys,
            source=repr(str(begins_with)),
        )
        if filename is None:
            return f"of {display_path(begins_with)!r}"
        if isinstance(runner.train_loop, BaseTrainLoop) and self._has("optimizer"):
            place = checkpoint.get("train_loop", checkpoint.get("meta", {}))
            lost = state._place_is_lost(runner.train_loop, place)
            before = checkpoint.get("fingerprint", {})
            check_fingerprint(before, fingerprint(runner), runner.allow_changed, str(filename), lost)
            return f"the run goes on from {display_path(filename)!r}, iteration {place.get('iter')}"
        return f"of {display_path(filename)!r}"

    def _train(self) -> str:
        runner = self._runner
        loop: Any = runner.train_loop
        if not isinstance(loop, BaseLoop) or not callable(getattr(runner.model, "train_step", None)):
            raise NotTriedError(f"{type(loop).__name__} trains in a way of its own")
        wrapper = runner.optim_wrapper
        parts = getattr(wrapper, "parts", {"": wrapper})
        steps = max([self._steps, *(getattr(part, "accumulative_counts", 1) for part in parts.values())])
        for optimizer in optimizers_with_modes(wrapper):
            optimizer.train()
        wrapper.initialize_count_status(runner.model, 0, -1)
        runner.model.train()
        seed_step = step_seeder(Stream.STEP, runner.seed, runner.rank, runner.device)
        outputs: Any = None
        with closing(loop.batches()) as batches:
            watch = Stopwatch(runner.device)
            for number, batch in enumerate(islice(watch.timed(batches), steps)):
                seed_step(number)
                watch.step_begins(batch)
                outputs = runner.model.train_step(batch, optim_wrapper=wrapper)
                watch.step_ends()
                _check_finite(outputs, number)
        self._passes["train"] = watch.figures(length_of(loop.dataloader), "train_dataloader")
        logged = ", ".join(f"{name} {_mean(value):.4g}" for name, value in _items(outputs)[:6])
        return f"{_count(watch.tried, 'step')}{f'; {logged}' if logged else ''}"

    def _evaluate(self, mode: str) -> str:
        runner = self._runner
        loop: Any = _loop(runner, mode)
        model_step = getattr(runner.model, f"{mode}_step", None)
        if not isinstance(loop, EvaluationLoop) or not callable(model_step):
            raise NotTriedError(f"{type(loop).__name__} evaluates in a way of its own")
        if mode == "val" and self._has("optimizer"):
            for optimizer in optimizers_with_modes(runner.optim_wrapper):
                optimizer.eval()
        runner.model.eval()
        metrics: list[str] = []
        for one in loop._begin():
            loop._enter(one)
            watch = Stopwatch(runner.device)
            with torch.no_grad(), closing(loop.batches()) as batches:
                for batch in islice(watch.timed(batches), self._steps):
                    watch.step_begins(batch)
                    with loop.precision:
                        outputs = model_step(batch)
                    loop.evaluator.process(data_samples=outputs, data_batch=batch)
                    watch.step_ends()
            name = f"{mode}.{one.name}" if one.name else mode
            path = f"{mode}_dataloader{'.' * bool(one.name)}{one.name}"
            self._passes[name] = watch.figures(length_of(one.dataloader), path)
            results = _results_of(loop, watch.tried)
            metrics += [f"{one.name}/{key}" if one.name else key for key in results]
        if mode == "val":
            self._metrics = metrics
        return f"metrics: {', '.join(metrics)}"

    def _checkpoint(self) -> str:
        """Save what the run would save, read it, and load it."""
        runner = self._runner
        if runner._given["train_cfg"] is not None and not (self._has("training") and self._has("optimizer")):
            raise NotTriedError("since training cannot be built")
        checkpoint = state.collect(runner, save_optimizer=True, save_param_scheduler=True, meta={})
        with tempfile.TemporaryDirectory(prefix="mainspring_check_") as folder:
            path = Path(folder) / "check.pth"
            save_checkpoint(checkpoint, path)
            self._size = path.stat().st_size
            read = read_checkpoint(path)
        for name, value in checkpoint["state_dict"].items():
            if isinstance(value, torch.Tensor) and not _same(value, read["state_dict"].get(name)):
                raise ValueError(f"The weight {name!r} is not what was saved, when it is read back.")
        load_weights(runner.model, read, True, runner.logger, source="a checkpoint of its own")
        if "optimizer" in read:
            runner.optim_wrapper.load_state_dict(read["optimizer"])
        return "saved, read back equal, and loaded"

    # Telling.

    def _reported(self, findings: Sequence[Finding], device_memory: int | None) -> CheckReport:
        parameters = list(self._runner.model.parameters())
        iterations: int | None = None
        duration: float | None = None
        loop = self._runner.train_loop if "train" in self._passes else None
        if isinstance(loop, BaseTrainLoop):
            iterations, duration = expected_duration(loop, self._passes)
        return CheckReport(
            device=str(self._runner.device),
            stages=self._stages,
            findings=findings,
            passes=self._passes,
            parameters=sum(parameter.numel() for parameter in parameters),
            trainable_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            host_memory=peak_of_process(),
            device_memory=device_memory,
            checkpoint_size=self._size,
            iterations=iterations,
            duration=duration,
        )


def _loop(runner: Runner, mode: str) -> Any:
    if mode == "train":
        return runner.train_loop
    return runner.val_loop if mode == "val" else runner.test_loop


def _count(number: int | None, what: str) -> str:
    """Return a number of things; None for what is not known."""
    ending = "" if number == 1 else "es" if what.endswith("tch") else "s"
    return f"{'?' if number is None else f'{number:,}' if number else 'no'} {what}{ending}"


def _check_finite(outputs: Any, number: int) -> None:
    values = [(name, value) for name, value in _items(outputs) if "loss" in name and not math.isfinite(_mean(value))]
    told = [f"{name} is {_mean(value)}" for name, value in values if name != "loss" or len(values) == 1]
    if told:
        raise ValueError(
            f"{', '.join(told)} in training step {number + 1}. Lower the learning rate, or look for what the model"
            " divides by, and what of the data is not finite."
        )


def _items(outputs: Any) -> list[tuple[str, Any]]:
    """Return the numbers that a step has returned, by name."""
    if not isinstance(outputs, Mapping):
        return []
    return [(str(name), value) for name, value in outputs.items() if isinstance(value, (int, float, torch.Tensor))]


def _mean(value: Any) -> float:
    return float(torch.as_tensor(value).detach().float().mean())


def _results_of(loop: EvaluationLoop, batches: int) -> Mapping[str, Any]:
    try:
        return loop.evaluator.evaluate(loop._dataset_size())
    except Exception as error:
        error.add_note(f"(raised by the metrics, which got {_count(batches, 'batch')} only)")
        raise


def _same(one: torch.Tensor, other: Any) -> bool:
    mine = one.detach().cpu()
    return isinstance(other, torch.Tensor) and torch.equal(mine.nan_to_num(), other.cpu().nan_to_num())
