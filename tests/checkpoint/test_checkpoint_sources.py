"""Checkpoints by URL, and by names that are registered."""

from __future__ import annotations

import functools
import http.server
import threading

import fsspec
import pytest
import torch
from torch import nn

from mainspring.checkpoint import CheckpointError, CheckpointLoader, load_checkpoint, read_checkpoint, save_checkpoint
from mainspring.model import PretrainedInit

CONTENT = {"state_dict": {"w": torch.arange(3.0)}, "train_loop": {"iter": 3, "epoch": 1}}


@pytest.fixture(autouse=True)
def only_here(monkeypatch):
    """Forget what a test registers."""
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))


@pytest.fixture
def remote():
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


def is_content(checkpoint):
    return checkpoint["train_loop"] == CONTENT["train_loop"] and checkpoint["state_dict"]["w"].tolist() == [0, 1, 2]


def test_a_url_is_read_and_written(remote):
    save_checkpoint(CONTENT, "memory://runs/a/epoch_1.pth")
    assert remote.cat("/runs/a/epoch_1.pth")[-64:].isalnum(), "with the digest"
    assert is_content(read_checkpoint("memory://runs/a/epoch_1.pth"))


def test_backend_args_say_where_to_write(remote, tmp_path):
    save_checkpoint(CONTENT, "/runs/b.pth", backend_args={"backend": "memory"})
    assert is_content(read_checkpoint("memory://runs/b.pth"))
    for options in ({"backend_args": {"backend": "local"}}, {"file_client_args": {"backend": "disk"}}):
        save_checkpoint(CONTENT, tmp_path / "c.pth", **options)
        assert is_content(read_checkpoint(tmp_path / "c.pth"))
        (tmp_path / "c.pth").unlink()
    with pytest.raises(ValueError, match="give one"):
        save_checkpoint(CONTENT, "a.pth", {"backend": "disk"}, {"backend": "local"})


def test_weights_are_written_to_a_url(remote):
    pytest.importorskip("safetensors")
    save_checkpoint(CONTENT, "memory://weights.safetensors")
    assert read_checkpoint("memory://weights.safetensors")["w"].tolist() == [0, 1, 2]


def test_a_file_url_is_a_local_path(tmp_path):
    save_checkpoint(CONTENT, f"file://{tmp_path}/a.pth")
    assert is_content(read_checkpoint(tmp_path / "a.pth"))
    assert is_content(read_checkpoint(f"file://{tmp_path}/a.pth"))


def test_a_file_is_fetched_over_http(tmp_path):
    pytest.importorskip("aiohttp")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    save_checkpoint(CONTENT, tmp_path / "a.pth")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            assert is_content(read_checkpoint(f"{url}/a.pth"))
            with pytest.raises(FileNotFoundError, match=r"There is no checkpoint 'http://.*/b\.pth'"):
                read_checkpoint(f"{url}/b.pth")
        finally:
            server.shutdown()


def test_errors_name_the_url_and_not_the_copy(remote):
    save_checkpoint(CONTENT, "memory://a.pth")
    remote.pipe("/a.pth", remote.cat("/a.pth")[:-1])
    with pytest.raises(CheckpointError, match=r"^'memory://a.pth' is damaged"):
        read_checkpoint("memory://a.pth")
    with pytest.raises(FileNotFoundError, match=r"^There is no checkpoint 'memory://b.pth'"):
        read_checkpoint("memory://b.pth")


def test_a_remote_pickle_is_no_more_trusted(remote, tmp_path):
    class RunsCode:
        def __reduce__(self):
            return (tmp_path / "made").mkdir, ()

    with remote.open("/evil.pth", "wb") as file:
        torch.save({"x": RunsCode()}, file)
    for read in (read_checkpoint, lambda url: load_checkpoint(nn.Linear(1, 1), url)):
        with pytest.raises(CheckpointError, match=r"memory://evil.pth' holds an object of .*would run code"):
            read("memory://evil.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("prefix", ["torchvision://", "open-mmlab://", "openmmlab://", "mmcls://", "modelzoo://"])
def test_names_of_collections_say_what_to_do(prefix):
    with pytest.raises(CheckpointError, match=rf"'{prefix}resnet50' names a model of a collection.*Download its file"):
        read_checkpoint(f"{prefix}resnet50")


def test_a_scheme_that_nobody_knows_says_what_to_do():
    with pytest.raises(
        CheckpointError, match=r"'foo://x.pth' cannot be opened\. .*download the file and pass its path"
    ):
        read_checkpoint("foo://x.pth")


# Names that are registered.


def test_what_is_registered_is_asked_everywhere():
    asked = []

    @CheckpointLoader.register_scheme("mine://")
    def load(filename, map_location):
        asked.append((filename, map_location))
        return {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}

    assert callable(load)
    assert list(read_checkpoint("mine://a")) == ["weight", "bias"]
    model = nn.Linear(3, 2)
    load_checkpoint(model, "mine://b", map_location="meta", strict=True)
    PretrainedInit("mine://c")(model)
    assert torch.all(model.weight == 1)
    assert list(CheckpointLoader.load_checkpoint("mine://d", "cpu", "silent")) == ["weight", "bias"]
    assert asked == [("mine://a", "cpu"), ("mine://b", "meta"), ("mine://c", "cpu"), ("mine://d", "cpu")]


def test_the_longest_prefix_decides():
    for prefix in ("aa://", "aa://b/", ""):
        CheckpointLoader.register_scheme(prefix, lambda filename, map_location, prefix=prefix: {"by": prefix})
    assert read_checkpoint("aa://b/c") == {"by": "aa://b/"}
    assert read_checkpoint("aa://c") == {"by": "aa://"}
    assert read_checkpoint("epoch_1.pth") == {"by": ""}


def test_several_prefixes_may_have_one_loader_and_no_prefix_two():
    CheckpointLoader.register_scheme(["aa://", "bb://"], lambda filename, map_location: {"by": 1})
    assert read_checkpoint("bb://x") == {"by": 1}
    with pytest.raises(KeyError, match=r"'bb://' is taken.*force=True"):
        CheckpointLoader.register_scheme(("cc://", "bb://"), lambda filename, map_location: {"by": 2})
    with pytest.raises(CheckpointError):
        read_checkpoint("cc://x")
    CheckpointLoader.register_scheme("bb://", lambda filename, map_location: {"by": 3}, force=True)
    assert (read_checkpoint("aa://x"), read_checkpoint("bb://x")) == ({"by": 1}, {"by": 3})


def test_the_name_of_a_collection_can_be_registered():
    CheckpointLoader.register_scheme("torchvision://", lambda filename, map_location: {"name": filename})
    assert read_checkpoint("torchvision://resnet50") == {"name": "torchvision://resnet50"}


@pytest.mark.parametrize(("prefixes", "loader"), [(3, len), (["aa://", 3], len), ({"aa://"}, len), ("aa://", "load")])
def test_what_is_registered_must_be_names_and_a_function(prefixes, loader):
    with pytest.raises(TypeError):
        CheckpointLoader.register_scheme(prefixes, loader)


def test_a_loader_returns_a_dict():
    CheckpointLoader.register_scheme("aa://", lambda filename, map_location: [1])
    with pytest.raises(CheckpointError, match="'aa://x' holds a list, but a checkpoint is a dict"):
        read_checkpoint("aa://x")


def test_the_loader_says_what_it_reads(tmp_path, capsys):
    save_checkpoint(CONTENT, tmp_path / "a.pth")
    assert is_content(CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth")))
    assert f"Reading the checkpoint '{tmp_path / 'a.pth'}'." in capsys.readouterr().out
