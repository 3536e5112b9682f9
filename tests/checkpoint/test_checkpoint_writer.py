import errno
import json
import logging
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict

import pytest
import torch

from mainspring import fileio
from mainspring.checkpoint import read_checkpoint, save_checkpoint
from mainspring.checkpoint.writer import CheckpointWriteError, CheckpointWriter

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never comes to that"


@pytest.fixture
def writer():
    writer = CheckpointWriter()
    yield writer
    writer.close()


@pytest.fixture
def failed(writer, tmp_path):
    """Return a writer whose last write has failed and ended, as its directory is a file."""
    (tmp_path / "file").write_text("")
    writer.save({"a": 1}, tmp_path / "file" / "x.pth")
    wait_until(lambda: not writer.busy)
    return writer


class Held:
    """A write that goes on, as long as it is held, in that its ``then`` waits."""

    def __init__(self, writer, file):
        self._go = threading.Event()
        writer.save({"a": 1}, file, then=self._go.wait)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._go.set()


def test_what_is_changed_after_save_has_returned_is_not_in_the_file(writer, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.BatchNorm1d(300))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 300)).sum().backward()
    optimizer.step()
    checkpoint = {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "train_loop": {"iter": 7, "seen": [1, [2]]},
    }
    save_checkpoint(checkpoint, tmp_path / "before.pth")
    writer.save(checkpoint, tmp_path / "x.pth")
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(9)
        for moments in optimizer.state.values():
            for tensor in moments.values():
                tensor.fill_(9)
    optimizer.param_groups[0]["lr"] = 9
    checkpoint["train_loop"]["seen"][1].append(9)
    checkpoint["train_loop"]["iter"] = 9
    checkpoint.clear()
    writer.wait()
    assert (tmp_path / "x.pth").read_bytes() == (tmp_path / "before.pth").read_bytes()


def test_tied_weights_are_tied_in_the_file(writer, tmp_path):
    weight = torch.arange(6.0)
    state_dict = OrderedDict(encoder=weight, decoder=weight.view(2, 3).t())
    state_dict._metadata = OrderedDict({"": {"version": 2}})
    writer.save({"state_dict": state_dict}, tmp_path / "x.pth", wait=True)
    read = read_checkpoint(tmp_path / "x.pth")["state_dict"]
    assert read._metadata == {"": {"version": 2}}
    read["encoder"][5] = -1
    assert read["decoder"].tolist() == [[0, 3], [1, 4], [2, -1]]


def test_saves_come_one_after_the_other(writer, tmp_path):
    done = []
    for number in range(5):
        writer.save(
            {"n": number, "w": torch.full((100_000,), number)}, tmp_path / f"{number}.pth", lambda: done.append(1)
        )
        assert len(done) >= number, "the save waits for the one before, and what follows it"
    writer.wait()
    assert len(done) == 5
    for number in range(5):
        read = read_checkpoint(tmp_path / f"{number}.pth")
        assert read["n"] == number
        assert torch.all(read["w"] == number)


def test_what_follows_runs_in_the_thread_once_the_file_stands(writer, tmp_path):
    found = {}

    def then():
        found["files"] = os.listdir(tmp_path)
        found["thread"] = threading.get_ident()
        if hasattr(signal, "pthread_sigmask"):
            found["blocked"] = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    writer.save({"a": 1}, tmp_path / "x.pth", then)
    writer.wait()
    assert found["files"] == ["x.pth"]
    assert found["thread"] != threading.get_ident()
    if "blocked" in found:
        assert {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM} <= found["blocked"]
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, []), "the main thread gets them"


def test_it_is_busy_until_all_is_done(writer, tmp_path):
    assert not writer.busy
    with Held(writer, tmp_path / "x.pth"):
        assert writer.busy
        writer.check()
    writer.wait()
    assert not writer.busy


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_no_thread_stays(writer, tmp_path):
    before = set(os.listdir("/proc/self/task"))
    with Held(writer, tmp_path / "x.pth"):
        assert set(os.listdir("/proc/self/task")) - before
    writer.wait()
    wait_until(lambda: set(os.listdir("/proc/self/task")) <= before)


def test_a_relative_name_is_meant_where_the_run_is_now(writer, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with Held(writer, "first.pth"):
        writer_went_on = threading.Thread(target=monkeypatch.chdir, args=(tmp_path / "elsewhere",))
        writer_went_on.start()
        writer_went_on.join()
    writer.wait()
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "first.pth"]


def test_a_closed_writer_can_be_used_again(writer, tmp_path):
    for number in range(2):
        writer.save({"w": torch.ones(10)}, tmp_path / f"{number}.pth")
        writer.close()
        assert writer._buffers.nbytes == 0
        assert read_checkpoint(tmp_path / f"{number}.pth")["w"].sum() == 10


def test_the_first_that_goes_to_a_url_is_waited_for(writer):
    writer.save({"a": 1}, "memory://runs/x.pth")
    assert not writer.busy
    assert fileio.exists("memory://runs/x.pth")
    with Held(writer, "memory://runs/y.pth"):
        assert writer.busy
    writer.wait()
    assert read_checkpoint("memory://runs/y.pth") == {"a": 1}


def test_errors_of_content_for_a_url_stay_what_they_are(writer):
    pytest.importorskip("safetensors")
    with pytest.raises(TypeError, match="holds only tensors by name"):
        save_checkpoint({"state_dict": {"w": 1}}, "memory://runs/x.safetensors")


def test_files_of_safetensors_are_waited_for(writer, tmp_path):
    pytest.importorskip("safetensors")
    writer.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "x.safetensors")
    assert not writer.busy
    assert read_checkpoint(tmp_path / "x.safetensors")["w"].tolist() == [1, 1]


# Errors


def test_what_is_not_plain_is_said_at_once(writer, tmp_path):
    with (
        Held(writer, tmp_path / "x.pth"),
        pytest.raises(TypeError, match=r"^checkpoint\['hook'\] is a builtins.object"),
    ):
        writer.save({"hook": object()}, tmp_path / "y.pth")
    writer.wait()
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("ask", ["check", "wait", "close", "save"])
def test_an_error_is_raised_once_by_whoever_asks_next(failed, tmp_path, ask):
    save = lambda: failed.save({"a": 1}, tmp_path / "y.pth")  # noqa: E731
    with pytest.raises(CheckpointWriteError, match=r"file/x.pth' could not be written: .*untouched") as info:
        save() if ask == "save" else getattr(failed, ask)()
    assert isinstance(info.value.__cause__, OSError)
    assert info.value.errno == info.value.__cause__.errno
    assert os.listdir(tmp_path) == ["file"], "the save that raised was not begun"
    failed.check()
    failed.wait()
    save()
    failed.close()
    assert sorted(os.listdir(tmp_path)) == ["file", "y.pth"]


def test_who_waits_gets_the_error(writer, tmp_path):
    (tmp_path / "file").write_text("")
    done = []
    with pytest.raises(CheckpointWriteError):
        writer.save({"a": 1}, tmp_path / "file" / "x.pth", lambda: done.append(1), wait=True)
    assert not done, "nothing follows a write that failed"


def test_an_error_of_what_follows_is_raised_too(writer, tmp_path):
    writer.save({"a": 1}, tmp_path / "x.pth", (tmp_path / "gone").unlink)
    with pytest.raises(CheckpointWriteError, match=r"x.pth' is written, whole, but .* failed: No such file"):
        writer.wait()
    assert read_checkpoint(tmp_path / "x.pth") == {"a": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_said_with_what_to_do(writer, tmp_path):
    writer.save({"a": 1}, tmp_path / "x.pth", wait=True)
    (tmp_path / ".x.pth.tmp").symlink_to("/dev/full")
    with pytest.raises(CheckpointWriteError, match=r"No space left on device.*Make room there.*max_keep_ckpts") as info:
        writer.save({"a": 2, "w": torch.ones(100_000)}, tmp_path / "x.pth", wait=True)
    assert info.value.errno == errno.ENOSPC
    assert read_checkpoint(tmp_path / "x.pth") == {"a": 1}
    assert os.listdir(tmp_path) == ["x.pth"]


@posix
def test_a_directory_that_went_away_is_said(writer, tmp_path):
    # A file of a name that is a directory's now: the rename at the end fails, whoever the user is.
    (tmp_path / "x.pth").mkdir()
    with pytest.raises(CheckpointWriteError, match="Is a directory"):
        writer.save({"a": 1}, tmp_path / "x.pth", wait=True)
    assert os.listdir(tmp_path) == ["x.pth"]


# Processes of their own

# Imports torch once, which takes long, and then forks for each line that it reads. The forked process runs the line's
# script to its end, and the end of its interpreter is like any other's.
SERVER = """
import json, os, sys, torch, mainspring.checkpoint
for line in sys.stdin:
    script, arguments, out, err = json.loads(line)
    process = os.fork()
    if process == 0:
        break
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
else:
    sys.exit()
os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
sys.argv = ["script", *arguments]
exec(compile(script, "script", "exec"), globals())
"""


class Process:
    """A Python process that runs a script."""

    def __init__(self, server, directory, script, *arguments):
        self._server = server
        self._out, self._err = directory / "out", directory / "err"
        self._out.touch()
        self._err.touch()
        order = json.dumps([script, list(map(str, arguments)), str(self._out), str(self._err)])
        server.stdin.write(order.encode() + b"\n")
        server.stdin.flush()
        self._pid = int(server.stdout.readline())
        self._code = None

    def ends_within(self, seconds):
        return self._code is not None or bool(select.select([self._server.stdout], [], [], seconds)[0])

    def wait(self, seconds=60):
        """Return its exit code; kill it if it takes too long."""
        if not self.ends_within(seconds):
            self.kill()
        if self._code is None:
            self._code = int(self._server.stdout.readline())
        return self._code

    def kill(self):
        os.kill(self._pid, signal.SIGKILL)

    @property
    def out(self):
        return self._out.read_text()

    @property
    def err(self):
        return self._err.read_text()


@pytest.fixture(scope="module")
def server():
    if os.name != "posix":
        pytest.skip("needs POSIX")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # so that select sees all that has not been read
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as server:
        yield server
        server.stdin.close()


@pytest.fixture
def start(server, tmp_path_factory):
    """Return ``start(script, *arguments)``, which starts a process; the next when it has ended."""
    started = []

    def start(script, *arguments):
        started.append(Process(server, tmp_path_factory.mktemp("process"), script, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.wait(0)


LIMITED = """
import errno, resource, sys, torch
from mainspring.checkpoint.writer import CheckpointWriteError, CheckpointWriter
writer = CheckpointWriter()
writer.save({"a": 1}, sys.argv[1], wait=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
writer.save({"a": 2, "w": torch.ones(1_000_000)}, sys.argv[1])
try:
    writer.wait()
except CheckpointWriteError as error:
    assert error.errno == errno.EFBIG
    print(error)
"""


def test_a_limit_for_the_size_of_files_is_said(start, tmp_path):
    process = start(LIMITED, tmp_path / "x.pth")
    assert process.wait() == 0, process.err
    assert "File too large" in process.out
    assert "ulimit -f" in process.out
    assert read_checkpoint(tmp_path / "x.pth") == {"a": 1}
    assert os.listdir(tmp_path) == ["x.pth"]


# Ends in the way that the third argument says, while a write is in flight: what follows it waits for the pipe.
ENDING = """
import os, sys, torch
from mainspring.checkpoint.writer import CheckpointWriter
file, pipe, way = sys.argv[1:]
def then():
    open(pipe).read()
    open(file + ".followed", "w").close()
writer = CheckpointWriter()
writer.save({"w": torch.ones(100_000)}, file, then)
if way == "os._exit":
    os._exit(4)
if way == "os.fork":
    process = os.fork()
    if process:
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 5
        print("the forked process has ended", flush=True)
    else:
        writer.close()
        sys.exit(5)
if way == "error":
    raise ValueError("of the training")
if way == "sys.exit":
    sys.exit(3)
"""


@pytest.fixture
def pipe(tmp_path_factory):
    pipe = tmp_path_factory.mktemp("pipe") / "pipe"
    os.mkfifo(pipe)
    return pipe


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("sys.exit", 3), ("error", 1)])
def test_the_end_of_the_interpreter_waits_for_the_write(start, tmp_path, pipe, way, code):
    process = start(ENDING, tmp_path / "x.pth", pipe, way)
    wait_until((tmp_path / "x.pth").exists)
    assert not process.ends_within(0.3)
    pipe.write_text("go on")
    assert process.wait() == code
    assert sorted(os.listdir(tmp_path)) == ["x.pth", "x.pth.followed"]
    assert ("ValueError: of the training" in process.err) == (way == "error")


def test_the_end_of_a_forked_process_waits_for_nothing(start, tmp_path, pipe):
    process = start(ENDING, tmp_path / "x.pth", pipe, "os.fork")
    wait_until(lambda: "the forked process has ended" in process.out)
    assert not process.ends_within(0)
    pipe.write_text("go on")
    assert process.wait() == 0
    assert sorted(os.listdir(tmp_path)) == ["x.pth", "x.pth.followed"]


def test_os_exit_abandons_the_write(start, tmp_path, pipe):
    assert start(ENDING, tmp_path / "x.pth", pipe, "os._exit").wait() == 4
    assert "x.pth.followed" not in os.listdir(tmp_path)


UNASKED = """
import sys
from mainspring.checkpoint.writer import CheckpointWriter
CheckpointWriter().save({"a": 1}, sys.argv[1])
"""


def test_an_error_that_nobody_asked_for_is_printed_at_the_end(start, tmp_path):
    (tmp_path / "file").write_text("")
    process = start(UNASKED, tmp_path / "file" / "x.pth")
    process.wait()
    assert process.err.count("CheckpointWriteError: ") == 1
    assert "file/x.pth' could not be written" in process.err.splitlines()[-1]


# Saves 4 MB again and again, and says which save was written last.
FOR_EVER = """
import sys, torch
from mainspring.checkpoint.writer import CheckpointWriter
writer = CheckpointWriter()
weights = torch.zeros(1_000_000)
number = 0
while True:
    number += 1
    writer.save({"number": number, "w": weights.fill_(number)}, sys.argv[1], lambda n=number: print(n, flush=True))
    weights.fill_(-1)
"""


@pytest.mark.parametrize("size", [0, 1_000_000, 3_000_000])
def test_a_kill_within_a_write_leaves_the_earlier_file_whole(start, tmp_path, size):
    process = start(FOR_EVER, tmp_path / "x.pth")
    wait_until((tmp_path / "x.pth").exists)
    wait_until(lambda: temporary_size(tmp_path) > size)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert checkpoint["number"] >= int(([*process.out.split()] or ["1"])[-1])
    assert torch.all(checkpoint["w"] == checkpoint["number"])


def temporary_size(directory):
    try:
        return (directory / ".x.pth.tmp").stat().st_size
    except FileNotFoundError:
        return -1


# Is interrupted in its saves, again and again, at any moment.
INTERRUPTED = """
import random, signal, sys
import torch
from mainspring.checkpoint import read_checkpoint
from mainspring.checkpoint.writer import CheckpointWriter
armed = False
def interrupt(*_):
    if armed:
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
random.seed(0)
writer = CheckpointWriter()
weights = [torch.zeros(20_000) for _ in range(3)]
interrupted = 0
writer.save({"weights": weights}, sys.argv[1], wait=True)
for number in range(1, 201):
    for weight in weights:
        weight.fill_(number)
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
        writer.save({"weights": weights}, sys.argv[1])
        writer.save({"weights": weights}, sys.argv[1])
        armed = False
    except KeyboardInterrupt:
        armed = False
        interrupted += 1
    for weight in weights:
        weight.fill_(-1)
    if number % 5 == 0:
        writer.wait()
        read = read_checkpoint(sys.argv[1])["weights"]
        assert len({value for weight in read for value in weight.unique().tolist()}) == 1, read
        assert read[0][0] != -1
writer.close()
assert interrupted > 50, interrupted
"""


def test_interrupts_at_any_moment_neither_mix_saves_nor_stop_the_writer(start, tmp_path):
    process = start(INTERRUPTED, tmp_path / "x.pth")
    assert process.wait(30) == 0, process.err


IMPORTS = """
import sys, threading
from mainspring.checkpoint import save_checkpoint
from mainspring.checkpoint.writer import CheckpointWriter
import torch
imported = []
def hook(event, arguments):
    if event == "import" and threading.get_ident() != threading.main_thread().ident:
        imported.append(arguments[0])
writer = CheckpointWriter()
sys.addaudithook(hook)
tensors = [torch.ones(3), torch.eye(2).to_sparse(), torch.ones(2, dtype=torch.cfloat).conj(), torch.ones(()).bfloat16()]
values = [None, 1.5, "\\u00e9", b"x", {3}, (1,), torch.float32]
for name in sys.argv[1:]:
    writer.save({"tensors": tensors, "values": values}, name, lambda: None)
    try:
        writer.wait()
        print("written")
    except OSError:
        print("failed")
print(imported)
"""


def test_the_thread_imports_nothing(start, tmp_path):
    (tmp_path / "file").write_text("")
    process = start(IMPORTS, tmp_path / "x.pth", tmp_path / "file" / "x.pth")
    process.wait()
    assert process.out == "written\nfailed\n[]\n", process.err


# Forks


def use_in_fork(writer, file, said):
    """What a forked process may do: anything but save."""
    found = [writer.busy, writer.check(), writer.wait(), writer.close()]
    try:
        writer.save({"a": 2}, file, wait=True)
    except RuntimeError as error:
        found.append(str(error))
    logging.getLogger("fork").warning("a worker logs")
    import wave  # noqa: F401 - something that nobody has imported yet

    found.append(torch.randn(100, 100).mm(torch.ones(100, 100)).numpy().shape)
    said.send(found)


@pytest.mark.parametrize("state", ["in flight", "failed"])
@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_no_write_in_flight_and_makes_none(tmp_path, state):
    # The write is in flight, within torch.save, as long as nobody reads what it writes into this pipe.
    os.mkfifo(tmp_path / ".x.pth.tmp")
    reading = os.open(tmp_path / ".x.pth.tmp", os.O_RDONLY | os.O_NONBLOCK)
    writer = CheckpointWriter()
    writer.save({"a": 1, "w": torch.ones(1_000_000)}, tmp_path / "x.pth")
    assert select.select([reading], [], [], 30)[0], "it begins to write"
    if state == "failed":
        os.close(reading)
        wait_until(lambda: not writer.busy)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=use_in_fork, args=(writer, tmp_path / "y.pth", there))
    process.start()
    try:
        assert here.poll(30), "the forked process hangs"
        busy, *nothing, refusal, shape = here.recv()
        process.join(30)
        assert process.exitcode == 0
    finally:
        process.kill()
        if state == "in flight":
            assert writer.busy
            os.close(reading)
    assert not busy
    assert nothing == [None] * 3
    assert "forked from the one that made the CheckpointWriter" in refusal
    assert shape == (100, 100)
    with pytest.raises(CheckpointWriteError, match="Broken pipe"):
        writer.wait()
    assert not (tmp_path / "y.pth").exists()


# Each round saves, and forks two workers at once.
ROUNDS = """
import logging, sys, warnings
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from mainspring.checkpoint import read_checkpoint
from mainspring.checkpoint.writer import CheckpointWriter

warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)

class Data(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        logging.getLogger("data").info("reading %d", index)
        values = np.random.default_rng(index).standard_normal(1000).astype("float32")
        return torch.from_numpy(values).softmax(0).sum() + index

logging.basicConfig(level=logging.INFO, stream=open(sys.argv[1] + "/log", "w"))
writer = CheckpointWriter()
weights = [torch.zeros(250_000) for _ in range(4)]
for number in range(int(sys.argv[2])):
    for weight in weights:
        weight.fill_(number)
    writer.save({"number": number, "weights": weights}, sys.argv[1] + "/x.pth")
    logging.getLogger("run").info("saving %d", number)
    total = sum(batch.sum().item() for batch in DataLoader(Data(), batch_size=2, num_workers=2))
    assert abs(total - 36) < 1e-3, total
writer.close()
checkpoint = read_checkpoint(sys.argv[1] + "/x.pth")
assert checkpoint["number"] == number
assert all(torch.all(weight == number) for weight in checkpoint["weights"])
print("done", number + 1)
"""


def test_workers_forked_beside_a_write_never_hang(start, tmp_path):
    """The long form: MAINSPRING_ROUNDS=300 pytest tests/checkpoint/test_checkpoint_writer.py -k never_hang."""
    rounds = int(os.environ.get("MAINSPRING_ROUNDS", "30"))
    process = start(ROUNDS, tmp_path, rounds)
    assert process.wait(30 + rounds) == 0, process.err
    assert process.out == f"done {rounds}\n"
