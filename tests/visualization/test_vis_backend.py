import numpy as np
import pytest
import torch

from mainspring.registry import VISBACKENDS
from mainspring.visualization import BaseVisBackend, LocalVisBackend, TensorboardVisBackend, read_scalars


@pytest.fixture
def local(tmp_path):
    backend = LocalVisBackend(tmp_path / "kept")
    yield backend
    backend.close()


def test_nothing_is_made_before_there_is_something_to_keep(tmp_path):
    LocalVisBackend(tmp_path / "local")
    TensorboardVisBackend(tmp_path / "tensorboard").close()
    assert list(tmp_path.iterdir()) == []


def test_local_scalars(local):
    local.add_scalar("loss", torch.tensor(0.5), step=3)
    local.add_scalars({"a": 1, "b": 2.5}, step=4)
    local.add_scalars({"a": 1, "step": 7}, step=5)
    expected = [{"loss": 0.5, "step": 3}, {"a": 1, "b": 2.5, "step": 4}, {"a": 1, "step": 7}]
    assert read_scalars(local.scalars_path) == expected
    assert local.experiment is local


def test_a_further_file(local, tmp_path):
    local.add_scalars({"a": 1}, step=1, file_path="further.json")
    local.add_scalars({"a": 2}, step=2, file_path="further.json")
    local.close()
    local.add_scalars({"a": 3}, step=3)
    assert [record["a"] for record in read_scalars(tmp_path / "kept" / "further.json")] == [1, 2]
    assert [record["a"] for record in read_scalars(local.scalars_path)] == [1, 2, 3]
    with pytest.raises(ValueError, match=r"file_path 'scalars.jsonl' is the file of all scalars"):
        local.add_scalars({"a": 1}, file_path="scalars.jsonl")
    with pytest.raises(ValueError, match=r"file_path must end in .jsonl or .json, got 'further.txt'"):
        local.add_scalars({"a": 1}, file_path="further.txt")


def test_names_of_local_files(tmp_path):
    backend = LocalVisBackend(tmp_path, scalar_save_file="mine.json", config_save_file="mine.py", img_save_dir="mine")
    backend.add_scalar("a", 1)
    backend.add_config({"a": 1})
    backend.add_image("x", np.zeros((2, 2), np.uint8))
    backend.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.json", "mine.py"]
    with pytest.raises(ValueError, match=r"scalar_save_file must end in .jsonl or .json, got 'a.txt'"):
        LocalVisBackend(tmp_path, scalar_save_file="a.txt")
    with pytest.raises(ValueError, match=r"config_save_file must end in .py, got 'a.json'"):
        LocalVisBackend(tmp_path, config_save_file="a.json")


def test_local_rewind(local):
    for iteration in (10, 20, 30):
        local.add_scalars({"loss": 1.0, "iter": iteration})
    local.rewind(20)
    local.add_scalars({"loss": 2.0, "iter": 25})
    assert [record["iter"] for record in read_scalars(local.scalars_path)] == [10, 20, 25]


def test_local_config_is_python(local, tmp_path):
    config = {"model": {"type": "Net", "depth": [1, 2]}, "lr": 0.1, "odd key": None, "text": "a\n'b'"}
    local.add_config(config)
    space = {}
    exec((tmp_path / "kept" / "config.py").read_text(), space)
    assert {key: space[key] for key in config} == config
    with pytest.raises(TypeError, match="config must be a dict"):
        local.add_config(["model"])


@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 6)])
def test_local_images(local, tmp_path, shape):
    pillow = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    local.add_image("val/first", image, step=7)
    with pillow.open(tmp_path / "kept" / "vis_image" / "val" / "first_7.png") as saved:
        assert np.array_equal(np.asarray(saved), image)


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 of shape \(4, 4, 3\)"),
        (np.zeros((3, 4, 4), np.uint8), r"uint8 of shape \(3, 4, 4\)"),
        (torch.zeros(4, 4), "a Tensor"),
    ],
)
def test_what_is_no_image(local, image, got):
    with pytest.raises(ValueError, match=r"The image 'x' must be a uint8 array of shape \(H, W, 3\) or .*got " + got):
        local.add_image("x", image)


def test_a_backend_implements_what_it_can_keep(tmp_path):
    class Scalars(BaseVisBackend):
        kept = ()

        @property
        def experiment(self):
            return self.kept

        def add_scalar(self, name, value, step=0, **kwargs):
            self.kept = (*self.kept, (name, value, step))

    backend = Scalars(tmp_path)
    backend.add_scalar("a", 1.0, 2)
    backend.add_scalars({"b": 1})
    backend.add_config({})
    backend.rewind(1)
    backend.close()
    assert backend.experiment == (("a", 1.0, 2),)
    with pytest.raises(TypeError, match="abstract"):
        BaseVisBackend(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def events():
        found = accumulator.EventAccumulator(str(tmp_path))
        found.Reload()
        return found

    backend = VISBACKENDS.build(dict(type="TensorboardVisBackend", save_dir=str(tmp_path)))
    assert isinstance(backend, TensorboardVisBackend)
    backend.add_config({"lr": 0.1})
    for step in (10, 20, 30):
        backend.add_scalars({"loss": step / 10, "mode": "train", "curve": [1, 2]}, step=step)
    backend.add_scalar("acc", torch.tensor(0.5), step=10)
    backend.add_image("x", np.zeros((4, 4, 3), np.uint8), step=10)
    backend.close()
    found = events()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(10, 1), (20, 2), (30, 3)]
    assert found.Tags()["scalars"] == ["loss", "acc"]
    assert found.Tags()["images"] == ["x"]
    assert found.Tags()["tensors"] == ["config/text_summary"]

    resumed = TensorboardVisBackend(tmp_path)
    resumed.rewind(20)
    resumed.add_scalar("loss", 9.0, step=25)
    resumed.close()
    assert [(event.step, event.value) for event in events().Scalars("loss")] == [(10, 1), (20, 2), (25, 9)]
