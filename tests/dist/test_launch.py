import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as torch_dist

from mainspring import dist

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "SLURM_", "OMPI_", "TORCHELASTIC_")


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture
def environment():
    """``os.environ`` as without a launcher; restored afterwards."""
    before = dict(os.environ)
    clean = clean_environment()
    os.environ.clear()
    os.environ.update(clean)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


def test_infer_launcher(environment):
    assert dist.infer_launcher() == "none"
    environment["SLURM_NTASKS"] = "2"
    assert dist.infer_launcher() == "slurm"
    environment["OMPI_COMM_WORLD_LOCAL_RANK"] = "0"
    assert dist.infer_launcher() == "mpi"
    environment["WORLD_SIZE"] = "2"
    assert dist.infer_launcher() == "pytorch"


def test_slurm_and_mpi_make_the_environment_of_torchrun():
    """Two real processes in one group: rank 0 with srun's variables, rank 1 with mpirun's."""
    port = str(free_port())
    script = str(Path(__file__).with_name("joins.py"))
    slurm = {
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "1",
        "SLURM_TASKS_PER_NODE": "4,2(x3)",
        "SLURM_NODELIST": "127.0.0.[1,7-9]",
    }
    mpi = {f"OMPI_COMM_WORLD_{name}": "2" for name in ("SIZE", "LOCAL_SIZE")}
    mpi |= {f"OMPI_COMM_WORLD_{name}": "1" for name in ("RANK", "LOCAL_RANK")}
    processes = [
        subprocess.Popen(
            [sys.executable, script, launcher, port],
            env={**clean_environment(), **variables, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for launcher, variables in (("slurm", slurm), ("mpi", mpi))
    ]
    for rank, process in enumerate(processes):
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert json.loads(output) == {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "total": 3,
            "local": [rank, 2],
        }


def test_a_job_of_one_process(environment):
    environment |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    environment["MASTER_PORT"] = str(free_port())
    dist.init_dist("pytorch", backend="gloo")
    try:
        assert dist.is_distributed()
        assert dist.is_main_process()
        assert dist.get_backend() == "gloo"
        assert dist.collect_results([3, 4], 1) == [3]
        assert dist.gather_object("alone") == ["alone"]
        with pytest.raises(RuntimeError, match="LOCAL_WORLD_SIZE is not set"):
            dist.get_local_size()
    finally:
        torch_dist.destroy_process_group()
    assert dist.get_dist_info() == (0, 1)


def test_a_wrong_launcher_names_the_near_one():
    with pytest.raises(ValueError, match=r"no launcher 'pytorchh'\. Did you mean 'pytorch'"):
        dist.init_dist("pytorchh")
    with pytest.raises(ValueError, match="With one process there is nothing to join"):
        dist.init_dist("none")


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("pytorch", "RANK is not set, which torchrun sets"),
        ("slurm", "SLURM_NODELIST is not set, which srun sets"),
        ("mpi", "OMPI_COMM_WORLD_RANK is not set, which mpirun sets"),
    ],
)
def test_a_program_that_its_launcher_did_not_start(environment, launcher, message):
    with pytest.raises(ValueError, match=message):
        dist.init_dist(launcher)
    assert not dist.is_distributed()


def test_mpi_on_several_machines_needs_an_address(environment):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "SIZE": "4", "LOCAL_SIZE": "2"}.items():
        environment[f"OMPI_COMM_WORLD_{name}"] = value
    with pytest.raises(ValueError, match="mpirun -x MASTER_ADDR"):
        dist.init_dist("mpi")


def test_options_that_cannot_be(environment):
    with pytest.raises(TypeError, match=r"timeout must be a number of seconds, but it is '30min' \(str\)"):
        dist.init_dist("pytorch", timeout="30min")
    with pytest.raises(ValueError, match="torchrun --master-port"):
        dist.init_dist("pytorch", port=29501)
