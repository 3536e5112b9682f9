"""How the programs of these tests are started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "SLURM_", "OMPI_", "TORCHELASTIC_")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)},
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(sys.path),
}


def command(program: str, *arguments: object, processes: int = 2, restarts: int = 0) -> list[str]:
    """Return the command that starts a program of this folder by torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = str(Path(__file__).parent / program)
    return [sys.executable, *launcher, f"--max-restarts={restarts}", path, *map(str, arguments)]


def torchrun(
    program: str, *arguments: object, processes: int = 2, restarts: int = 0, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program of this folder by torchrun, and return what came of it."""
    return subprocess.run(
        command(program, *arguments, processes=processes, restarts=restarts),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start_pair(program: str, *arguments: object) -> list[subprocess.Popen[str]]:
    """Start a program of this folder as two processes of one run, as srun or a script would, without an agent."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    path = str(Path(__file__).with_name(program))
    return [
        subprocess.Popen(
            [sys.executable, path, *map(str, arguments)],
            env={**ENVIRONMENT, **job, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]


def ends_of(pair: list[subprocess.Popen[str]], timeout: float = 90) -> list[tuple[int, str]]:
    """Return the exit code and the output of each process; kill those that do not come to an end."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in pair]
        return [(process.returncode, output) for process, output in zip(pair, outputs, strict=True)]
    finally:
        for process in pair:
            process.kill()
