"""Two runs in one work directory: the second is refused, until the first is gone, in whatever way."""

from __future__ import annotations

import signal
from typing import Any

from lab import KILLED, Lab, wait_for


def second_run(lab: Lab, workers: int) -> dict[str, Any]:
    """Start a run beside another, then kill that one, which leaves a process that it has forked, and start again."""
    work_dir = lab.work_dir()
    first = lab.start(work_dir, "--workers", str(workers), "--sabotage", "heir:20")
    assert wait_for(first, work_dir, 20), first.output
    second = lab.start(work_dir)
    assert second.wait() == 1, second.output
    assert f"is in use by another run: process {first.pid} on host" in second.output, second.output
    assert "Wait for it, stop it, or choose another work_dir." in second.output

    while len(first.left()) < 2 + workers:  # until the heir is there
        assert not first.ends_within(0.001), first.output
    first.send(signal.SIGKILL)
    assert first.wait() == KILLED
    assert first.left(), "the process that the first run has forked should outlive it"
    lab.check_end(work_dir, (), "the run after one that was killed, with an heir")
    first.send(signal.SIGKILL, group=True)
    assert not first.wait_for_orphans()
    return {"second runs refused": 1, "runs that began beside what a killed one had left": 1}
