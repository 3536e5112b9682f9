import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).with_name("three_ranks.py")
    command = [sys.executable, "-W", "error::UserWarning", "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node=3", str(script), str(directory)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [pickle.loads((directory / f"rank{rank}.pkl").read_bytes()) for rank in range(3)]


def everywhere(ranks, name, expected):
    for seen in ranks:
        torch.testing.assert_close(seen[name], expected, rtol=0, atol=0)


def test_facts(ranks):
    for rank, seen in enumerate(ranks):
        assert seen["facts"] == {
            "info": (rank, 3),
            "local": (rank, 3),
            "backend": "gloo",
            "distributed": True,
            "main": rank == 0,
            "master_only": "ran" if rank == 0 else None,
            "world": 3,
        }


@pytest.mark.parametrize(
    ("op", "expected"),
    [("sum", [6.0, -3]), ("mean", [2.0, -1]), ("product", [6.0, 0]), ("min", [1.0, -2]), ("max", [3.0, 0])],
)
def test_all_reduce(ranks, op, expected):
    everywhere(ranks, op, torch.tensor(expected))


def test_all_reduce_of_bits_integers_bools_and_scalars(ranks):
    everywhere(ranks, "bits", [torch.tensor([0, 7]), torch.tensor([7, 7]), torch.tensor([7, 7])])
    everywhere(ranks, "integer_mean", torch.tensor([-1, 5]))
    everywhere(ranks, "bool_mean", torch.tensor([True, False]))
    everywhere(ranks, "scalar", torch.tensor(6.0))


def test_all_reduce_of_a_strided_view_changes_it_and_nothing_else(ranks):
    columns = 3 * torch.arange(12.0).reshape(3, 4) + 300
    everywhere(ranks, "strided", columns[:, ::2])
    for rank, seen in enumerate(ranks):
        untouched = torch.arange(12.0).reshape(3, 4) + 100 * rank
        assert torch.equal(seen["around_strided"][:, 1::2], untouched[:, 1::2])
        assert torch.equal(seen["around_strided"][:, ::2], columns[:, ::2])


def test_all_reduce_of_a_parameter_stays_outside_the_graph(ranks):
    for seen in ranks:
        assert seen["parameter"] == ([1.0, 1.0], True, True)


def test_all_reduce_dict(ranks):
    # The order of the keys differs between the ranks, so this also shows that the right ones meet.
    third = torch.tensor([[1.0 / 3]], dtype=torch.float64)
    total = {"loss": torch.tensor(1.5), "hits": torch.tensor([3]), "big": torch.tensor(3 * 2**60 + 3)}
    mean = {"loss": torch.tensor(0.5), "hits": torch.tensor([1.0])}
    for rank, seen in enumerate(ranks):
        torch.testing.assert_close(seen["dict_sum"], total | {"fine": third + third + third})
        torch.testing.assert_close({key: seen["dict_mean"][key] for key in mean}, mean)
        torch.testing.assert_close(seen["dict_mean"]["fine"], third)
        assert seen["dict_original"].tolist() == [rank]


def test_all_reduce_params_is_the_same_however_it_is_packed(ranks):
    for seen in ranks:
        for way in ("params_True_-1", "params_True_1", "params_False_-1"):
            assert seen[way] == [(2.0, 2.0), (1, 1), (2.0, 2.0), (2.0, 2.0)]


def test_gathers_and_broadcast(ranks):
    everywhere(ranks, "all_gather", [torch.tensor([0, 0]), torch.tensor([1, 10]), torch.tensor([2, 20])])
    grid = torch.arange(6).reshape(2, 3).t()
    everywhere(ranks, "all_gather_strided", [grid, grid + 1, grid + 2])
    everywhere(ranks, "broadcast", torch.full((3, 2), 1))
    numbers = [torch.tensor(0), torch.tensor(1), torch.tensor(2)]
    assert [seen["gather"] for seen in ranks] == [numbers, [], []]
    assert [seen["gather_to_2"] for seen in ranks] == [[], [], numbers]


def test_objects(ranks):
    for seen in ranks:
        assert seen["all_gather_object"] == [{"rank": ""}, {"rank": "x"}, {"rank": "xx"}]
        assert seen["broadcast_object_list"] == ["from 2", {"rank": 2}]
        assert seen["seed"] == ranks[0]["seed"]
    assert [seen["gather_object"] for seen in ranks] == [[0, 1, 2], None, None]
    assert [seen["gather_object_to_1"] for seen in ranks] == [None, [0, 1, 2], None]


def test_collect_results_is_exact_for_every_remainder(ranks):
    for size in range(8):
        assert ranks[0]["collected"][size] == [list(range(size))] * 6
        assert ranks[1]["collected"][size] == [None] * 6
        assert ranks[2]["collected"][size] == [None] * 6


def test_collect_results_keeps_nones(ranks):
    assert ranks[0]["collected"]["nones"] == [None, None, None, 0, 1, 2]


def test_collect_results_removes_its_own_files_only(ranks):
    for seen in ranks:
        assert seen["parts_are_gone"]
        assert seen["left"] == ["mine_0.txt", "mine_1.txt", "mine_2.txt"]


def test_a_group_of_some_processes(ranks):
    assert [seen["group_info"] for seen in ranks] == [(-1, -1), (0, 2), (1, 2)]
    assert [seen["group_main"] for seen in ranks] == [False, True, False]
    assert [seen["group_mean"].item() for seen in ranks] == [0.0, 1.5, 1.5]
    assert ranks[1]["group_gather"] == []
    assert ranks[2]["group_gather"] == [torch.tensor(1), torch.tensor(2)]
    assert ranks[1]["group_seed"] == ranks[2]["group_seed"]


def test_the_processes_of_a_machine(ranks):
    for rank, seen in enumerate(ranks):
        assert seen["alone"] == (0, 1)
        assert seen["together"] == (rank, 3)
        before, uneven, elsewhere = seen["local_errors"]
        assert "call init_local_group first" in before
        assert uneven == "num_gpus_per_node is 2, but must divide the number of processes, 3."
        assert f"node_rank is {rank + 1}, but the process of rank {rank} is one of machine {rank}" in elsewhere
