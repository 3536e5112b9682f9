"""The configuration of a run, kept beside its checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..dist import is_main_process
from ..logging import print_log
from ..utils import display_path, explaining

__all__ = ["keep_config"]


def keep_config(cfg: Mapping[str, Any], work_dir: str) -> None:
    """Write a configuration that was read from a file to the work directory, under the name of that file.

    It stands there whole, with what its bases and overrides say, so that the run can be repeated from it. The file that
    it was read from is left as it is, also where that lies in the work directory.
    """
    if not cfg:
        return
    from ..config import Config  # here, as runs without one do without the package

    if not isinstance(cfg, Config) or cfg.filename is None or not is_main_process():
        return
    target = Path(work_dir) / Path(cfg.filename).name
    if target.exists() and Path(cfg.filename).exists() and target.samefile(cfg.filename):
        return
    try:
        with explaining("The configuration cannot be written", target):
            cfg.dump(target)
    except (TypeError, ValueError) as error:  # something was put into it that is no configuration
        print_log(
            f"The configuration is not kept in {display_path(target)}: {error}", logger="current", level=logging.WARNING
        )
