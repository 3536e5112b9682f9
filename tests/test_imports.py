"""What an import brings along, in fresh processes: nothing that a run may never use."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import torch
before = set(sys.modules)
{statements}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
OF_TRAINING = """
from mainspring import BaseModel, Hook, Runner
import mainspring.dataset, mainspring.evaluator, mainspring.hooks
"""
# Parts of torch that it imports itself where it needs them, in up to a second.
DEAR = (
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torch.distributed.optim",
    "torch.distributed.tensor",
    "torch.fx.experimental",
    "torch.nn.parallel.distributed",
    "torch.onnx",
    "torch.optim.swa_utils",
    "torch.utils.data.datapipes",
    "torch.utils.tensorboard",
)
# Of the standard library, with what they bring.
DEAR_OF_PYTHON = {"asyncio", "concurrent.futures.process", "http.client", "sqlite3", "urllib.request", "xml"}


def imported_beside_torch(statements):
    program = PROGRAM.format(statements=statements)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_package_by_itself_imports_only_its_version():
    assert imported_beside_torch("import mainspring") == {"mainspring", "mainspring._version"}


@pytest.fixture(scope="module")
def of_training():
    found = imported_beside_torch(OF_TRAINING)
    assert "mainspring.runner.runner" in found
    return found


def test_a_training_script_imports_no_other_library_at_its_start(of_training):
    """No rich, fsspec, matplotlib, tensorboard, OpenCV, torchvision: each waits until it has something to do."""
    libraries = {name.partition(".")[0] for name in of_training} - {"mainspring", "torch"}
    assert libraries <= sys.stdlib_module_names


def test_nor_the_dear_parts_of_torch(of_training):
    assert not [name for name in of_training if f"{name}.".startswith(tuple(f"{part}." for part in DEAR))]


def test_nor_those_of_python(of_training):
    assert not of_training & DEAR_OF_PYTHON


def test_checkpoints_are_read_by_modules_that_a_new_run_does_without(of_training):
    examining = {f"mainspring.checkpoint.{name}" for name in ("calls", "claims", "examining", "legacy")}
    assert not of_training & examining


@pytest.mark.parametrize("before", ["enable", "disable"])
def test_the_collector_of_garbage_is_left_as_it_was(before):
    program = (
        f"import gc, mainspring\ngc.{before}()\nbefore = gc.isenabled()\nmainspring.Runner\nassert gc.isenabled() is"
        " before\ntry:\n    mainspring.Runer\nexcept AttributeError:\n    assert gc.isenabled() is before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
