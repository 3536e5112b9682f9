"""The long form of the fault trials: ``python tests/faults``, or ``make faults``.

It takes about an hour of one core, prints its figures as a table and, at the end, as JSON. A failure names its seed and
shows the log of the run; everything that the trials wrote is then kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import full_disks
import hostile
import kills
import memory
import stop_signals
import torch
import two_runs
from lab import Lab

Trial = Callable[[Lab, int], dict[str, Any]]

TRIALS: dict[str, Trial] = {
    "random kills": lambda lab, seed: kills.random_kills(lab, 300, seed),
    "workers": lambda lab, seed: kills.workers_agree(lab),
    "fresh interpreters": lambda lab, seed: kills.fresh_interpreters(lab, 8, seed),
    "boundaries": lambda lab, seed: kills.boundaries(lab, None, seed),
    "writes": lambda lab, seed: kills.writes(lab, 100, seed),
    "file calls": lambda lab, seed: kills.file_calls(lab, every=1),
    "damage": lambda lab, seed: damage.flips_and_cuts(lab, flips=1000, cuts=200, resumed=20, seed=seed),
    "size limits": lambda lab, seed: full_disks.size_limits(lab, 20, seed),
    "full disk": lambda lab, seed: full_disks.full_disk(lab),
    "signals": lambda lab, seed: stop_signals.stops(lab, 20, seed),
    "second signals": lambda lab, seed: stop_signals.second_signals(
        lab, [(first, second) for first in stop_signals.NUMBERS for second in (signal.SIGINT, signal.SIGTERM)], 2
    ),
    "saving on request": lambda lab, seed: stop_signals.saves_on_request(lab, 20, seed, workers=2),
    "hostile files": lambda lab, seed: hostile.hostile_files(lab),
    "two runs": lambda lab, seed: two_runs.second_run(lab, workers=2),
    "memory": lambda lab, seed: memory.growth(lab, first=20_000, last=220_000, step=5_000, runs=3),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/faults", description="Fault trials in their long form.")
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=f"by default all: {', '.join(TRIALS)}")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    unknown = [name for name in args.trials if name not in TRIALS]
    if unknown:
        parser.error(f"there is no trial {unknown[0]!r}; the trials are: {', '.join(TRIALS)}")

    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="faults_"))
    machine = f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(f"{machine}, seed {args.seed}, in {folder}", flush=True)
    figures: dict[str, dict[str, Any]] = {}
    lab = Lab(folder)
    try:
        for name in args.trials or TRIALS:
            figures[name] = run(TRIALS[name], lab, args.seed)
            print(f"\n{name}")
            for what, value in figures[name].items():
                print(f"  {what:<85} {value}", flush=True)
    finally:
        lab.close()
    print(f"\n{json.dumps({'machine': machine, 'seed': args.seed, **figures})}")
    if any("failed" in one for one in figures.values()):
        return 1
    shutil.rmtree(folder)
    return 0


def run(trial: Trial, lab: Lab, seed: int) -> dict[str, Any]:
    """Return what a trial has found, and how long it took."""
    begin = time.monotonic()
    try:
        found = trial(lab, seed)
    except Exception as error:  # the other trials go on
        traceback.print_exc()
        found = {"failed": str(error).partition("\n")[0]}
    return {**found, "seconds": round(time.monotonic() - begin)}


if __name__ == "__main__":
    sys.exit(main())
