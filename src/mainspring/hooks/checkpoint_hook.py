"""When checkpoints are written, and which are kept."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoint import read_checkpoint
from ..dist import is_main_process
from ..registry import HOOKS
from ..utils import atomic_write, check_type, did_you_mean, display_path, require_local, to_plain
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["CheckpointHook"]

_GREATER = ("acc", "top", "AR@", "auc", "precision", "recall", "f1", "mAP", "mDice", "mIoU", "mAcc", "aAcc")
_LESS = ("loss", "error")


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Saves checkpoints at intervals, at the end, and whenever a validation is the best so far.

    Args:
        interval: Epochs, or iterations, from one checkpoint to the next; -1 for none but the last and the best.
        by_epoch: Whether ``interval`` counts epochs; files are called ``epoch_N.pth`` or ``iter_N.pth``.
        save_optimizer: Save the optimizer's state too, without which no run can be resumed.
        save_param_scheduler: Save the schedules' state too.
        out_dir: Where the files go; by default the run's work directory. In any other directory a folder of the
            work directory's name is made.
        max_keep_ckpts: How many of the interval's checkpoints are kept, the newest; -1 for all.
        save_last: Save at the end of the run, whatever the interval.
        save_best: The metric to watch, such as ``'accuracy/top1'``, or several; ``'auto'`` for the first that a
            validation returns. The best checkpoint so far is kept as ``best_<metric>_epoch_N.pth``.
        rule: ``'greater'`` or ``'less'``, or one for each metric: what is better. By default it is known from the
            metric's name.
        greater_keys: Metrics, or parts of their names, of which the greater is better, in place of the known ones.
        less_keys: The same for the less.
        file_client_args: None, or ``dict(backend='disk')``: an older name of ``backend_args``.
        filename_tmpl: The name of a file, with ``{}`` for the number.
        backend_args: None, or ``dict(backend='local')``: files go to local directories.
        published_keys: Entries of a checkpoint, such as ``['state_dict', 'meta']``. After the training, the last and
            the best checkpoint are written once more with only these, under a name that ends with the first 8 digits
            of the file's SHA-256.
        save_begin: Epochs, or iterations, after which the interval begins to count.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
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
        require_local("CheckpointHook", out_dir, backend_args, file_client_args)
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
        self.save_optimizer = save_optimizer
        self.save_param_scheduler = save_param_scheduler
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.save_begin = save_begin
        self.filename_tmpl = filename_tmpl or ("epoch_{}.pth" if by_epoch else "iter_{}.pth")
        if self.filename_tmpl.format(1) == self.filename_tmpl.format(2):
            raise ValueError(
                f"CheckpointHook: filename_tmpl must have a {{}} for the number, but it is {filename_tmpl!r}."
            )
        self.published_keys = _as_list(published_keys, "published_keys")
        self.metrics = _as_list(save_best, "save_best")
        self.greater_keys = tuple(_GREATER if greater_keys is None else _as_list(greater_keys, "greater_keys"))
        self.less_keys = tuple(_LESS if less_keys is None else _as_list(less_keys, "less_keys"))
        self._given_rules = _as_list(rule, "rule")
        self.rules = self._rules_of(self._given_rules)
        self.kept: list[str] = []
        """File names of the interval's checkpoints that stand in the directory, the oldest first."""
        self._validated_since_save = False
        self.best: dict[str, dict[str, Any]] = {}
        """For each watched metric its best ``score``, the ``file`` that holds it, and when (``unit``, ``number``)."""

    def directory(self, runner: Runner) -> Path:
        """Return where the files go."""
        if self.out_dir is None:
            return Path(runner.work_dir)
        return self.out_dir / Path(runner.work_dir).resolve().name

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
                raise ValueError(
                    f"save_best watches {name!r}, which the validation did not return.{did_you_mean(name, metrics)}"
                    f" It returned: {', '.join(metrics) or 'nothing'}."
                )
            score = _as_score(metrics[name], name)
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
            finished = self.kept[-1:] if self.save_last else []
            for name in dict.fromkeys([*finished, *(entry["file"] for entry in self.best.values())]):
                self._publish(runner, self.directory(runner) / name)

    def _publish(self, runner: Runner, file: Path) -> None:
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
        published = file.with_name(f"{file.stem}-{digest[:8]}.pth")
        with atomic_write(published) as target:
            target.write(content.getbuffer())
        runner.logger.info(f"Published {display_path(published)!r} with {', '.join(self.published_keys)}.")

    def _save(self, runner: Runner, number: int) -> None:
        directory = self.directory(runner)
        filename = self.filename_tmpl.format(number)
        if filename not in self.kept:  # else it is the same once more, with the last results in it
            runner.logger.info(
                f"Saving checkpoint at {number} {'epochs' if self.by_epoch else 'iterations'}", extra={"live": True}
            )
        kept = [name for name in self.kept if name != filename] + [filename]
        surplus = kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        self.kept = kept[len(surplus) :]
        self._write(runner, directory, filename)
        self._validated_since_save = False
        if is_main_process():
            for name in surplus:
                (directory / name).unlink(missing_ok=True)

    def _save_best(self, runner: Runner, name: str, score: float) -> None:
        directory = self.directory(runner)
        unit, number = ("epoch", runner.epoch) if self.by_epoch else ("iter", runner.iter)
        filename = f"best_{name.replace('/', '_')}_{unit}_{number}.pth"
        before = self.best.get(name)
        self.best[name] = {"score": score, "file": filename, "unit": unit, "number": number}
        runner.message_hub.update_info("best_score", score)
        runner.message_hub.update_info("best_ckpt", str(directory / filename))
        self._write(runner, directory, filename, points=False)
        if before is not None and before["file"] != filename and is_main_process():
            (directory / before["file"]).unlink(missing_ok=True)
        runner.logger.info(f"The best checkpoint with {score:0.4f} {name} at {number} {unit} is saved to {filename}.")

    def _write(self, runner: Runner, directory: Path, filename: str, points: bool = True) -> None:
        runner.save_checkpoint(
            str(directory),
            filename,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            by_epoch=self.by_epoch,
        )
        if points and is_main_process():
            # In the work directory wherever the files are: a run that resumes looks there.
            with atomic_write(Path(runner.work_dir) / "last_checkpoint") as pointer:
                pointer.write(str(directory.absolute() / filename).encode())

    def _rules_of(self, given: list[str]) -> list[str]:
        for rule in given:
            if rule not in ("greater", "less"):
                raise ValueError(f"CheckpointHook: rule must be 'greater' or 'less', but it is {rule!r}.")
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
        return [self._rule_for(name) for name in self.metrics]

    def _rule_for(self, name: str) -> str:
        folded = name.lower()
        for rule, keys in (("greater", self.greater_keys), ("less", self.less_keys)):
            if name in keys:
                return rule
        known = (("greater", self.greater_keys), ("less", self.less_keys))
        rules = [rule for rule, keys in known if any(key.lower() in folded for key in keys)]
        if len(rules) == 1:  # not both, as in top1_error
            return rules[0]
        raise ValueError(
            f"CheckpointHook: whether a higher or a lower {name!r} is better cannot be told from its name; say"
            " rule='greater' or rule='less'."
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the names of the kept files, the best scores and the watched metrics."""
        return {
            "kept": list(self.kept),
            "best": {name: dict(entry) for name, entry in self.best.items()},
            "metrics": list(self.metrics),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned; of the best scores, those of metrics still watched."""
        self.kept = list(state_dict["kept"])
        if self.metrics == ["auto"] and state_dict["metrics"]:
            self.metrics = list(state_dict["metrics"])
            self.rules = self._rules_of(self._given_rules)
        self.best = {name: dict(entry) for name, entry in state_dict["best"].items() if name in self.metrics}


def _as_score(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"save_best watches {name!r}, which must be a number to be compared, but the validation returned {value!r}"
            f" ({type(value).__name__})."
        ) from error


def _as_list(value: str | Sequence[str] | None, name: str) -> list[str]:
    if value is None:
        return []
    names = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    if not all(isinstance(one, str) for one in names):
        raise TypeError(f"CheckpointHook: {name} must be a string or a list of strings, but it is {value!r}.")
    return names
