"""Checkpoints that go to a URL: all that holds for a directory of this machine holds there too."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mainspring import Runner
from mainspring.checkpoint import (
    CheckpointError,
    CheckpointFolder,
    CheckpointWriteError,
    find_latest_checkpoint,
    read_checkpoint,
)
from mainspring.hooks import CheckpointHook, Hook


class Stubborn(MemoryFileSystem):
    """A store in memory that counts what is fetched, and may refuse; ``key`` is what opens it."""

    protocol = "stubborn"
    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    refused = ""
    fetched = 0

    def __init__(self, key="", **options):
        super().__init__(**options)
        self.key = key

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("stubborn://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        content = super().cat_file(path, start, end, **kwargs)
        Stubborn.fetched += len(content)
        return content

    def _open(self, path, mode="rb", **kwargs):
        if self.key != "right":
            raise PermissionError(f"{path}: Access Denied")
        if mode == "wb" and Stubborn.refused and Stubborn.refused in path:
            raise RuntimeError("SlowDown")
        return super()._open(path, mode, **kwargs)


@pytest.fixture
def stubborn():
    """Return the arguments of a hook whose files go to a store that asks for a key."""
    fsspec.register_implementation("stubborn", Stubborn, clobber=True)
    Stubborn.store.clear()
    Stubborn.pseudo_dirs[:] = [""]
    Stubborn.refused, Stubborn.fetched = "", 0
    Stubborn.clear_instance_cache()
    return {"out_dir": "stubborn://bucket", "backend_args": {"key": "right"}}


@pytest.fixture
def memory():
    """Return the URL of an empty directory in memory."""
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    files = fsspec.filesystem("memory")
    for path in [path for path in files.store if path.startswith(f"/{name}/")]:
        del files.store[path]


@pytest.fixture(params=["memory", "file", "local"])
def place(request, memory, tmp_path):
    """Return a URL, and a function that names the files below it."""
    disk = tmp_path / "my disk"
    url = {"memory": memory, "file": disk.as_uri(), "local": f"local://{disk}"}[request.param]
    return url, lambda: sorted(names(url))


def names(url):
    files, path = fsspec.url_to_fs(url.replace("%20", " "))
    return [file.removeprefix(f"{path}/") for file in files.find(path) if not file.endswith(".mainspring.lock")]


@pytest.fixture
def make(make_runner, tmp_path):
    def build(resume=False, max_epochs=3, custom_hooks=(), seed=3, **arguments):
        return make_runner(
            work_dir=tmp_path / "run",
            train_cfg={"max_epochs": max_epochs},
            default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, **arguments}, "summary": None},
            custom_hooks=list(custom_hooks),
            resume=resume,
            randomness={"seed": seed},
        )

    return build


class Raises(Hook):
    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            raise KeyboardInterrupt


def test_a_run_keeps_its_checkpoints_there(make, place):
    url, files = place
    runner = make(out_dir=url, max_keep_ckpts=2, save_best="accuracy/top1", published_keys=["meta", "state_dict"])
    runner.train()
    hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    best = hook.best["accuracy/top1"]["file"]
    found = [name for name in files() if "-" not in name]
    assert found == sorted([f"run/{best}", "run/epoch_2.pth", "run/epoch_3.pth"])
    published = [name for name in files() if "-" in name]
    assert len(published) == 2
    assert list(read_checkpoint(f"{url}/{published[0]}")) == ["meta", "state_dict"]
    pointer = (Path(runner.work_dir) / "last_checkpoint").read_text()
    assert read_checkpoint(pointer)["train_loop"]["iter"] == 15
    assert not [name for name in os.listdir(runner.work_dir) if name.endswith(".pth")]
    assert runner.message_hub.get_info("best_ckpt").endswith(f"/run/{best}")


def test_a_run_goes_on_from_there(make, place):
    url, files = place
    whole = make(out_dir=url + "/whole")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        make(out_dir=url, custom_hooks=[Raises(12)]).train()
    runner = make(out_dir=url, resume="auto")
    runner.train()
    ends = [read_checkpoint(f"{url}/{name}/epoch_3.pth")["state_dict"] for name in ("run", "whole/run")]
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[0])
    assert [name for name in files() if name.startswith("run/")] == [f"run/epoch_{n}.pth" for n in (1, 2, 3)]


def test_the_newest_whole_one_is_taken(make, memory, capsys):
    make(out_dir=memory).train()
    files = fsspec.filesystem("memory")
    newest = f"{memory}/run/epoch_3.pth"
    content = bytearray(files.cat(newest))
    content[len(content) // 2] ^= 1
    files.pipe(newest, bytes(content))
    capsys.readouterr()
    runner = make(out_dir=memory, resume="auto", max_epochs=4)
    runner.train()
    assert f"{newest}' is damaged" in capsys.readouterr().out
    assert runner.epoch == 4
    files.pipe(newest, bytes(content))
    assert find_latest_checkpoint(f"{memory}/run") == f"{memory}/run/epoch_4.pth"
    for number in (1, 2, 4):
        files.pipe(f"{memory}/run/epoch_{number}.pth", b"PK\x03\x04 cut")
    with pytest.raises(CheckpointError, match=r"Not one of the checkpoints .* is whole"):
        make(out_dir=memory, resume="auto")


def test_what_an_earlier_run_has_left_is_set_aside(make, place):
    url, files = place
    make(out_dir=url).train()
    make(out_dir=url, seed=9, max_epochs=1).train()
    found = files()
    aside = [name for name in found if name.startswith("run/earlier_")]
    assert sorted(name.rpartition("/")[2] for name in aside) == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]
    assert sorted(set(found) - set(aside)) == ["run/epoch_1.pth"]
    assert read_checkpoint(f"{url}/{aside[0]}")["meta"]["seed"] == 3
    assert read_checkpoint(f"{url}/run/epoch_1.pth")["meta"]["seed"] == 9


def test_the_pointer_is_set_aside_in_the_work_directory(make, memory, tmp_path):
    make(out_dir=memory).train()
    make(out_dir=memory, max_epochs=1).train()
    (aside,) = (tmp_path / "run").glob("earlier_*/last_checkpoint")
    assert aside.read_text() == f"{memory}/run/epoch_3.pth"
    assert (tmp_path / "run" / "last_checkpoint").read_text() == f"{memory}/run/epoch_1.pth"


def test_what_a_killed_writer_has_left_is_removed(make, memory):
    files = fsspec.filesystem("memory")
    files.pipe(f"{memory}/run/.epoch_7.pth.tmp", b"half")
    make(out_dir=memory, max_epochs=1).train()
    assert names(memory) == ["run/epoch_1.pth"]


def test_only_the_ends_are_fetched_to_find_the_newest(make, stubborn):
    make(max_epochs=3, **stubborn).train()
    large = sum(map(len, (file.getvalue() for file in Stubborn.store.values()))) / 3
    Stubborn.fetched = 0
    fetched = []
    original = Stubborn.get_file

    def get_file(self, rpath, lpath, **kwargs):
        fetched.append(rpath)
        return original(self, rpath, lpath, **kwargs)

    Stubborn.get_file = get_file
    try:
        runner = make(resume="auto", max_epochs=4, **stubborn)
        assert Stubborn.fetched <= 3 * 200 < large
        assert fetched == ["/bucket/run/epoch_3.pth"], "the whole of one, and of no other"
        runner.train()
    finally:
        Stubborn.get_file = original
    assert fetched == ["/bucket/run/epoch_3.pth"], "once"


def test_options_open_the_place(make, make_runner, stubborn):
    make(**stubborn).train()
    file = CheckpointFolder("stubborn://bucket/run", stubborn["backend_args"]) / "epoch_2.pth"
    runner = make_runner(load_from=file, resume=True)
    runner.train()
    assert runner.epoch == 2
    with pytest.raises(PermissionError):
        make_runner(load_from=str(file)).train()
    with pytest.raises(OSError, match=r"No checkpoints can be written to 'stubborn://bucket/run': .*Permission denied"):
        make(out_dir="stubborn://bucket").train()


def test_a_run_goes_back_to_what_is_there(make_runner, make_loader, stubborn, tmp_path):
    """With options that only the hook has been given."""
    data = make_loader()
    data.dataset.tensors[0][-1] = float("nan")
    runner = make_runner(
        train_dataloader=data,
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False, "max_keep_ckpts": 1, **stubborn},
            "bad_numbers": {"type": "BadNumbersHook", "policy": "rollback", "interval": 1},
        },
        train_cfg={"max_epochs": 1},
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    )
    runner.train()
    assert runner.iter == 4, "the last batch is left out"
    assert list(Stubborn.store) == ["/bucket/run/iter_4.pth"]


@pytest.mark.parametrize("kind", ["dict", "object"])
def test_the_work_directory_may_be_named_once_more(make_runner, tmp_path, kind):
    arguments = {"interval": 1, "out_dir": str(tmp_path)}
    hooks = [{"type": "CheckpointHook", **arguments} if kind == "dict" else CheckpointHook(**arguments)]
    elsewhere = {"checkpoint": {"type": "CheckpointHook", "out_dir": str(tmp_path / "disk")}}
    runner = make_runner(custom_hooks=hooks, default_hooks=elsewhere)
    assert [os.fspath(folder) for folder in runner.checkpoint_folders] == [
        str(tmp_path / "run"), str(tmp_path / "disk" / "run")
    ]  # fmt: skip
    runner.train()
    assert sorted(path.name for path in (tmp_path / "run").glob("*.pth")) == ["epoch_1.pth", "epoch_2.pth"]


def test_an_error_of_the_driver_stops_the_run_and_leaves_the_rest(make, stubborn):
    Stubborn.refused = "epoch_2"
    with pytest.raises(CheckpointWriteError) as caught:
        make(max_keep_ckpts=1, **stubborn).train()
    assert str(caught.value).startswith(
        "'stubborn://bucket/run/epoch_2.pth' could not be written: RuntimeError: SlowDown."
    )
    assert list(Stubborn.store) == ["/bucket/run/epoch_1.pth"], "which was to go with the second"
    Stubborn.refused = ""
    make(resume="auto", max_keep_ckpts=1, **stubborn).train()
    assert list(Stubborn.store) == ["/bucket/run/epoch_3.pth"]


def test_from_the_second_on_training_does_not_wait(make, stubborn, monkeypatch):
    """The second write begins, and ends only when the training that goes on meanwhile lets it."""
    go_on, threads = threading.Event(), []
    original = Stubborn._open

    def _open(self, path, mode="rb", **kwargs):
        if mode == "wb" and "epoch" in path:
            threads.append(threading.current_thread())
            assert "epoch_2" not in path or go_on.wait(30)
        return original(self, path, mode, **kwargs)

    class LetsGo(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 11:
                assert runner.checkpoint_writer.busy
                go_on.set()

    monkeypatch.setattr(Stubborn, "_open", _open)
    make(custom_hooks=[LetsGo()], **stubborn).train()
    assert sorted(Stubborn.store) == [f"/bucket/run/epoch_{number}.pth" for number in (1, 2, 3)]
    assert threading.main_thread() not in threads


def test_the_file_of_a_stop_goes_there_and_with_the_next(make, memory, tmp_path):
    import signal

    class Sends(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 6:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        make(out_dir=memory, custom_hooks=[Sends()]).train()
    assert names(memory) == ["run/epoch_1.pth", "run/iter_7.pth"]
    assert (tmp_path / "run" / "last_checkpoint").read_text() == f"{memory}/run/iter_7.pth"
    make(out_dir=memory, resume="auto").train()
    assert names(memory) == ["run/epoch_1.pth", "run/epoch_2.pth", "run/epoch_3.pth"]


def test_the_runner_saves_to_a_url(make_runner, memory, stubborn):
    runner = make_runner()
    runner.train_loop  # noqa: B018
    runner.save_checkpoint(memory, "x.pth")
    assert read_checkpoint(f"{memory}/x.pth")["train_loop"]["iter"] == 0
    runner.save_checkpoint("bucket", "y.pth", backend_args={"backend": "stubborn", "key": "right"})
    assert list(Stubborn.store) == ["/bucket/y.pth"]
    with pytest.raises(CheckpointWriteError, match=r"stubborn://bucket/z.pth' could not be written: Permission denied"):
        runner.save_checkpoint("stubborn://bucket", "z.pth")


def test_what_can_only_be_read_is_refused_at_once(make):
    pytest.importorskip("aiohttp")
    for build in (CheckpointHook, make):
        with pytest.raises(
            ValueError, match=r"'https://host/runs' can only be read\. Name a place that can be written"
        ):
            build(out_dir="https://host/runs")


def test_an_unknown_place_is_refused_at_once():
    with pytest.raises(ValueError, match=r"'s4' is neither a registered backend nor a protocol of fsspec"):
        CheckpointHook(out_dir="s4://bucket/runs")
    with pytest.raises(TypeError, match="CheckpointHook: out_dir must be"):
        CheckpointHook(out_dir=5)


def test_the_work_directory_is_of_this_machine(net):
    with pytest.raises(ValueError, match=r"work_dir is 's3://bucket/run'.* pass the URL as out_dir"):
        Runner(net(), "s3://bucket/run")


def test_a_relative_directory_stays_where_it_was(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hook = CheckpointHook(interval=1, out_dir="disk")
    (tmp_path / "elsewhere").mkdir()

    class Moves(Hook):
        def before_train_epoch(self, runner):
            monkeypatch.chdir(tmp_path / "elsewhere")

    runner = make(custom_hooks=[Moves(), hook], max_epochs=1)
    monkeypatch.chdir(tmp_path / "elsewhere")
    runner.train()
    assert (tmp_path / "disk" / "run" / "epoch_1.pth").exists()
    assert os.listdir(tmp_path / "elsewhere") == []
