"""What code that was written for MMEngine finds here, after its imports have another name."""

import importlib
import subprocess
import sys

import pytest

import mainspring
from mainspring.compat import _HANDED_ON, look_up
from mainspring.compat.replaced import REPLACED

HANDED_ON = [(package, name) for package, homes in _HANDED_ON.items() for names in homes.values() for name in names]
GONE = [(package, name) for package, names in REPLACED.items() for name in names]


@pytest.mark.parametrize(("package", "name"), HANDED_ON)
def test_a_name_is_handed_on(package, name):
    module = importlib.import_module(package)
    assert getattr(module, name) is look_up(package, name)


@pytest.mark.parametrize(("package", "name"), GONE)
def test_a_name_that_has_a_replacement_is_not_there_under_its_own(package, name):
    module = importlib.import_module(package)
    with pytest.raises(ImportError, match=f"^{package} has no {name}\\. .+[^.]\\.$"):
        getattr(module, name)
    with pytest.raises(ImportError):
        exec(f"from {package} import {name}")


def test_a_name_that_mmengine_does_not_have_either():
    with pytest.raises(ImportError, match="cannot import name 'PetrolBackend'"):
        exec("from mainspring.fileio import PetrolBackend")
    for package in ("mainspring", "mainspring.device", "mainspring.runner", "mainspring.utils.dl_utils"):
        module = importlib.import_module(package)
        with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
            _ = module.nothing
        assert not hasattr(module, "__wrapped__")


def test_packages_come_along_with_the_library():
    program = (
        "import mainspring\n"
        "assert mainspring.dist.get_rank() == 0\n"
        "assert mainspring.mkdir_or_exist is mainspring.utils.mkdir_or_exist\n"
        "assert mainspring.OPTIMIZERS is mainspring.registry.OPTIMIZERS\n"
        "assert mainspring.version_info[:2] == tuple(map(int, mainspring.__version__.split('.')[:2]))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_training_script_does_without_them():
    program = (
        "import sys\nfrom mainspring import BaseModel, Runner\nimport mainspring.hooks, mainspring.dataset\n"
        "assert not [name for name in sys.modules if name.startswith(('mainspring.compat', 'mainspring.testing'))]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_runner_hands_on_what_others_have():
    runner, checkpoint = mainspring.runner, mainspring.checkpoint
    for name in ("load_checkpoint", "save_checkpoint", "load_state_dict", "weights_to_cpu", "CheckpointLoader"):
        assert getattr(runner, name) is getattr(checkpoint, name)
    assert runner.find_latest_checkpoint is checkpoint.find_latest_checkpoint
    assert runner.get_priority("LOW") == runner.Priority.LOW


def test_registries_by_other_names():
    from mainspring.dataset import COLLATE_FUNCTIONS
    from mainspring.registry import FUNCTIONS, STRATEGIES, Registry

    assert COLLATE_FUNCTIONS is FUNCTIONS
    own = Registry("strategy", parent=STRATEGIES, scope="look_up_test")
    assert STRATEGIES.children["look_up_test"] is own
