from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch

from mainspring import dist


def test_facts_without_a_process_group():
    assert not dist.is_distributed()
    assert dist.get_dist_info() == (0, 1)
    assert (dist.get_rank(), dist.get_world_size(), dist.get_local_rank(), dist.get_local_size()) == (0, 1, 0, 1)
    assert dist.is_main_process()
    assert dist.get_default_group() is None
    assert dist.get_backend() is None
    assert dist.get_comm_device() == torch.device("cpu")
    dist.barrier()


def test_collectives_are_identities():
    tensor = torch.tensor([1.0, 2.0])
    for op in ("sum", "mean", "product", "min", "max"):
        dist.all_reduce(tensor, op)
    dist.broadcast(tensor)
    dist.all_reduce_params([tensor], op="mean")
    named = {"loss": tensor, "hits": torch.tensor(3)}
    dist.all_reduce_dict(named, "mean")
    assert named["loss"] is tensor
    assert named["hits"].dtype == torch.int64
    assert tensor.tolist() == [1.0, 2.0]
    assert dist.all_gather(tensor)[0] is tensor
    assert dist.gather(tensor)[0] is tensor
    thing = object()
    assert dist.all_gather_object(thing) == [thing]
    assert dist.gather_object(thing) == [thing]
    things = [thing]
    dist.broadcast_object_list(things)
    assert things == [thing]


def test_collect_results_keeps_at_most_size():
    assert dist.collect_results([1, 2, 3], 2) == [1, 2]
    assert dist.collect_results([1, 2, 3], 5, device="gpu") == [1, 2, 3]


def test_sync_random_seed_follows_the_global_generator():
    state = np.random.get_state()
    first = dist.sync_random_seed()
    np.random.set_state(state)
    assert dist.sync_random_seed() == first
    assert 0 <= first < 2**31


def test_master_only_keeps_result_and_name():
    @dist.master_only
    def add(a, b=1):
        return a + b

    assert add(2, b=3) == 5
    assert add.__name__ == "add"


def test_wrong_arguments_are_errors_with_one_process_too():
    tensor = torch.zeros(1)
    with pytest.raises(ValueError, match=r"no reduce operation 'maen'\. Did you mean 'mean'"):
        dist.all_reduce(tensor, "maen")
    for function in (dist.all_reduce, dist.all_gather, dist.gather, dist.broadcast):
        with pytest.raises(TypeError, match=f"{function.__name__} takes a tensor, but it was given a float"):
            function(0.5)
    with pytest.raises(TypeError, match="all_reduce_dict at 'loss' takes a tensor"):
        dist.all_reduce_dict({"loss": 0.5})
    with pytest.raises(TypeError, match="takes a dict of tensors, but it was given a list"):
        dist.all_reduce_dict([tensor])
    with pytest.raises(ValueError, match="bucket_size_mb"):
        dist.all_reduce_params([tensor], bucket_size_mb=0)
    with pytest.raises(TypeError, match="given a tuple"):
        dist.broadcast_object_list((1,))
    with pytest.raises(TypeError, match="given a dict"):
        dist.collect_results({}, 1)
    with pytest.raises(ValueError, match="device must be 'cpu' or 'gpu'"):
        dist.collect_results([], 1, device="cuda")
    with pytest.raises(ValueError, match="tmpdir"):
        dist.collect_results([], 1, device="gpu", tmpdir="parts")


def test_get_data_device():
    on_cpu, on_meta = torch.zeros(1), torch.zeros(1, device="meta")
    assert dist.get_data_device(on_meta) == torch.device("meta")
    assert dist.get_data_device({"a": on_cpu, "b": [on_cpu, (on_cpu,)]}) == torch.device("cpu")
    with pytest.raises(ValueError, match="lie on cpu, meta"):
        dist.get_data_device([on_cpu, {"a": on_meta}])
    for empty in ([], {}, [on_cpu, []]):
        with pytest.raises(ValueError, match="empty"):
            dist.get_data_device(empty)
    for wrong in ("text", 3, [on_cpu, 1]):
        with pytest.raises(TypeError, match="Expected a tensor"):
            dist.get_data_device(wrong)


def test_cast_data_device():
    moved = dist.cast_data_device({"a": torch.zeros(2), "b": [torch.ones(1), (torch.ones(3),)]}, "meta")
    assert moved["a"].device.type == moved["b"][0].device.type == "meta"
    assert isinstance(moved["b"][1], tuple)
    assert moved["b"][1][0].shape == (3,)


def test_cast_data_device_into_out():
    data = {"a": torch.ones(2), "b": [torch.full((1,), 5.0)]}
    out = {"a": torch.zeros(2), "b": [torch.zeros(1)]}
    inside = out["b"][0]
    assert dist.cast_data_device(data, torch.device("cpu"), out=out) is out
    assert out["a"].tolist() == [1.0, 1.0]
    assert inside.item() == 5.0


def test_cast_data_device_wants_tensors_and_a_fitting_out():
    with pytest.raises(TypeError, match="found a int"):
        dist.cast_data_device({"a": 1}, "cpu")
    with pytest.raises(ValueError, match="empty"):
        dist.cast_data_device([], "cpu")
    tensor = torch.ones(1)
    with pytest.raises(TypeError, match="data has a list, out has a Tensor"):
        dist.cast_data_device([tensor], "cpu", out=tensor)
    with pytest.raises(ValueError, match="length"):
        dist.cast_data_device([tensor], "cpu", out=[tensor, tensor])
    with pytest.raises(ValueError, match="keys"):
        dist.cast_data_device({"a": tensor}, "cpu", out={"b": tensor})


def test_containers_keep_their_type_when_their_tensors_are_moved():
    given = defaultdict(list, a=[torch.zeros(1)], b=OrderedDict(c=torch.ones(1)))
    moved = dist.cast_data_device(given, "meta")
    assert moved["a"][0].device.type == "meta"
    assert type(moved["b"]) is OrderedDict
    assert moved["new"] == []


def test_the_machine_has_no_group_of_its_own():
    assert dist.get_local_group() is None
    with pytest.raises(RuntimeError, match="call init_dist before init_local_group"):
        dist.init_local_group(0, 1)


def test_results_by_either_way():
    assert dist.collect_results_cpu([1, 2, 3], 2) == [1, 2]
    assert dist.collect_results_gpu([1, 2, 3], 2) == [1, 2]
