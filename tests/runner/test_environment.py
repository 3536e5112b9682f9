import os
import re
from pathlib import Path

import pytest
import torch

from mainspring.checkpoint import read_checkpoint
from mainspring.runner import Environment


@pytest.fixture
def make(tmp_path):
    def environment(randomness=None, env_cfg=None, work_dir=tmp_path / "run", earlier_seed=lambda: None):
        return Environment.make(work_dir, randomness, env_cfg, "none", earlier_seed)

    return environment


@pytest.fixture
def restored(monkeypatch):
    """Leave what is global in the process as it was."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn = torch.backends.cudnn
    before = (torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark)
    yield
    torch.use_deterministic_algorithms(before[0])
    cudnn.deterministic, cudnn.benchmark = before[1:]
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_one_process_on_this_machine(make, tmp_path):
    environment = make({"seed": 5})
    assert environment.seed == 5
    assert (environment.rank, environment.world_size, environment.launcher) == (0, 1, "none")
    assert environment.work_dir == tmp_path / "run"
    assert environment.work_dir.is_dir()
    assert re.fullmatch(r"\d{8}_\d{6}", environment.timestamp)
    assert (environment.deterministic, environment.diff_rank_seed) == (False, False)


def test_it_does_not_change(make):
    with pytest.raises(AttributeError):
        make().seed = 3


def test_a_work_dir_is_made_absolute_once(make, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert make(work_dir="a/b").work_dir == tmp_path / "a" / "b"
    assert make(work_dir="~/runs").work_dir == tmp_path / "home" / "runs"
    assert (tmp_path / "home" / "runs").is_dir()


# The seed


def test_a_seed_that_is_not_given_is_drawn(make):
    seeds = {make().seed for _ in range(5)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_the_seed_of_the_run_that_is_resumed_comes_before_a_drawn_one(make):
    assert make(earlier_seed=lambda: 77).seed == 77
    assert make({"seed": 5}, earlier_seed=lambda: 77).seed == 5
    assert make({"seed": 0}, earlier_seed=lambda: 77).seed == 0


def test_a_drawn_seed_is_told_saved_and_used_again(make_runner):
    runner = make_runner(randomness=None, log_level="INFO", train_cfg={"max_epochs": 1})
    runner.train()
    assert f"seed {runner.seed}" in Path(runner.logger.log_file).read_text()
    assert read_checkpoint(Path(runner.work_dir) / "epoch_1.pth")["meta"]["seed"] == runner.seed
    assert make_runner(randomness=None, resume="auto").seed == runner.seed
    assert make_runner(randomness=None).seed != runner.seed


def test_drawing_a_seed_does_not_depend_on_the_generators(make):
    torch.manual_seed(0)
    first = make().seed
    torch.manual_seed(0)
    assert make().seed != first, "two runs that were not told apart are two"


# What is global


@pytest.mark.usefixtures("restored")
def test_deterministic_runs(make_runner):
    runner = make_runner(randomness={"seed": 1, "deterministic": True}, env_cfg={"cudnn_benchmark": True})
    assert runner.deterministic
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark, "it picks algorithms by their speed of the day"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    runner.train()


@pytest.mark.usefixtures("restored")
def test_what_the_user_chose_for_cublas_stays(make, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    make({"deterministic": True})
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.usefixtures("restored")
def test_benchmarking_of_cudnn(make):
    make(env_cfg={"cudnn_benchmark": True})
    assert torch.backends.cudnn.benchmark
    make()
    assert not torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("restored")
def test_what_a_deterministic_run_switched_on_is_off_in_the_next_run(make):
    make({"deterministic": True})
    make({"deterministic": False})
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


@pytest.mark.usefixtures("restored")
def test_what_the_user_switched_on_stays(make, capsys):
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    make()
    assert torch.backends.cudnn.benchmark
    make({"deterministic": True})
    assert not torch.backends.cudnn.benchmark
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert "cuDNN's benchmark mode is off" in capsys.readouterr().out
    make({"deterministic": True})
    make()
    assert torch.backends.cudnn.benchmark
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_how_processes_find_each_other_is_not_asked_of_one_process(make):
    make(env_cfg={"dist_cfg": {"backend": "nccl", "timeout": 1800}})
    with pytest.raises(ValueError, match=r"env_cfg.dist_cfg.bakend: .* Did you mean 'backend'\?"):
        make(env_cfg={"dist_cfg": {"bakend": "nccl"}})


def test_the_start_method_of_processes(make):
    multiprocessing = torch.multiprocessing
    before = multiprocessing.get_start_method(allow_none=True)
    try:
        make(env_cfg={"mp_cfg": {"mp_start_method": "spawn", "opencv_num_threads": 0}})
        assert multiprocessing.get_start_method() == "spawn"
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_open_files(make):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower, wanted = min(soft, 200), min(soft, 300)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
        make(env_cfg={"resource_limit": wanted})
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
        make(env_cfg={"resource_limit": lower})
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard), "it is never lowered"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_device(make):
    assert make(env_cfg={"device": "cpu"}).device == torch.device("cpu")
    expected = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    assert make().device == expected


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_device_that_is_named_with_its_index_is_the_current_one(make):
    try:
        make(env_cfg={"device": "cuda:1"})
        assert torch.cuda.current_device() == 1
    finally:
        torch.cuda.set_device(0)


def test_the_model_is_put_on_the_device(make_runner):
    runner = make_runner(env_cfg={"device": "cpu"})
    assert runner.device.type == "cpu"
    assert all(p.device.type == "cpu" for p in runner.model.parameters())
