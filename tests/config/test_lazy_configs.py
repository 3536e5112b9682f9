"""Lazy configurations: imports become objects that are imported when they are asked for."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import pytest

from mainspring import Config, ConfigDict
from mainspring.config import ConfigParsingError, LazyObject

BASE = """
import os.path
from fractions import Fraction
from torch.optim import SGD
import torch.nn as nn
from collections import OrderedDict
import torch

optimizer = dict(type=SGD, lr=0.1)
layers = [nn.ReLU, dict(type=torch.nn.GELU)]
pair = (nn.ReLU, 1)
root = os.path.join('a', 'b')
half = float(Fraction(1, 2))
def doubled(x): return 2 * x
"""
CHILD = """
from mmengine.config import read_base
with read_base():
    from .base import *
from mmengine.hooks import EMAHook

optimizer.update(lr=doubled(0.2))
optimizer.merge(dict(momentum=0.9))
hooks = [dict(type=EMAHook)]
other = dict(type=SGD)
"""


@pytest.fixture
def lazy(write):
    return Config.fromfile(write(base=BASE, child=CHILD))


def test_values_come_from_bases_and_names_are_imported_on_demand(lazy):
    import torch

    from mainspring.hooks import EMAHook

    assert list(lazy) == ["optimizer", "layers", "pair", "root", "half", "hooks", "other"]
    assert lazy.optimizer == {"type": LazyObject("torch.optim", ("SGD",)), "lr": 0.4, "momentum": 0.9}
    assert lazy.optimizer.type is torch.optim.SGD
    assert dict(**lazy.optimizer) == {"type": torch.optim.SGD, "lr": 0.4, "momentum": 0.9}
    assert {**lazy.optimizer} == dict(lazy.optimizer.items())
    assert lazy.optimizer.get("type") is torch.optim.SGD
    assert next(iter(lazy.optimizer.values())) is torch.optim.SGD
    assert lazy.layers[0] is torch.nn.ReLU
    assert lazy.layers[1].type is torch.nn.GELU
    assert lazy.pair == (torch.nn.ReLU, 1)
    assert lazy.hooks[0].type is EMAHook, "MMEngine's names are ours"
    assert lazy.copy().other.pop("type") is torch.optim.SGD
    assert (lazy.root, lazy.half) == ("a/b", 0.5)


def test_what_is_written_reads_back_equal(lazy, tmp_path):
    for _ in range(2):  # also when a class was imported in between
        for ending in ("py", "yaml"):
            lazy.dump(tmp_path / f"written.{ending}")
            back = Config.fromfile(tmp_path / f"written.{ending}")
            assert back == lazy
            assert back.optimizer.type == "torch.optim.SGD"
        _ = lazy.layers, lazy.pair
    assert Config.fromfile("child.py").to_dict()["layers"] == ["torch.nn.ReLU", {"type": "torch.nn.GELU"}]


def test_reading_imports_nothing(write):
    write(base=BASE, child=CHILD)
    program = (
        "import sys; from mainspring import Config; cfg = Config.fromfile('child.py'); cfg.pretty_text; cfg.to_dict();"
        "print([name for name in ('torch', 'numpy', 'mainspring.hooks') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_copies_are_lazy_too(lazy):
    for other in (copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy)), copy.copy(lazy)):
        assert isinstance(dict.__getitem__(other._cfg_dict["other"], "type"), LazyObject)
        assert other == lazy
        assert other.filename == lazy.filename


def test_a_lazy_class_is_built(write):
    from mainspring.registry import MODELS

    cfg = Config.fromfile(
        write(one="from torch import nn\nmodel = dict(type=nn.Linear, in_features=2, out_features=3)\n")
    )
    assert MODELS.build(cfg.model).weight.shape == (3, 2)


def test_origins_of_lazy_values(lazy):
    places = {
        key: str(lazy.origin(key))
        for key in ("optimizer.lr", "optimizer.type", "layers.1.type", "other", "optimizer.momentum")
    }
    assert places == {
        "optimizer.lr": "child.py, line 7",
        "optimizer.momentum": "child.py, line 8",
        "optimizer.type": "base.py, line 9",
        "layers.1.type": "base.py, line 10",
        "other": "child.py, line 10",
    }


def test_bases_by_name_and_in_a_package(write, tmp_path, monkeypatch):
    package = tmp_path / "site" / "zoo_of_lazy_nets"
    (package / "configs" / "_base_").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nobody needs to import it')")
    (package / "configs" / "_base_" / "net.py").write_text("model = dict(depth=3)\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    child = (
        "from mainspring import read_base\nwith read_base():\n"
        "    from zoo_of_lazy_nets.configs._base_.net import *\n    from .own.schedule import lr as rate, SGD\n"
        "model.depth = 4\noptimizer = dict(type=SGD, lr=rate)\n"
    )
    cfg = Config.fromfile(
        write({"own/schedule.py": "from torch.optim import SGD\nlr = 1\nepochs = 2\n", "child.py": child})
    )
    assert cfg.to_dict() == {"model": {"depth": 4}, "rate": 1, "optimizer": {"type": "torch.optim.SGD", "lr": 1}}


@pytest.mark.parametrize(
    ("text", "lazy"),
    [
        ("import os\nfrom math import pi\na = 1\n", False),
        ("import numpy as np\na = 1\n", True),
        ("from torch.nn import Linear\n", True),
        ("from mmengine.config import Config\nx = 1\n", False),
        ("_base_ = 'base.py'\nimport torch\n", False),
        ("a = 1; import torch\n", True),
        ("from mainspring.config import read_base\nwith read_base():\n    from .base import *\n", True),
    ],
)
def test_the_style_is_told_by_the_file(write, text, lazy):
    cfg = Config.fromfile(write(base="b = 1\n", one=text))
    assert (cfg._sources[-1].kind == "lazy") is lazy


def test_imports_for_real_if_that_is_said(write):
    path = write(one="import numpy as np\nvalues = np.arange(3).tolist()\n")
    assert Config.fromfile(path, lazy_import=False) == {"values": [0, 1, 2]}
    with pytest.raises(TypeError, match=r"numpy\.arange is imported lazily \(in one\.py, line 1\).*lazy_import=False"):
        Config.fromfile(path)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("from .base import a\n", ConfigParsingError, "one.py, line 1, imports a file beside it"),
        ("from torch.nn import *\n", ConfigParsingError, "one.py, line 1, imports * from 'torch.nn'"),
        ("with read_base():\n    a = 1\n", ConfigParsingError, "line 2, stands under read_base()"),
        ("with read_base():\n    from .base import lrr\n", ConfigParsingError, "has no such name. Did you mean 'lr'?"),
        (
            "with read_base():\n    from .bse import *\n",
            FileNotFoundError,
            "imports in line 2, under read_base(). Did you mean",
        ),
        ("with read_base():\n    from zoo import *\n", ConfigParsingError, "'zoo' is a whole package"),
        ("with read_base():\n    from no_zoo.net import *\n", ConfigParsingError, "there is no package 'no_zoo'"),
        ("with read_base():\n    from .one import *\n", ConfigParsingError, "its own base: one.py -> one.py"),
    ],
)
def test_imports_that_mean_nothing(write, text, error, message):
    with pytest.raises(error) as raised:
        Config.fromfile(write(base="lr = 1\n", one=text), lazy_import=True)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "from no_such_library import Net\n",
            r"no_such_library\.Net, which one\.py, line 1 imports, cannot be had: No module",
        ),
        ("from torch.nn import Lineer as Net\n", r"torch\.nn has no 'Lineer'\. Did you mean 'Linear'"),
    ],
)
def test_a_class_that_is_not_there_is_told_when_it_is_asked_for(write, text, message):
    cfg = Config.fromfile(write(one=f"{text}model = dict(type=Net)\n"))
    with pytest.raises(ImportError, match=message):
        _ = cfg.model.type


def test_templates_and_lists_of_lazy_configs(write, monkeypatch):
    monkeypatch.setenv("WIDTH", "8")
    cfg = Config.fromfile(write(one="from torch import nn\na = [dict(type=nn.ReLU, width={{ $WIDTH }})]\n"))
    assert json.loads(json.dumps(cfg.to_dict())) == {"a": [{"type": "torch.nn.ReLU", "width": 8}]}
    assert isinstance(cfg.a[0], ConfigDict)
