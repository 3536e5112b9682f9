"""CIFAR-10 from files as its authors publish them, made here in small."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10"
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3072), dtype=np.uint8)


def write_binary(root: Path, images: np.ndarray) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for name, batch in zip(NAMES, images, strict=True):
        rows = np.concatenate([np.arange(4, dtype=np.uint8)[:, None], batch], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


def write_python(root: Path, images: np.ndarray) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name, batch in zip(NAMES, images, strict=True):
        pickled = pickle.dumps({b"data": batch, b"labels": [0, 1, 2, 3]}, protocol=2)
        (folder / name).write_bytes(pickled.replace(b"numpy._core", b"numpy.core"))  # its name in their time


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, EXAMPLE / "train.py", "--data-root", root, "--work-dir", root / "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)


def load(root: Path, train: bool) -> tuple[np.ndarray, list[int]]:
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from data import cifar10; import numpy\n"
        "images, labels = cifar10(pathlib.Path(sys.argv[2]), train=sys.argv[3] == 'train').tensors\n"
        "numpy.savez(sys.argv[4], images=images.numpy(), labels=labels.numpy())"
    )
    file = root / "read.npz"
    kind = "train" if train else "test"
    subprocess.run([sys.executable, "-c", code, EXAMPLE, root, kind, file], check=True, timeout=120)
    with np.load(file) as read:
        return read["images"], read["labels"].tolist()


@pytest.mark.parametrize("write", [write_binary, write_python])
def test_both_formats_are_read(tmp_path: Path, images: np.ndarray, write) -> None:
    write(tmp_path, images)

    read, labels = load(tmp_path, train=True)

    assert np.array_equal(read, images[:5].reshape(20, 3, 32, 32))
    assert labels == [0, 1, 2, 3] * 5


def test_it_trains(tmp_path: Path, images: np.ndarray) -> None:
    write_binary(tmp_path, images)

    finished = run(tmp_path, "--epochs", "1", "--batch-size", "10")

    assert finished.returncode == 0, finished.stderr
    assert "Training MMResNet50 (23,528,522 parameters)" in finished.stdout
    assert (tmp_path / "run" / "epoch_1.pth").is_file()


def test_without_the_files_it_says_where_to_get_them(tmp_path: Path) -> None:
    finished = run(tmp_path)

    assert finished.returncode == 1
    assert "does not hold CIFAR-10" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, images: np.ndarray) -> None:
    write_python(tmp_path, images)
    witness = tmp_path / "ran"
    code = f"cos\nsystem\n(S'touch {witness}'\ntR."
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(code.encode())

    finished = run(tmp_path)

    assert finished.returncode == 1
    assert "does not name os.system" in finished.stderr
    assert not witness.exists()
