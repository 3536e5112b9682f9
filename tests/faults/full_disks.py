"""A limit for the size of files, and a disk that is full: one clear error, and nothing is lost but the time."""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import program
from lab import Lab, read_end, whole_checkpoints

OPTIONS = ("--save-by", "iter", "--save-every", "10", "--keep", "1", "--width", "512")
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000  # of Linux's unshare
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14  # of mount


def size_limits(lab: Lab, count: int, seed: int) -> dict[str, Any]:
    """Let checkpoints reach the limit of the process for the size of a file, at random sizes in random writes."""
    rng = random.Random(seed)
    errors = set()
    for number in range(count):
        work_dir = lab.work_dir()
        size, write = rng.randrange(20_000, 60_000), rng.randint(2, 9)
        told = f"seed {seed}, number {number}: a limit of {size} bytes from write {write} on"
        process = lab.start(work_dir, *OPTIONS, "--sabotage", f"limit:{write}:{size}")
        errors.add(_check_error(process.wait(), process.output, "File too large", "ulimit -f", told))
        assert whole_checkpoints(work_dir) >= 1, told
        lab.check_end(work_dir, OPTIONS, told)
    return {"limits for the size of a file": count, "the error": errors.pop().replace(f"{lab.folder}/", "")}


def full_disk(lab: Lab) -> dict[str, Any]:
    """Fill a small file system of its own while a run saves to it; then make room, and go on."""
    report = lab.work_dir().with_suffix(".json")
    # Files there are seen by this process and its children alone, so that it also runs the trial.
    process = lab.forks.start("full_disks:_within_a_small_disk", str(lab.work_dir()), str(report))
    code = process.wait()
    told = json.loads(report.read_text()) if report.exists() else {}
    if "cannot" in told:
        return {"full disk": f"not tried: {told['cannot']}"}
    assert code == 0, process.output
    assert told["end"] == lab.undisturbed(*OPTIONS), "the run on the full disk ended otherwise"
    error = _check_error(
        told["codes"][0], told["outputs"][0], "No space left on device", "Make room there", "full disk"
    )
    assert told["codes"][1] == 1, told["outputs"][1]
    assert "Make room, or pass another work_dir" in told["outputs"][1], told["outputs"][1]
    error = error.replace(f"{lab.folder}/", "")
    return {"full disk": "one clear error; with room again, the run ended bit-identical", "the error on it": error}


def _check_error(code: int, output: str, reason: str, cure: str, told: str) -> str:
    """Check that a run has ended with one error that says what failed and what helps, and return it."""
    assert code == 1, f"{told}: ended with {code}\n{output}"
    last = output.rstrip().splitlines()[-1]
    lines = [line for line in output.splitlines() if "CheckpointWriteError: " in line]
    assert len(lines) == 1, f"{told}: {len(lines)} errors\n{output}"
    for part in (".pth'", reason, cure):
        assert part in lines[0], f"{told}: the error does not say {part!r}: {lines[0]}"
    assert "handlers restored: True" in output, f"{told}\n{output}"
    assert "Traceback" not in last
    return lines[0].partition("CheckpointWriteError: ")[2]


def _within_a_small_disk(args: list[str]) -> None:
    folder, report = Path(args[0]), Path(args[1])
    folder.mkdir()
    why = mount_small_disk(folder, 1_200_000)
    if why is not None:
        report.write_text(json.dumps({"cannot": why}))
        return
    work_dir = folder / "run"
    codes, outputs = [], []
    for sabotage in ("full:4", ""):  # it becomes full within a run, and is full when the next one begins
        code, output = _train(folder / "log", [str(work_dir), *OPTIONS, "--sabotage", sabotage])
        codes.append(code)
        outputs.append(output)
        assert whole_checkpoints(work_dir) >= 1, output
    (folder / "ballast").unlink()
    code, output = _train(folder / "log", [str(work_dir), *OPTIONS])
    assert code == 0, output
    report.write_text(json.dumps({"codes": codes, "outputs": outputs, "end": read_end(work_dir)}))


def mount_small_disk(folder: Path, size: int) -> str | None:
    """Mount a file system in memory that this process and its children see, or return why that is impossible."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_USERS | _NEW_MOUNTS) == 0:
        with suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    elif libc.unshare(_NEW_MOUNTS) != 0:
        return f"no mounts of its own: {os.strerror(ctypes.get_errno())}"
    libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) != 0:
        return f"no file system in memory: {os.strerror(ctypes.get_errno())}"
    return None


def _train(log: Path, args: list[str]) -> tuple[int, str]:
    """Run the program in a child, and return its exit code and what it printed."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), log.read_text()
    with log.open("wb", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    code = 1
    try:
        program.main(args)
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(code)
