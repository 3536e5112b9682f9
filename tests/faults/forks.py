"""Real processes, quickly started: a server that has imported everything forks one for each run.

A fresh interpreter takes some two seconds to import torch; a fork of one that has, some milliseconds. Each process gets
a session of its own, as a job does, and ends as an interpreter does. Started as a program, this file is the server: it
reads requests from its standard input, one JSON object a line, and answers on its standard output.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 120.0
"""Seconds after which a process that has not ended is taken for hung."""


class Process:
    """A process of a run, seen from outside.

    Args:
        pid: Its number, which is also that of its session.
        log: What it prints.
        wait: Waits for its end, and returns its exit code; negative for the signal that ended it.
    """

    def __init__(self, pid: int, log: Path, wait: Callable[[], int]) -> None:
        self.pid = pid
        self.log = log
        self._wait = wait
        self._end: int | None = None
        self._handle = os.pidfd_open(pid)

    def send(self, number: int, group: bool = False) -> None:
        """Send a signal to the process, or to all of its group."""
        with suppress(ProcessLookupError):  # it has ended by itself
            (os.killpg if group else os.kill)(self.pid, number)

    def ends_within(self, seconds: float) -> bool:
        """Wait so long for the end, and tell whether it has come."""
        return self._end is not None or bool(select.select([self._handle], [], [], seconds)[0])

    def wait(self) -> int:
        """Wait for the end, and return the exit code.

        Raises:
            AssertionError: It has not come for very long; the process is killed.
        """
        if self._end is None:
            hung = not self.ends_within(PATIENCE)
            if hung:
                self.send(signal.SIGKILL, group=True)
            self._end = self._wait()
            os.close(self._handle)
            assert not hung, f"the process had not ended after {PATIENCE:.0f} s\n{self.output}"
        return self._end

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def left(self) -> list[int]:
        """Return the processes of its session that are alive, zombies apart."""
        return [pid for pid, (session, state) in _sessions().items() if session == self.pid and state != "Z"]

    def wait_for_orphans(self, seconds: float = 10.0) -> list[int]:
        """Give what is left so long to end, and return what is then left of it."""
        deadline = time.monotonic() + seconds
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.left()

    def freeze(self) -> None:
        """Stop it between two instructions; signals sent now come first of all when it goes on."""
        self.send(signal.SIGSTOP)
        while _sessions().get(self.pid, (0, "Z"))[1] not in "TZ":
            time.sleep(0.0002)

    def thaw(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)


def _sessions() -> dict[int, tuple[int, str]]:
    """Return the session and the state of every process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError):
                state, _, _, session, *_ = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                found[int(entry)] = int(session), state
    return found


class Forks:
    """Starts processes that have torch and mainspring imported already.

    Args:
        folder: Where logs go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._running: dict[int, Process] = {}
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
            start_new_session=True,  # Ctrl-C is for the driver
        )
        self._answer()

    def _answer(self) -> Any:
        line = self._server.stdout.readline()
        assert line, "the fork server has ended"
        return json.loads(line)

    def _ask(self, **request: Any) -> Any:
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def start(self, function: str, *args: str) -> Process:
        """Start a process that calls ``'module:function'`` with a list of strings."""
        self._count += 1
        log = self.folder / f"{self._count}.log"
        pid = self._ask(start=function, args=args, log=str(log))

        def wait() -> int:
            del self._running[pid]
            return self._ask(wait=pid)

        process = self._running[pid] = Process(pid, log, wait)
        return process

    def close(self) -> None:
        for process in list(self._running.values()):
            process.send(signal.SIGKILL, group=True)
            process.wait()
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def fresh(log: Path, program: str, *args: str) -> Process:
    """Start a program of this directory in an interpreter of its own."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, HERE / program, *args],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    return Process(process.pid, log, process.wait)


# The server.


def serve() -> tuple[str, list[str]]:
    """Answer requests until there are no more; in a forked process, return the function that it is for."""
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    import_what_a_run_imports()
    print(json.dumps("ready"), file=answers, flush=True)
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
            continue
        begun, begins = os.pipe()
        pid = os.fork()
        if pid == 0:
            requests.close()
            answers.close()
            os.close(begun)
            detach(request["log"])
            os.close(begins)
            return request["start"], request["args"]
        os.close(begins)
        os.read(begun, 1)  # until it has its session
        os.close(begun)
        print(pid, file=answers, flush=True)
    sys.exit()


def detach(log: str) -> None:
    """Give this process a session and a log of its own, and no input."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    os.close(output)
    os.close(nothing)


def import_what_a_run_imports() -> None:
    """Import what a whole run imports, which a forked process finds out; this one stays untouched by it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        with tempfile.TemporaryDirectory() as folder:
            detach(os.path.join(folder, "log"))
            call("program:main", [os.path.join(folder, "run"), "--workers", "1", "--epochs", "1"])
        os.write(writing, "\n".join(sys.modules).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as names:
        for name in names.read().split():
            with suppress(Exception):  # some exist only by name
                importlib.import_module(name)
    os.wait()
    gc.collect()
    gc.freeze()  # what is imported is never garbage, and no fork need look at it


def call(function: str, args: list[str]) -> None:
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)(args)


class ShortEnd:
    """Ends a process when all is done but the taking apart of hundreds of modules, which takes as long as a run."""

    def __init__(self) -> None:
        self.code: int | None = None

    def __enter__(self) -> None:
        atexit.register(self._leave)  # the first to be registered is the last to be called

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if kind is None:
            self.code = 0
        elif isinstance(error, SystemExit):
            self.code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif isinstance(error, Exception):
            self.code = 1
        # After a KeyboardInterrupt, Python ends the process by a signal.

    def _leave(self) -> None:
        if self.code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


if __name__ == "__main__":
    with ShortEnd():
        call(*serve())
