import copy
import gc
import pickle
import weakref
from abc import abstractmethod
from collections import OrderedDict
from datetime import timedelta

import pytest
import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mainspring.logging import MMLogger
from mainspring.model.base_module import BaseModule, ModuleDict, ModuleList, Sequential
from mainspring.model.init_record import recording
from mainspring.model.weight_init import ConstantInit, update_init_info


def constant(val, **others):
    return {"type": "Constant", "val": val, "layer": "Linear", **others}


class Leaf(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(2, 2)

    @property
    def value(self):
        return self.linear.weight[0, 0].item()


class Tree(BaseModule):
    def __init__(self, init_cfg=None, **children):
        super().__init__(init_cfg)
        self.linear = nn.Linear(2, 2)
        for name, child in children.items():
            self.add_module(name, child)


class ByHand(Leaf):
    def init_weights(self):
        super().init_weights()
        self.linear.weight.data.fill_(42)


class Failing(Leaf):
    def init_weights(self):
        raise RuntimeError("no weights today")


@pytest.fixture
def log(tmp_path):
    """The log file of the current logger."""
    path = tmp_path / "module.log"
    MMLogger.get_instance("base-module-test", log_file=path)
    return path


class TestOrder:
    def test_a_child_comes_after_its_parent(self):
        tree = Tree(constant(1), plain=Leaf(), own=Leaf(constant(2)))
        tree.init_weights()
        assert tree.linear.weight[0, 0] == 1
        assert tree.plain.value == 1
        assert tree.own.value == 2

    def test_pretrained_comes_last_of_all(self, tmp_path):
        path = tmp_path / "tree.pth"
        source = Tree(constant(7), own=Leaf())
        source.init_weights()
        torch.save(source.state_dict(), path)
        pretrained = {"type": "Pretrained", "checkpoint": str(path)}
        tree = Tree([pretrained, constant(1)], own=Leaf(constant(2)))
        tree.init_weights()
        assert tree.linear.weight[0, 0] == 7
        assert tree.own.value == 7

    def test_a_childs_own_init_weights_is_called(self):
        tree = Tree(constant(1), hand=ByHand(constant(2)))
        tree.init_weights()
        assert tree.hand.value == 42

    def test_a_module_of_another_library_with_the_method(self):
        class Foreign(nn.Linear):
            def init_weights(self):
                nn.init.constant_(self.weight, 5)

        tree = Tree(constant(1), foreign=Foreign(2, 2), kept=Foreign(2, 2))
        tree.kept.is_init = True
        before = tree.kept.weight.clone()
        tree.init_cfg = None
        tree.init_weights()
        assert tree.foreign.weight[0, 0] == 5
        assert torch.equal(tree.kept.weight, before)

    def test_what_is_initialised_is_left_alone(self):
        leaf = Leaf(constant(2))
        leaf.init_weights()
        leaf.linear.weight.data.fill_(9)
        Tree(None, leaf=leaf).init_weights()
        assert leaf.value == 9

    def test_a_seed_fixes_the_weights(self):
        config = [{"type": "Kaiming", "layer": "Linear"}]
        drawn = []
        for _ in range(2):
            tree = Tree(config, a=Leaf([{"type": "Normal", "layer": "Linear"}]), b=Leaf())
            torch.manual_seed(5)
            tree.init_weights()
            drawn.append(tree.state_dict())
        assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])


class TestState:
    def test_a_second_call_warns_and_does_nothing(self, log):
        leaf = Leaf(constant(2))
        assert not leaf.is_init
        leaf.init_weights()
        assert leaf.is_init
        leaf.linear.weight.data.fill_(9)
        leaf.init_weights()
        assert leaf.value == 9
        assert "WARNING - init_weights of Leaf was called again" in log.read_text()
        leaf.is_init = False
        leaf.init_weights()
        assert leaf.value == 2

    def test_initialisation_leaves_nothing_behind(self, log):
        tree = Tree(constant(1), leaf=Leaf(constant(2)))
        before = {name: set(vars(module)) for name, module in tree.named_modules()}
        tree.init_weights()
        assert {name: set(vars(module)) for name, module in tree.named_modules()} == before
        copied = pickle.loads(pickle.dumps(copy.deepcopy(tree)))
        assert copied.is_init
        assert copied.leaf.value == 2
        gone = weakref.ref(tree.leaf.linear.weight)
        del tree
        gc.collect()
        assert gone() is None

    def test_a_failure_leaves_nothing_behind_either(self, log):
        tree = Tree(constant(1), bad=Failing())
        with pytest.raises(RuntimeError, match="no weights today"):
            tree.init_weights()
        assert not tree.is_init
        assert log.read_text() == ""
        other = Leaf(constant(3))
        other.init_weights()
        assert "parameters of Leaf" in log.read_text()
        assert "Tree" not in log.read_text()

    def test_the_config_is_a_copy_and_shown(self):
        config = constant(1)
        leaf = Leaf(config)
        config["val"] = 100
        leaf.init_weights()
        assert leaf.value == 1
        assert "init_cfg={'type': 'Constant', 'val': 1, 'layer': 'Linear'}" in repr(leaf)
        assert "init_cfg" not in repr(Leaf())

    def test_a_ready_initialiser_will_do(self):
        leaf = Leaf(ConstantInit(6, layer="Linear"))
        leaf.init_weights()
        assert leaf.value == 6

    def test_a_wrong_config_is_refused(self):
        with pytest.raises(TypeError, match="init_cfg must be a dict such as"):
            Leaf("Kaiming").init_weights()
        with pytest.raises(KeyError, match="type"):
            Leaf({"val": 1}).init_weights()

    def test_an_abstract_method_must_be_implemented(self):
        class Abstract(BaseModule):
            @abstractmethod
            def forward(self, x): ...

        with pytest.raises(TypeError, match="abstract"):
            Abstract()


class TestLog:
    def test_each_parameter_has_one_line_in_the_file_only(self, log, capsys):
        tree = Tree(constant(1, bias=3), own=Leaf(constant(2)), hand=ByHand(), free=Tree(None))
        tree.init_weights()
        lines = log.read_text().splitlines()
        assert [line for line in lines if line.startswith("own.linear.weight")] == [
            "own.linear.weight (2, 2): ConstantInit: bias=0, val=2"
        ]
        assert "linear.weight (2, 2): ConstantInit: bias=3, val=1" in lines
        assert "hand.linear.weight (2, 2): init_weights of ByHand" in lines
        assert "hand.linear.bias (2,): ConstantInit: bias=3, val=1" in lines
        assert len(lines) == 1 + len(list(tree.parameters()))
        assert capsys.readouterr().out == ""

    def test_what_nobody_changed_is_said_to_be_unchanged(self, log):
        zeros = nn.Linear(2, 2)
        nn.init.zeros_(zeros.bias)
        tree = Tree(constant(1), norm=nn.LayerNorm(2), zeros=zeros)
        tree.init_weights()
        lines = log.read_text().splitlines()
        assert "norm.weight (2,): unchanged by init_weights" in lines
        # Its values were 0 before, too, but they are the initialiser's now.
        assert "zeros.bias (2,): ConstantInit: bias=0, val=1" in lines
        assert "linear.bias (2,): ConstantInit: bias=0, val=1" in lines

    def test_a_model_initialised_within_another_has_its_own_record(self, log):
        class WithTeacher(Leaf):
            def init_weights(self):
                super().init_weights()
                teacher = Leaf(constant(8))
                teacher.init_weights()

        Tree(constant(1), student=WithTeacher()).init_weights()
        text = log.read_text()
        assert text.index("parameters of Leaf") < text.index("parameters of Tree")
        assert text.count("student.linear.weight") == 1

    @pytest.mark.usefixtures("log")
    def test_the_host_reads_once_for_each_note(self):
        class Reads(TorchDispatchMode):
            count = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                self.count += func is torch.ops.aten._local_scalar_dense.default
                return func(*args, **(kwargs or {}))

        module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))
        with recording(module), Reads() as reads:
            update_init_info(module, "noted")
        assert reads.count <= 1

    def test_parameters_of_all_kinds_can_be_recorded(self, log):
        tree = Tree(constant(1), lazy=nn.LazyLinear(2), meta=nn.Linear(2, 2, device="meta"))
        for name, tensor in {
            "index": torch.ones(3, dtype=torch.int64),
            "wave": torch.ones(3, dtype=torch.complex64),
            "small": torch.ones(3).to(torch.float8_e4m3fn),
            "empty": torch.ones(0),
            "unset": torch.full((3,), float("nan")),
        }.items():
            tree.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
        with torch.inference_mode():
            tree.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        tree.init_cfg = {"type": "Constant", "val": 1, "override": {"name": "linear"}}
        tree.init_weights()
        lines = log.read_text().splitlines()
        assert sum(line.endswith("unchanged by init_weights") for line in lines) == 10
        assert "lazy.weight lazy: unchanged by init_weights" in lines

    def test_without_a_file_nothing_is_printed(self, capsys):
        MMLogger.get_instance("base-module-test-without-file")
        MMLogger.new_instance("base-module-test-without-file")
        Tree(constant(1), leaf=Leaf(constant(2))).init_weights()
        assert capsys.readouterr().out == ""


class TestContainers:
    @pytest.mark.parametrize(
        ("make", "kind"),
        [
            (lambda a, b, cfg: Sequential(a, b, init_cfg=cfg), nn.Sequential),
            (lambda a, b, cfg: Sequential(OrderedDict(a=a, b=b), init_cfg=cfg), nn.Sequential),
            (lambda a, b, cfg: ModuleList((m for m in (a, b)), init_cfg=cfg), nn.ModuleList),
            (lambda a, b, cfg: ModuleDict({"a": a, "b": b}, init_cfg=cfg), nn.ModuleDict),
        ],
    )
    def test_they_initialise_what_they_hold(self, make, kind):
        first, second = Leaf(), Leaf(constant(2))
        container = make(first, second, constant(1))
        assert isinstance(container, kind)
        assert list(container.children()) == [first, second]
        Tree(None, container=container).init_weights()
        assert (first.value, second.value) == (1, 2)
        assert container.is_init

    def test_they_behave_like_torchs(self):
        sequential = Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        assert sequential(torch.zeros(4, 2)).shape == (4, 1)
        assert type(sequential[:2]) is Sequential
        assert list(sequential.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        modules = ModuleList()
        modules.append(nn.Linear(1, 1))
        assert len(modules[0:]) == 1
        assert list(ModuleDict([("x", nn.ReLU())])) == ["x"]

    def test_configs_that_a_plain_container_hides_are_named(self, log):
        tree = Tree(None, blocks=nn.ModuleList([Leaf(constant(1)), Leaf()]), heads=nn.ModuleList([ByHand()]))
        tree.init_weights()
        text = log.read_text()
        assert "'blocks' is a ModuleList, which has no init_weights; so that of blocks.0 (Leaf) is not" in text
        assert "heads.0 (ByHand)" in text
        assert tree.blocks[0].value != 1


def initialise_on_two_processes(rank, store, folder):
    # Only one process makes a record: if that took a collective, it would wait until this timeout.
    torch_dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    MMLogger.get_instance("two", log_file=f"{folder}/{rank}.log", distributed=True)
    leaf = Leaf(constant(2))
    mesh = init_device_mesh("cpu", (2,))
    leaf.linear.weight = nn.Parameter(distribute_tensor(leaf.linear.weight.data, mesh, [Shard(0)]))
    leaf.init_weights()
    assert leaf.linear.weight.to_local().tolist() == [[2.0, 2.0]]
    torch_dist.barrier()
    torch_dist.destroy_process_group()


def test_of_two_processes_one_writes_the_record(tmp_path):
    mp.spawn(initialise_on_two_processes, args=(tmp_path / "store", tmp_path), nprocs=2)
    assert "linear.weight (2, 2): ConstantInit: bias=0, val=2" in (tmp_path / "0.log").read_text()
    assert "linear.weight" not in "".join(path.read_text() for path in tmp_path.glob("*1.log"))
