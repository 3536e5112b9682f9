"""A configuration tried before it is run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch

from ..config import Config
from ..device import default_device, usable_device
from ..runner import Runner
from ..runner.check import looked_over, told_error
from ..runner.check_report import CheckReport, Stage
from ..runner.earlier import checkpoint_folders, starting_point
from ..runner.findings import Finding, errors_of
from ..runner.look_over import look_over
from ..utils import check_type

__all__ = ["check_config"]

_GROUPS = {
    "training": {"train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr"},
    "validation": {"val_dataloader", "val_cfg", "val_evaluator"},
    "testing": {"test_dataloader", "test_cfg", "test_evaluator"},
    "hooks": {"default_hooks", "custom_hooks"},
}
"""What a run can do without, with the arguments of a Runner that it needs."""


def check_config(cfg: Mapping[str, Any], strict: bool = True, steps: int = 5) -> CheckReport:
    """Try a configuration: build a run of it in a temporary place, and :meth:`~mainspring.Runner.check` that.

    Nothing is made in its ``work_dir``. Where that holds checkpoints and the run would go on from one, that one is
    tried too. A device that this machine does not have is replaced by what there is, and a launcher by one process;
    the notes of the report say so.

    Args:
        cfg: A :class:`~mainspring.Config`, or any other mapping of arguments of a Runner.
        strict: Whether what only looks wrong in the configuration is an error, too.
        steps: How many batches of each loader are tried.
    """
    check_type(cfg, Mapping, "cfg")
    findings = look_over(cfg)
    first = looked_over(findings, strict)
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mainspring_check_") as folder:
        try:
            tried = _as_tried(cfg, folder, notes)
            _leave_out_faulty(tried, findings, notes)
            runner = Runner.from_cfg(tried)
        except Exception as error:
            failed = Stage("build", "failed", told_error(error), error)
            if first.outcome == "failed" and str(error) in first.text:
                failed = Stage("build", "skipped", "since configuration failed")
            return CheckReport(str(default_device()), [first, failed], findings, notes)
        try:
            report = runner.check(strict, steps)
        finally:
            runner.visualizer.close()
            runner.logger.close_file()
    return replace(report, stages=[first, *report.stages[1:]], findings=findings, notes=[*notes, *report.notes])


def _leave_out_faulty(tried: Any, findings: Sequence[Finding], notes: list[str]) -> None:
    """Leave out what a runner would refuse, so that the rest can be tried."""
    wrong = {re.split(r"[.\[]", finding.path)[0] for finding in errors_of(findings)}
    for purpose, names in _GROUPS.items():
        if wrong & names:
            notes.append(f"tried without the {purpose}, whose configuration is wrong.")
            for name in names & set(tried):
                tried[name] = None


def _as_tried(cfg: Mapping[str, Any], folder: str, notes: list[str]) -> Mapping[str, Any]:
    """Return the configuration with what must be different in a check; ``notes`` gets what a person should know."""
    tried: Any = copy(cfg) if isinstance(cfg, Config) else dict(cfg)
    tried["log_level"] = "WARNING"
    tried["strict"] = False  # what looks wrong is in the report
    work_dir = cfg.get("work_dir")
    if work_dir is not None:
        tried["work_dir"] = folder
        folders = checkpoint_folders(work_dir, cfg.get("default_hooks"), cfg.get("custom_hooks"))
        begin = starting_point(folders, cfg.get("load_from"), cfg.get("resume", False), cfg.get("trust", False))
        goes_on = begin[1].filename is not None
        tried["load_from"] = str(begin[1].filename) if goes_on else begin[0]
        tried["resume"] = goes_on
    if cfg.get("launcher", "none") != "none":
        notes.append(f"checked in one process; launcher={cfg['launcher']!r} would start several.")
        tried["launcher"] = "none"
    env_cfg = cfg.get("env_cfg")
    device = env_cfg.get("device") if isinstance(env_cfg, Mapping) else None
    if isinstance(env_cfg, Mapping) and isinstance(device, str) and not _is_here(device):
        notes.append(
            f"checked on {default_device()}, since this machine has no {device!r}, which env_cfg.device names."
        )
        tried["env_cfg"] = {**env_cfg, "device": str(default_device())}
    return tried  # type: ignore[no-any-return]


def _is_here(device: str) -> bool:
    """Whether a device can be used; what is no name of a device at all is for the runner to complain of."""
    try:
        torch.device(device)
    except RuntimeError:
        return True
    try:
        usable_device(device, "env_cfg.device")
    except ValueError:
        return False
    return True
