"""Places to read and write in: directories of this machine and of memory, and a web server."""

from __future__ import annotations

import http.server
import threading
import uuid
from functools import partial

import fsspec
import pytest

from mainspring.fileio import join_path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a directory; ``/status/NNN`` answers with that status, ``/cut`` breaks off, ``/headers`` says a header."""

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        if self.path.startswith("/status/"):
            self.send_error(int(self.path[-3:]))
        else:
            super().do_HEAD()

    def do_GET(self):
        if self.path.startswith("/status/"):
            self.send_error(int(self.path[-3:]))
        elif self.path in ("/cut", "/headers"):
            content = self.headers.get("X-Token", "").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + 100 * (self.path == "/cut")))
            self.end_headers()
            self.wfile.write(content)
        else:
            super().do_GET()


@pytest.fixture
def web(tmp_path):
    """Return the URL of a server and the directory that it serves."""
    directory = tmp_path / "served"
    directory.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=directory)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", directory
        server.shutdown()
        thread.join()


@pytest.fixture
def memory():
    """Return the URL of an empty directory in memory."""
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    fs = fsspec.filesystem("memory")
    for path in [path for path in fs.store if path.startswith(f"/{name}/")]:
        del fs.store[path]


@pytest.fixture(params=["local", "file", "memory"])
def at(request, tmp_path, memory):
    """Return a function that gives the path or URL of a name below an empty directory."""
    root = {"local": str(tmp_path), "file": tmp_path.as_uri(), "memory": memory}[request.param]
    return lambda *names: join_path(root, *names) if names else root
