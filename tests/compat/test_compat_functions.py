"""Functions that only code written for MMEngine calls."""

import json
import logging
import random

import numpy as np
import pytest
import torch
from torch import nn

from mainspring import device
from mainspring.fileio import FileClient, HardDiskBackend, LocalBackend
from mainspring.optim import BaseOptimWrapper, OptimWrapper, ZeroRedundancyOptimizer
from mainspring.registry import Registry, count_registered_modules, traverse_registry_tree
from mainspring.runner import autocast, get_state_dict, set_random_seed
from mainspring.utils.dl_utils import (
    TORCH_VERSION,
    TimeCounter,
    collect_env,
    has_batch_norm,
    is_jit_tracing,
    is_norm,
    load_url,
    set_multi_processing,
    tensor2imgs,
    torch_meshgrid,
)


def test_kinds_of_devices():
    kinds = ("cuda", "mps", "npu", "mlu", "musa", "dipu")
    there = {kind for kind in kinds if getattr(device, f"is_{kind}_available")()}
    assert there <= {torch.device(device.get_device()).type}
    if "npu" not in there:
        assert device.is_npu_support_full_precision() is False
    if "cuda" not in there:
        assert device.get_max_cuda_memory() == device.get_max_musa_memory() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_peak_of_memory_is_counted_anew():
    device.get_max_cuda_memory()
    block = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    assert device.get_max_cuda_memory() >= 64
    del block
    device.get_max_cuda_memory()
    assert device.get_max_cuda_memory() < 64


def test_file_clients(tmp_path):
    client = FileClient(backend="disk")
    assert isinstance(client, LocalBackend)
    assert HardDiskBackend is LocalBackend
    client.put(b"cat", tmp_path / "a.bin")
    assert FileClient.infer_client(uri=tmp_path / "a.bin").get(tmp_path / "a.bin") == b"cat"
    assert FileClient.infer_client({"backend": "disk"}) is client
    assert FileClient(prefix="http") is FileClient(prefix="http")
    assert FileClient.parse_uri_prefix("s3://bucket/a") == "s3"
    assert FileClient.parse_uri_prefix(tmp_path) is None
    with pytest.raises(ValueError, match="There is no petrel backend here"):
        FileClient(backend="petrel")


def test_backends_of_a_users_own():
    @FileClient.register_backend("compat_test", prefixes="compattest")
    class Own(LocalBackend):
        pass

    assert type(FileClient("compat_test")) is type(FileClient(prefix="compattest")) is Own
    FileClient.register_backend("compat_test", LocalBackend, force=True, prefixes="compattest")


def test_a_wrapper_of_a_users_own():
    class Own(BaseOptimWrapper):
        pass

    weight = nn.Parameter(torch.ones(()))
    wrapper = Own(torch.optim.SGD([weight], lr=0.5))
    assert isinstance(wrapper, OptimWrapper)
    wrapper.update_params(2 * weight)
    assert weight.item() == 0


def test_the_optimizer_that_is_shared_out(tmp_path):
    with pytest.raises(ValueError, match=r"optimizer_type must be the name .* but it is 'Adm'. Did you mean 'Adam'?"):
        ZeroRedundancyOptimizer([nn.Parameter(torch.ones(2))], "Adm", lr=0.1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        weight = nn.Parameter(torch.ones(2))
        optimizer = ZeroRedundancyOptimizer([weight], optimizer_type="SGD", lr=0.5)
        weight.sum().backward()
        optimizer.step()
    finally:
        torch.distributed.destroy_process_group()
    assert weight.tolist() == [0.5, 0.5]


def test_what_is_registered(tmp_path):
    root = Registry("compat animal", scope="zoo")
    child = Registry("compat animal", parent=root, scope="farm")
    child.register_module(name="Bag", module=json.JSONDecoder)
    child.register_module(module=json.JSONEncoder)
    found = traverse_registry_tree(child, verbose=False)
    assert found == [
        {"num_modules": 0, "scope": "zoo"},
        {"num_modules": 2, "scope": "farm", "json": ["Bag", "JSONEncoder"]},
    ]
    facts = count_registered_modules(str(tmp_path / "facts"), verbose=False)
    assert "EMAHook" in facts["registries"]["HOOKS"][0]["mainspring/hooks"]
    assert json.loads((tmp_path / "facts" / "modules_statistic_results.json").read_text()) == facts


def test_weights_without_the_names_of_wrappers():
    inner = nn.Sequential(nn.DataParallel(nn.Linear(1, 1)), nn.BatchNorm1d(1))
    plain = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    weights = get_state_dict(nn.DataParallel(inner))
    assert list(weights) == list(plain.state_dict())
    assert weights._metadata == plain.state_dict()._metadata
    plain.load_state_dict(weights, strict=True)
    assert weights["0.weight"] is not inner[0].module.weight
    assert get_state_dict(inner, keep_vars=True)["0.weight"] is inner[0].module.weight
    destination = get_state_dict(nn.Linear(1, 1), prefix="a.")
    assert get_state_dict(nn.Linear(1, 1, bias=False), destination, "b.") is destination
    assert list(destination) == ["a.weight", "a.bias", "b.weight"]
    assert list(destination._metadata) == ["a", "b"]


def test_seeds():
    def draws():
        return random.random(), np.random.random(), torch.rand(()).item()

    assert set_random_seed(5) == 5
    first = draws()
    assert set_random_seed(5, diff_rank_seed=True) == 5
    assert draws() == first
    seed = set_random_seed()
    assert 0 <= seed < 2**31
    first = draws()
    set_random_seed(seed)
    assert draws() == first


def test_seeds_with_deterministic_algorithms(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    try:
        set_random_seed(5, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_mixed_precision():
    def dtype(**options):
        with autocast(**options):
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert dtype(device_type="cpu") == torch.bfloat16
    assert dtype(device_type="cpu", dtype=torch.float16, cache_enabled=False) == torch.float16
    assert dtype(enabled=False) == torch.float32


def test_layers_that_normalise():
    for layer in (nn.BatchNorm2d(2), nn.SyncBatchNorm(2), nn.InstanceNorm1d(2), nn.LayerNorm(2), nn.GroupNorm(1, 2)):
        assert is_norm(layer)
        assert not is_norm(layer, exclude=(nn.Module,))
    assert not is_norm(nn.Linear(1, 1))
    assert is_norm(nn.BatchNorm2d(1), exclude=nn.LayerNorm)
    with pytest.raises(TypeError, match="exclude must be a class, a tuple of classes, or None, but it is 3"):
        is_norm(nn.Linear(1, 1), exclude=3)
    assert has_batch_norm(nn.Sequential(nn.Sequential(nn.SyncBatchNorm(1))))
    assert not has_batch_norm(nn.Sequential(nn.InstanceNorm1d(1)))


def test_images_come_back():
    images = torch.arange(24.0).reshape(2, 3, 2, 2)
    means, deviations = (1.0, 2.0, 3.0), (2.0, 3.0, 4.0)
    shape = (1, 3, 1, 1)
    normalised = (images - torch.tensor(means).view(shape)) / torch.tensor(deviations).view(shape)
    back = tensor2imgs(normalised, means, deviations, to_bgr=False)
    assert np.allclose(np.stack(back), images.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    assert all(image.flags.c_contiguous and image.dtype == np.float32 for image in back)
    assert tensor2imgs(images)[0][0, 0].tolist() == [8.0, 4.0, 0.0]
    assert tensor2imgs(images[:, :1], to_bgr=False)[0].shape == (2, 2, 1)
    for wrong, options, message in (
        (images[0], {}, r"it is \(3, 2, 2\)"),
        (torch.zeros(1, 4, 2, 2), {}, r"it is \(1, 4, 2, 2\)"),
        (images, {"mean": (1,)}, "for each of the 3 channels, but they have 1 and 3"),
        (images[:, :1], {}, "write to_bgr=False"),
    ):
        with pytest.raises(ValueError, match=message):
            tensor2imgs(wrong, **options)
    with pytest.raises(TypeError, match="tensor2imgs takes a tensor, but it was given a ndarray"):
        tensor2imgs(images.numpy())


def test_what_torch_has_by_now():
    assert torch.__version__ == TORCH_VERSION
    assert not is_jit_tracing()
    rows, columns = torch_meshgrid(torch.arange(2), torch.arange(3))
    assert rows[:, 0].tolist() == [0, 1]
    assert columns[0].tolist() == [0, 1, 2]


def test_weights_by_their_address(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "file.pth")
    weights = load_url((tmp_path / "file.pth").as_uri(), model_dir=str(tmp_path / "kept"), progress=False)
    assert weights["a"].tolist() == [1, 1]
    assert (tmp_path / "kept" / "file.pth").is_file()


def test_workers_are_started_as_asked(monkeypatch):
    before = torch.multiprocessing.get_start_method(allow_none=True)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    try:
        set_multi_processing("spawn", distributed=True)
        assert torch.multiprocessing.get_start_method() == "spawn"
    finally:
        torch.multiprocessing.set_start_method(before, force=True)
        import os

        assert os.environ.pop("MKL_NUM_THREADS") == "1"
        assert os.environ["OMP_NUM_THREADS"] == "3"


def test_a_report_of_the_machine():
    env = collect_env()
    assert env["PyTorch"] == torch.__version__
    assert "mainspring" in env


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("mainspring.compat.time_counter.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(TimeCounter, "_counters", {})

    def wait(seconds):
        now[0] += seconds

    return wait


def test_functions_are_timed(clock, capsys):
    @TimeCounter(log_interval=2, warmup_interval=2, tag="waiting")
    def wait(seconds):
        clock(seconds)
        return seconds

    assert [wait(seconds) for seconds in (9, 1, 2, 3, 4)] == [9, 1, 2, 3, 4]
    assert capsys.readouterr().out == (
        "[waiting]-time per run averaged in the past 2 runs: 1500.0 ms\n"
        "[waiting]-time per run averaged in the past 4 runs: 2500.0 ms\n"
    )
    assert wait.__name__ == "wait"


def test_blocks_are_timed_by_their_tag(clock, caplog):
    logger = logging.getLogger("compat_test")
    with caplog.at_level("INFO", "compat_test"):
        for seconds in (1, 3):
            with TimeCounter(tag="block", logger=logger):
                clock(seconds)
    assert caplog.messages[-1] == "[block]-time per run averaged in the past 2 runs: 2000.0 ms"
    with pytest.raises(ValueError, match="A timed block needs a tag"), TimeCounter():
        pass
    with pytest.raises(ValueError, match="warmup_interval must be at least 1, but it is 0"):
        TimeCounter(warmup_interval=0)
