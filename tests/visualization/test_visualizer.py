import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mainspring.logging import MMLogger
from mainspring.registry import VISUALIZERS
from mainspring.visualization import LocalVisBackend, Visualizer, read_scalars


@pytest.fixture(autouse=True)
def _own_instances():
    before = dict(Visualizer._instance_dict)
    Visualizer._instance_dict.clear()
    yield
    for visualizer in Visualizer._instance_dict.values():
        visualizer.close()
    Visualizer._instance_dict.clear()
    Visualizer._instance_dict.update(before)


def test_without_backends_it_keeps_nothing(tmp_path):
    visualizer = Visualizer(save_dir=tmp_path)
    visualizer.add_scalar("loss", 1.0)
    visualizer.close()
    assert visualizer.backends == []
    assert list(tmp_path.iterdir()) == []


def test_it_hands_on_to_every_backend(tmp_path):
    own = LocalVisBackend(tmp_path / "own")
    visualizer = Visualizer(
        "a", vis_backends=[own, dict(type="LocalVisBackend", name="second")], save_dir=tmp_path / "run"
    )
    visualizer.add_config({"lr": 0.1})
    visualizer.add_scalar("loss", 0.5, step=10)
    visualizer.add_scalars({"acc": 1.0}, step=20, file_path="further.json")
    visualizer.add_image("x", np.zeros((2, 2, 3), np.uint8), step=3)
    visualizer.rewind(15)
    visualizer.close()
    assert visualizer.backends == [visualizer.get_backend("LocalVisBackend"), visualizer.get_backend("second")]
    assert visualizer.get_backend("LocalVisBackend") is own
    for directory in (tmp_path / "own", tmp_path / "run" / "vis_data"):
        assert read_scalars(directory / "scalars.jsonl") == [{"loss": 0.5, "step": 10}]
        assert sorted(os.listdir(directory)) == ["config.py", "further.json", "scalars.jsonl", "vis_image"]


def test_names_of_backends(tmp_path):
    config = dict(type="LocalVisBackend")
    with pytest.raises(ValueError, match="There are two backends called 'LocalVisBackend'"):
        Visualizer("a", vis_backends=[config, config], save_dir=tmp_path)
    visualizer = Visualizer("a", vis_backends=config, save_dir=tmp_path)
    with pytest.raises(KeyError, match=r"'a' has no backend 'LocalBackend'\. Did you mean 'LocalVisBackend'"):
        visualizer.get_backend("LocalBackend")
    assert config == dict(type="LocalVisBackend")


def test_what_is_no_backend(tmp_path):
    for given in ([None], ["LocalVisBackend"], [LocalVisBackend]):
        with pytest.raises(TypeError, match="vis_backends must hold backends or their configs"):
            Visualizer("a", vis_backends=given, save_dir=tmp_path)


def test_a_backend_without_a_directory_is_left_out_with_a_warning(tmp_path, capsys):
    before = dict(MMLogger._instance_dict)
    MMLogger._instance_dict.clear()
    try:
        configs = [dict(type="LocalVisBackend"), dict(type="LocalVisBackend", name="own", save_dir=str(tmp_path))]
        visualizer = Visualizer("a", vis_backends=configs)
    finally:
        MMLogger._instance_dict.clear()
        MMLogger._instance_dict.update(before)
    assert "LocalVisBackend keeps nothing, because it has no save_dir" in capsys.readouterr().out
    assert visualizer.backends == [visualizer.get_backend("own")]


def test_a_second_run_has_files_of_its_own(tmp_path):
    def build(directory):
        config = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
        return VISUALIZERS.build({**config, "name": "run", "save_dir": str(tmp_path / directory)})

    first = build("1")
    assert build("1") is first
    second = build("2")
    assert Visualizer.get_current_instance() is second
    first.add_scalar("a", 1)
    second.add_scalar("b", 2)
    first.close()
    assert [list(record) for record in read_scalars(tmp_path / "1/vis_data/scalars.jsonl")] == [["a", "step"]]
    assert [list(record) for record in read_scalars(tmp_path / "2/vis_data/scalars.jsonl")] == [["b", "step"]]


def test_only_the_main_process_writes(tmp_path):
    script = """
        import sys
        import torch.distributed as dist
        from mainspring.visualization import Visualizer
        dist.init_process_group("gloo")
        visualizer = Visualizer("a", vis_backends=dict(type="LocalVisBackend"), save_dir=sys.argv[1])
        visualizer.add_scalar("rank", dist.get_rank())
        visualizer.get_backend("LocalVisBackend")
        visualizer.close()
        dist.barrier()
        dist.destroy_process_group()
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        [sys.executable, *launcher, str(path), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert read_scalars(tmp_path / "vis_data" / "scalars.jsonl") == [{"rank": 0, "step": 0}]
