"""When checkpoints are written, and which are kept."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoint import CheckpointFile, CheckpointFolder, read_checkpoint, run_checkpoints
from ..dist import is_main_process
from ..registry import HOOKS
from ..utils import check_type, did_you_mean, display_path, to_plain
from .checkpoint_files import (
    bytes_of,
    check_name,
    check_space,
    check_writable,
    finish,
    folder_for,
    only_names,
    remove_temporaries,
    set_aside,
)
from .hook import Hook
from .results import is_left_out
from .rules import GREATER, LESS, check_rule, not_returned, rule_for, score_of

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["CheckpointHook"]


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Saves checkpoints at intervals, at the end, and whenever a validation is the best so far.

    They go to the work directory, to another directory, or to any place that fsspec knows, and a run with
    ``resume='auto'`` finds them there. Wherever they are, a file is whole under its name or not there, and older ones
    go only when it stands. Only a directory of this machine is locked against a second run, and compared with the free
    disk.

    Args:
        interval: Epochs, or iterations, from one checkpoint to the next; -1 for none but the last and the best.
        by_epoch: Whether ``interval`` counts epochs; files are called ``epoch_N.pth`` or ``iter_N.pth``.
        save_optimizer: Save the optimizer's state too, without which no run can be resumed.
        save_param_scheduler: Save the schedules' state too.
        out_dir: Where the files go, a path or a URL such as ``'s3://bucket/runs'``; by default the run's work
            directory. In any other place a folder of the work directory's name is made. A relative path is one from
            where the hook is made, whatever becomes the current directory. The file ``last_checkpoint``, which names
            the newest, stays in the work directory.
        max_keep_ckpts: How many of the interval's checkpoints are kept, the newest; -1 for all.
        save_last: Save at the end of the run, whatever the interval.
        save_best: The metric to watch, such as ``'accuracy/top1'``, or several; ``'auto'`` for the first that a
            validation returns. The best checkpoint so far is kept as ``best_<metric>_epoch_N.pth``.
        rule: ``'greater'`` or ``'less'``, or one for each metric: what is better. By default it is known from the
            metric's name.
        greater_keys: Metrics, or parts of their names, of which the greater is better, in place of the known ones.
        less_keys: The same for the less.
        file_client_args: An older name of ``backend_args``.
        filename_tmpl: The name of a file, with ``{}`` for the number.
        backend_args: How to get to ``out_dir``: ``backend``, a protocol, and options of its file system, such as
            ``dict(endpoint_url='https://...')``; see :func:`~mainspring.fileio.get_file_backend`.
        published_keys: Entries of a checkpoint, such as ``['state_dict', 'meta']``. After the training, the last and
            the best checkpoint are written once more with only these, under a name that ends with the first 8 digits
            of the file's SHA-256.
        save_begin: Epochs, or iterations, after which the interval begins to count.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value, or ``out_dir`` can only be read.

    >>> hook = CheckpointHook(interval=1, max_keep_ckpts=3, out_dir="s3://bucket/runs", backend_args=dict(anon=False))
    >>> hook.out_dir
    's3://bucket/runs'
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        out_dir: str | Path | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_best: str | Sequence[str] | None = None,
        rule: str | Sequence[str] | None = None,
        greater_keys: Sequence[str] | None = None,
        less_keys: Sequence[str] | None = None,
        file_client_args: Mapping[str, Any] | None = None,
        filename_tmpl: str | None = None,
        backend_args: Mapping[str, Any] | None = None,
        published_keys: str | Sequence[str] | None = None,
        save_begin: int = 0,
    ) -> None:
        check_type(out_dir, str | os.PathLike | None, "CheckpointHook: out_dir")
        check_type(save_begin, int, "CheckpointHook: save_begin")
        check_type(by_epoch, bool, "CheckpointHook: by_epoch")
        check_type(filename_tmpl, str | None, "CheckpointHook: filename_tmpl")
        for name, number in (("interval", interval), ("max_keep_ckpts", max_keep_ckpts)):
            check_type(number, int, f"CheckpointHook: {name}")
            if number == 0 or number < -1:
                raise ValueError(f"CheckpointHook: {name} must be at least 1, or -1, but it is {number}.")
        if save_begin < 0:
            raise ValueError(f"CheckpointHook: save_begin must not be negative, but it is {save_begin}.")
        self.interval = interval
        self.by_epoch = by_epoch
        self.idle_at = ("after_train_iter",) if by_epoch else ("after_train_epoch",)
        self.save_optimizer = save_optimizer
        self.save_param_scheduler = save_param_scheduler
        self.backend_args = backend_args or file_client_args
        place = CheckpointFolder("." if out_dir is None else out_dir, backend_args, file_client_args)
        if out_dir is None and not place.is_local:
            raise ValueError(
                f"CheckpointHook: backend_args is {self.backend_args!r}, but without out_dir the files go to the work"
                " directory. Pass out_dir='<protocol>://...' too, or leave out backend_args."
            )
        self.out_dir = None if out_dir is None else str(place.absolute())
        """Where the files go, a URL or an absolute path, or None for the work directory."""
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.save_begin = save_begin
        self.filename_tmpl = filename_tmpl or ("epoch_{}.pth" if by_epoch else "iter_{}.pth")
        check_name(self.filename_tmpl, "CheckpointHook")
        self.published_keys = _as_list(published_keys, "published_keys")
        self.metrics = _as_list(save_best, "save_best")
        self.greater_keys = tuple(GREATER if greater_keys is None else _as_list(greater_keys, "greater_keys"))
        self.less_keys = tuple(LESS if less_keys is None else _as_list(less_keys, "less_keys"))
        self._given_rules = _as_list(rule, "rule")
        self.rules = self._rules_of(self._given_rules)
        self.kept: list[str] = []
        """File names of the interval's checkpoints that stand in the directory, the oldest first."""
        self._stop_file = ""  # what a signal has asked for, beside the interval's; the next one replaces it
        self._superfluous: list[str] = []
        self._earlier: list[CheckpointFile] = []
        self._saved_at: tuple[int, bool] | None = None
        self._space_checked = False
        self._validated_since_save = False
        self.best: dict[str, dict[str, Any]] = {}
        """For each watched metric its best ``score``, the ``file`` that holds it, and when (``unit``, ``number``)."""

    def directory(self, runner: Runner) -> CheckpointFolder:
        """Return where the files go."""
        return folder_for(runner.work_dir, self.out_dir, self.backend_args)

    def before_train(self, runner: Runner) -> None:
        """Check that there will be a validation, where one is watched, and that the interval's unit is counted."""
        loop = runner.train_loop
        if self.by_epoch and self.interval > 0 and not getattr(loop, "by_epoch", True):  # a user's may not say
            runner.logger.warning(
                "CheckpointHook counts epochs, but training counts iterations, so it saves only at the end. Write it"
                " with by_epoch=False, and interval in iterations."
            )
        if self.metrics and runner.val_loop is None:
            raise ValueError(
                f"CheckpointHook: save_best={', '.join(self.metrics)!r} watches the results of validations, but there"
                " are none. Pass val_dataloader, val_cfg and val_evaluator to the Runner, or leave out save_best."
            )
        if runner.resumes:
            self._warn_of_what_is_not_saved(runner)
        self._saved_at = runner.place  # nothing is done yet that is not saved
        if is_main_process():
            self._look_at(self.directory(runner), runner)

    def _warn_of_what_is_not_saved(self, runner: Runner) -> None:
        wanted = {"save_optimizer": self.save_optimizer}
        if runner.schedules:
            wanted["save_param_scheduler"] = self.save_param_scheduler
        lacking = [f"{name}=False" for name, is_saved in wanted.items() if not is_saved]
        if lacking:
            runner.logger.warning(
                f"This run was told to resume, but no run can go on from what its CheckpointHook saves with"
                f" {' and '.join(lacking)}. Leave that out; or leave out resume, and pass load_from to begin with the"
                " weights of a checkpoint."
            )

    def _look_at(self, directory: CheckpointFolder, runner: Runner) -> None:
        """Find what earlier runs have left in the directory."""
        remove_temporaries(directory)
        if not directory.is_local:  # of which the lock has told
            check_writable(directory)
        self._earlier = run_checkpoints(directory, beyond=runner.iter)
        if self._earlier and runner.iter == 0:
            runner.logger.warning(
                f"{display_path(directory)!r} holds checkpoints of an earlier run, the newest"
                f" {self._earlier[0].name!r}. This run begins anew, and moves them into a folder of their own when it"
                " saves its first. To go on instead, pass resume='auto'."
            )
        elif self._earlier:
            runner.logger.warning(
                f"{display_path(directory)!r} holds checkpoints from beyond iteration {runner.iter}, where this run"
                f" goes on, the newest {self._earlier[0].name!r}. It moves them into a folder of their own when it"
                " saves its first."
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Raise the error of a write that has failed in the meantime."""
        runner.checkpoint_writer.check()

    def after_train_epoch(self, runner: Runner) -> None:
        """Save, where the interval counts epochs and one is over."""
        if self.by_epoch and (
            self.every_n_epochs(runner, self.interval, self.save_begin)
            or (self.save_last and self.is_last_train_epoch(runner))
        ):
            self._save(runner, runner.epoch + 1)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Save, where the interval counts iterations and one is over."""
        if not self.by_epoch and (
            self.every_n_train_iters(runner, self.interval, self.save_begin)
            or (self.save_last and self.is_last_train_iter(runner))
        ):
            self._save(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save, where a watched metric is better than ever before."""
        if not runner.is_training:
            return
        self._validated_since_save = True
        if not self.metrics:
            return
        metrics = metrics or {}
        if self.metrics == ["auto"]:
            if not metrics:
                raise ValueError("save_best='auto' found no metric: the validation returned none.")
            self.metrics = [next(iter(metrics))]
            self.rules = self._rules_of(self._given_rules)
        for name, rule in zip(self.metrics, self.rules, strict=True):
            if name not in metrics:
                if is_left_out(name, runner):
                    continue
                raise ValueError(not_returned(name, metrics, "save_best"))
            score = score_of(metrics[name], name, "save_best")
            if math.isnan(score):
                runner.logger.warning(f"save_best watches {name!r}, which is not a number (NaN) now: nothing is saved.")
                continue
            before = self.best.get(name)
            better = before is None or (score > before["score"] if rule == "greater" else score < before["score"])
            if better:
                self._save_best(runner, name, score)

    def after_train(self, runner: Runner) -> None:
        """Save what was stopped early, and once more what ended with a validation, for its results to be in it."""
        number = runner.epoch if self.by_epoch else runner.iter
        saved = self.filename_tmpl.format(number) in self.kept
        if self.save_last and number > 0 and (self._validated_since_save or not saved):
            self._save(runner, number)
        if self.published_keys and is_main_process():
            runner.checkpoint_writer.wait()
            finished = self.kept[-1:] if self.save_last else []
            for name in dict.fromkeys([*finished, *(entry["file"] for entry in self.best.values())]):
                self._publish(runner, self.directory(runner), name)

    def before_stop(self, runner: Runner) -> None:
        """Save, unless where the run stands is saved already."""
        if runner.place == self._saved_at:
            return
        filename = f"iter_{runner.iter}.pth"
        if filename != self._stop_file:
            self._drop(self._stop_file)
        self._stop_file = "" if filename in self.kept else filename
        runner.logger.info(f"Saving checkpoint at {runner.iter} iterations, as a signal asked")
        self._write(runner, filename, resumable=True)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Before the first, compare the free disk with what the checkpoints will take."""
        if self._space_checked or not is_main_process():
            return
        self._space_checked = True
        length = runner.max_epochs if self.by_epoch else runner.max_iters
        files = 1 if self.interval < 0 else -(-length // self.interval)
        files = min(files, self.max_keep_ckpts) if self.max_keep_ckpts > 0 else files
        directory = self.directory(runner)
        if not directory.is_local:
            return
        os.makedirs(directory, exist_ok=True)
        warning = check_space(directory, bytes_of(checkpoint), files + len(self.metrics) + 1)
        if warning:
            runner.logger.warning(warning)

    def _publish(self, runner: Runner, directory: CheckpointFolder, name: str) -> None:
        file = directory / name
        checkpoint = read_checkpoint(file)
        for key in self.published_keys:
            if key not in checkpoint:
                raise ValueError(
                    f"CheckpointHook: published_keys names {key!r}, which {display_path(file)!r} does not have."
                    f"{did_you_mean(key, checkpoint)} It has: {', '.join(checkpoint)}."
                )
        content = io.BytesIO()
        torch.save(to_plain({key: checkpoint[key] for key in self.published_keys}), content)
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        published = f"{name.rpartition('.')[0] or name}-{digest[:8]}.pth"
        directory.write(lambda target: target.write(content.getbuffer()), published)
        runner.logger.info(f"Published {display_path(directory / published)!r} with {', '.join(self.published_keys)}.")

    def _save(self, runner: Runner, number: int) -> None:
        filename = self.filename_tmpl.format(number)
        if filename not in self.kept:  # else it is the same once more, with the last results in it
            runner.logger.info(
                f"Saving checkpoint at {number} {'epochs' if self.by_epoch else 'iterations'}", extra={"live": True}
            )
        self.kept = [name for name in self.kept if name != filename] + [filename]
        if self._stop_file != filename:
            self._drop(self._stop_file)
        self._stop_file = ""
        while len(self.kept) > self.max_keep_ckpts > 0:
            self._drop(self.kept.pop(0))
        self._write(runner, filename)
        self._validated_since_save = False

    def _save_best(self, runner: Runner, name: str, score: float) -> None:
        directory = self.directory(runner)
        unit, number = ("epoch", runner.epoch) if self.by_epoch else ("iter", runner.iter)
        filename = f"best_{name.replace('/', '_')}_{unit}_{number}.pth"
        before = self.best.get(name)
        self.best[name] = {"score": score, "file": filename, "unit": unit, "number": number}
        runner.message_hub.update_info("best_score", score)
        runner.message_hub.update_info("best_ckpt", str(directory / filename))
        if before is not None and before["file"] != filename:
            self._drop(before["file"])
        self._write(runner, filename, points=False)
        runner.logger.info(f"The best checkpoint with {score:0.4f} {name} at {number} {unit} is saved to {filename}.")

    def _drop(self, filename: str) -> None:
        """Let a file be deleted when the next one stands complete."""
        if filename:
            self._superfluous.append(filename)

    def _write(self, runner: Runner, filename: str, points: bool = True, resumable: bool = False) -> None:
        directory = self.directory(runner)
        pointer = Path(runner.work_dir) / "last_checkpoint"  # wherever the files are: a run that resumes looks there
        if self._earlier and is_main_process():
            earlier, self._earlier = [file.name for file in self._earlier], []
            folder = set_aside(directory, earlier, pointer)
            if folder is not None:
                runner.logger.info(f"Moved the checkpoints of an earlier run to {display_path(folder)!r}")
        complete = resumable or (self.save_optimizer and self.save_param_scheduler)
        self._saved_at = runner.place if complete else None
        directory.backend.prepare(directory)  # what connects, and may import, is done before the thread needs it
        superfluous = [name for name in self._superfluous if name != filename]
        runner.save_checkpoint(
            str(directory),
            filename,
            save_optimizer=self.save_optimizer or resumable,
            save_param_scheduler=self.save_param_scheduler or resumable,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            wait=False,
            then=partial(finish, pointer if points else None, directory, filename, superfluous),
        )
        self._superfluous = []

    def _rules_of(self, given: list[str]) -> list[str]:
        for rule in given:
            check_rule(rule, "CheckpointHook")
        if self.metrics == ["auto"]:
            return []
        if len(given) == 1:
            return given * len(self.metrics)
        if given:
            if len(given) != len(self.metrics):
                raise ValueError(
                    f"CheckpointHook: {len(given)} rules are given for {len(self.metrics)} metrics of save_best."
                )
            return given
        return [rule_for(name, "CheckpointHook", self.greater_keys, self.less_keys) for name in self.metrics]

    def state_dict(self) -> dict[str, Any]:
        """Return the names of the kept files, the best scores and the watched metrics."""
        return {
            "kept": list(self.kept),
            "best": {name: dict(entry) for name, entry in self.best.items()},
            "metrics": list(self.metrics),
            "stop_file": self._stop_file,
            "superfluous": list(self._superfluous),  # a kill may come when the file stands, and these do, too
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned; of the best scores, those of metrics still watched.

        Names that lead out of the directory are left out.
        """
        self.kept = only_names(state_dict["kept"])
        self._stop_file = "".join(only_names([state_dict.get("stop_file")]))
        self._superfluous = only_names(state_dict.get("superfluous", []))
        if self.metrics == ["auto"] and state_dict["metrics"]:
            self.metrics = list(state_dict["metrics"])
            self.rules = self._rules_of(self._given_rules)
        self.best = {
            name: dict(entry)
            for name, entry in state_dict["best"].items()
            if name in self.metrics and only_names([entry["file"]])
        }


def _as_list(value: str | Sequence[str] | None, name: str) -> list[str]:
    if value is None:
        return []
    names = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    if not all(isinstance(one, str) for one in names):
        raise TypeError(f"CheckpointHook: {name} must be a string or a list of strings, but it is {value!r}.")
    return names
