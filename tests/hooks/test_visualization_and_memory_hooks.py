"""The hooks that show predictions, empty caches, and bring buffers together."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mainspring.hooks import EmptyCacheHook, NaiveVisualizationHook, SyncBuffersHook, overrides
from mainspring.structures import BaseDataElement
from mainspring.visualization import Visualizer

# NaiveVisualizationHook


class Draws(Visualizer):
    """Keeps what it is to draw."""

    def __init__(self, name="draws"):
        super().__init__(name)
        self.drawn = []

    def add_datasample(self, name, image, data_sample=None, draw_gt=True, draw_pred=True, step=0):
        self.drawn.append((name, image, data_sample, draw_gt, draw_pred, step))


class OneRunner:
    """As much of a runner as the hook looks at."""

    def __init__(self, visualizer):
        self.visualizer = visualizer


def image(height=4, width=6):
    return torch.arange(3 * height * width, dtype=torch.uint8).reshape(3, height, width)


@pytest.mark.parametrize(
    "layout", [lambda images: {"inputs": images}, lambda images: [{"inputs": one} for one in images]]
)
def test_images_are_drawn_with_their_predictions(layout):
    samples = [BaseDataElement(metainfo={"img_path": "data/cat.jpg"}), BaseDataElement()]
    visualizer = Draws()
    hook = NaiveVisualizationHook(interval=2, draw_gt=False)
    hook.before_test(OneRunner(visualizer))
    for batch in range(4):
        hook.after_test_iter(OneRunner(visualizer), batch, layout([image(), image(2, 3)]), samples)
    assert [(one[0], one[3], one[4], one[5]) for one in visualizer.drawn] == [
        ("cat.jpg", False, True, 1),
        ("1_1", False, True, 1),
        ("cat.jpg", False, True, 3),
        ("3_1", False, True, 3),
    ]
    assert visualizer.drawn[0][2] is samples[0]
    assert np.array_equal(visualizer.drawn[0][1], image().permute(1, 2, 0).numpy())
    assert visualizer.drawn[1][1].shape == (2, 3, 3)


def test_padding_is_cut_off_and_the_size_is_that_of_the_file():
    visualizer = Draws()
    padded = torch.full((3, 4, 6), 9, dtype=torch.uint8)
    padded[:, :2, :3] = 100
    sample = BaseDataElement(metainfo={"img_shape": (2, 3), "ori_shape": (4, 6, 3)})
    NaiveVisualizationHook().after_test_iter(OneRunner(visualizer), 0, {"inputs": padded[None]}, [sample])
    drawn = visualizer.drawn[0][1]
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, np.full((4, 6, 3), 100))


def test_what_cannot_be_drawn():
    with pytest.raises(TypeError, match=r"must be a dict with that key, .* but the batch is a dict with the keys 'x'"):
        NaiveVisualizationHook().after_test_iter(OneRunner(Draws()), 0, {"x": 1}, [])
    with pytest.raises(ValueError, match="NaiveVisualizationHook: interval must be at least 1, but it is 0"):
        NaiveVisualizationHook(interval=0)
    with pytest.raises(TypeError, match="NaiveVisualizationHook: draw_gt must be True or False"):
        NaiveVisualizationHook(draw_gt=1)
    if not hasattr(Visualizer, "add_datasample"):
        with pytest.raises(TypeError, match=r"visualizer.add_datasample, which Visualizer does not have"):
            NaiveVisualizationHook().before_test(OneRunner(Visualizer("plain")))


# EmptyCacheHook


def acts_at(hook):
    return {stage for stage in hook.stages if overrides(hook, stage)} - {"before_run"}


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, {"after_train_epoch", "after_val_epoch", "after_test_epoch"}),
        ({"after_epoch": False}, set()),
        (
            {"before_epoch": True, "after_epoch": False, "after_iter": True},
            {f"{unit}" for mode in ("train", "val", "test") for unit in (f"before_{mode}_epoch", f"after_{mode}_iter")},
        ),
    ],
)
def test_a_cache_is_emptied_when_asked_for(options, stages):
    assert acts_at(EmptyCacheHook(**options)) == stages
    with pytest.raises(TypeError, match="EmptyCacheHook: after_iter must be True or False"):
        EmptyCacheHook(after_iter=3)


def test_on_the_cpu_there_is_no_cache(make_runner):
    hook = EmptyCacheHook(True, True, True)
    make_runner(custom_hooks=[hook], env_cfg={"device": "cpu"}).train()
    assert acts_at(hook) == set()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_memory_of_a_device_is_given_back(make_runner):
    kept = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    del kept
    before = torch.cuda.memory_reserved()
    make_runner(custom_hooks=[EmptyCacheHook()]).train()
    assert torch.cuda.memory_reserved() < before


# SyncBuffersHook


def test_one_process_has_nothing_to_bring_together(make_runner):
    hook = SyncBuffersHook()
    make_runner(custom_hooks=[hook]).train()
    assert acts_at(hook) == set()


PROGRAM = """
import pickle, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from mainspring import dist
from mainspring.hooks import SyncBuffersHook

dist.init_dist("pytorch", backend="gloo", timeout=120)
rank = dist.get_rank()
model = torch.nn.BatchNorm1d(2)

def mean_after(stage, **facts):
    model.running_mean.fill_(rank)
    hook = SyncBuffersHook()
    runner = SimpleNamespace(model=model, **facts)
    hook.before_run(runner)
    assert hook.idle_at == ()
    getattr(hook, stage)(runner)
    return model.running_mean.tolist()

seen = [
    mean_after("after_train_epoch"),
    mean_after("before_val_epoch", is_training=True, by_epoch=False),
    mean_after("before_val_epoch", is_training=True, by_epoch=True),
    mean_after("before_val_epoch", is_training=False, by_epoch=False),
]
Path(sys.argv[1], f"{rank}.pkl").write_bytes(pickle.dumps(seen))
torch.distributed.destroy_process_group()
"""


def test_buffers_of_two_processes(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, str(tmp_path / "program.py"), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=200,
    )
    for rank in range(2):
        seen = pickle.loads(Path(tmp_path, f"{rank}.pkl").read_bytes())
        assert seen == [[0.5, 0.5], [0.5, 0.5], [rank, rank], [rank, rank]]
