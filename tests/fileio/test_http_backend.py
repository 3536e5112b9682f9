import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring import fileio
from mainspring.fileio import HTTPBackend, exists, get, get_file_backend, get_local_path, load

READ_IN_A_FORK = """
import os, sys
from mainspring.fileio import get
url = sys.argv[1]
assert get(url) == b"content"
child = os.fork()
if child == 0:
    os._exit(0 if get(url) == b"content" else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_reading(web):
    url, directory = web
    (directory / "config.json").write_bytes(b'{"epochs": 12}\n')
    (directory / "large.bin").write_bytes(bytes(range(256)) * 40_000)
    assert get(f"{url}/config.json") == b'{"epochs": 12}\n'
    assert fileio.get_text(f"{url}/config.json") == '{"epochs": 12}\n'
    assert load(f"{url}/config.json?version=2") == {"epochs": 12}
    with get_local_path(f"{url}/large.bin?version=2") as path:
        assert Path(path).name == "large.bin"
        assert Path(path).read_bytes() == (directory / "large.bin").read_bytes()
    assert not os.path.exists(path)


def test_downloading_a_directory(web, tmp_path):
    url, directory = web
    for name in ("tree/a.txt", "tree/b/c.txt"):
        fileio.put_text(name, directory / name)
    fileio.copytree_to_local(f"{url}/tree/", tmp_path / "down")
    assert (tmp_path / "down" / "a.txt").read_text() == "tree/a.txt"
    assert (tmp_path / "down" / "b" / "c.txt").read_text() == "tree/b/c.txt"


def test_what_is_there_and_what_is_not(web):
    url, directory = web
    (directory / "file").touch()
    assert exists(f"{url}/file")
    assert fileio.isfile(f"{url}/file")
    assert not exists(f"{url}/no")
    assert not exists(f"{url}/status/410")
    with pytest.raises(FileNotFoundError) as caught:
        get(f"{url}/no")
    assert caught.value.filename == f"{url}/no"


@pytest.mark.parametrize("status", [403, 500])
def test_a_refusal_is_not_absence(web, status):
    url = f"{web[0]}/status/{status}"
    for ask in (exists, get):
        with pytest.raises(OSError, match=f"{url} could not be .*{status}"):
            ask(url)


def test_no_server_is_not_absence(web):
    gone = "http://127.0.0.1:1/file"  # nothing listens there
    for ask in (exists, get):
        with pytest.raises(OSError, match=f"{gone} could not be .*Cannot connect"):
            ask(gone)


def test_an_answer_that_breaks_off_is_an_error(web, tmp_path):
    cut = f"{web[0]}/cut"
    with pytest.raises(OSError, match=f"{cut} could not be read.*Not enough data"):
        get(cut)
    with pytest.raises(OSError, match=f"{cut} could not be read"):
        fileio.copyfile_to_local(cut, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_options_reach_the_server(web):
    options = {"headers": {"X-Token": "secret"}}
    assert get(f"{web[0]}/headers", backend_args=options) == b"secret"
    assert get(f"{web[0]}/headers", backend_args={"backend": "http", **options}) == b"secret"


def test_a_transfer_has_no_time_limit_of_its_own():
    import aiohttp

    timeout = HTTPBackend()._options["client_kwargs"]["timeout"]
    assert (timeout.total, timeout.sock_read) == (None, 60)
    own = aiohttp.ClientTimeout(total=5)
    assert HTTPBackend(client_kwargs={"timeout": own})._options["client_kwargs"]["timeout"] is own


def test_nothing_is_written_there(web):
    url, directory = web
    (directory / "file").touch()
    for write in (
        lambda: fileio.put(b"", f"{url}/new"),
        lambda: fileio.copyfile_from_local(directory / "file", f"{url}/new"),
        lambda: fileio.copyfile(f"{url}/file", f"{url}/new"),
        lambda: fileio.remove(f"{url}/file"),
    ):
        with pytest.raises(io.UnsupportedOperation, match=url):
            write()
    assert os.listdir(directory) == ["file"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_worker_reads_too(web):
    (web[1] / "file").write_bytes(b"content")
    command = [sys.executable, "-W", "ignore", "-c", READ_IN_A_FORK, f"{web[0]}/file"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert finished.stdout == "0\n"


def test_without_aiohttp_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"http:// and https:// URLs needs aiohttp.*mainspring\[http\]"):
        get_file_backend("https://host/file")
