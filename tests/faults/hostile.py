"""Files that would run code when they are unpickled, at every place where a run takes the name of a checkpoint."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from lab import Lab


class Evil:
    """Makes a directory when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def evil_files(folder: Path, marker: Path) -> list[Path]:
    """Write checkpoints that would make a directory: of torch, of torch before 1.6, and a bare pickle."""
    checkpoint = {"state_dict": {"weight": torch.zeros(1)}, "meta": {"epoch": 1, "iter": 14, "x": Evil(marker)}}
    files = [folder / f"{name}.pth" for name in ("zipped", "legacy", "bare")]
    torch.save(checkpoint, files[0])
    torch.save(checkpoint, files[1], _use_new_zipfile_serialization=False)
    files[2].write_bytes(pickle.dumps(checkpoint, protocol=2))
    return files


@contextmanager
def served(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """Serve some bytes over HTTP from this machine; yield the address, and a list that gets each request."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/evil.pth", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def hostile_files(lab: Lab) -> dict[str, Any]:
    """Give evil files to runs in every way; nothing runs, and each run says what is wrong or passes the file over."""
    marker = lab.folder / "it_ran"
    folder = lab.work_dir()
    folder.mkdir()
    files = evil_files(folder, marker)
    # Without this, the trial would prove nothing.
    torch.load(files[0], weights_only=False)
    marker.rmdir()

    refused = 0
    with served(files[0].read_bytes()) as (address, requests):
        names = [*map(str, files), address, "torchvision://evil", "hub://evil"]
        for name in names:
            for options in (
                ("--resume", "no", "--load-from", name),
                ("--resume", "yes", "--load-from", name),
                ("--pretrained", name),
            ):
                _refused(lab, lab.work_dir(), options, name, marker)
                refused += 1
        assert requests, "the file was refused before it was read"
    for file in files:
        for target in ("epoch_3.pth", "iter_20.pth"):
            work_dir = lab.work_dir()
            work_dir.mkdir()
            (work_dir / target).write_bytes(file.read_bytes())
            _refused(lab, work_dir, (), target, marker)
            refused += 1
    return {"evil files and addresses refused with a clear error": refused, **_pointers(lab, files, marker)}


def _pointers(lab: Lab, files: list[Path], marker: Path) -> dict[str, Any]:
    """Let ``last_checkpoint`` point to evil files, and to a good one, outside: a run begins as if it did not."""
    good = lab.work_dir()
    lab.end_of(good, "--epochs", "1")
    outside = sorted(good.glob("epoch_*.pth"))[-1]
    begun = 0
    for file in (*files, outside):
        for relative in (False, True):
            work_dir = lab.work_dir()
            work_dir.mkdir()
            text = os.path.relpath(file, work_dir) if relative else str(file)
            (work_dir / "last_checkpoint").write_text(text)
            process = lab.start(work_dir, "--epochs", "1")
            code = process.wait()
            assert not marker.exists(), f"last_checkpoint = {text!r} has run code"
            assert code == 0, process.output
            assert "Resumed from" not in process.output, process.output
            begun += 1
    return {"runs that did not follow last_checkpoint out of their directory": begun}


def _refused(lab: Lab, work_dir: Path, options: tuple[str, ...], name: str, marker: Path) -> None:
    process = lab.start(work_dir, *options)
    code = process.wait()
    told = f"{name!r} by {options}\n{process.output}"
    assert not marker.exists(), f"code has run: {told}"
    assert code == 1, f"it ended with {code}: {told}"
    error = next(line for line in reversed(process.output.splitlines()) if "Error: " in line)
    assert Path(name).name in error, f"the error does not name the file: {told}"
