"""What a person at a terminal sees: whole programs, run on a pseudo-terminal."""

import os
import re
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
if sys.stdin.isatty():  # so that Ctrl-C, typed there, comes as a signal
    import fcntl, termios
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from conftest import Net, loader
from mainspring import BaseModel, Hook, Runner
from mainspring.hooks import CheckpointHook, ProgressHook


class Talks(Hook):
    def after_train_epoch(self, runner):
        runner.logger.info("said in epoch %d", runner.epoch + 1)
        print("printed in epoch", runner.epoch + 1)


class Fails(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 7:
            raise ZeroDivisionError("my own mistake")


class Pair(BaseModel):
    def __init__(self):
        super().__init__()
        self.first, self.second = Net(), Net()

    def forward(self, inputs, labels=None, mode="tensor"):
        return self.first(inputs, labels, mode)

    def train_step(self, data, optim_wrapper):
        for name, part in optim_wrapper.items():
            loss = getattr(self, name)(*data, mode="loss")["loss"]
            part.update_params(loss)
        return dict(loss=loss)


mode = sys.argv[1]
one = dict(optimizer=dict(type="SGD", lr=0.1), clip_grad=dict(max_norm=10.0))
runner = Runner(
    Pair() if mode == "two" else Net(),
    "run",
    train_dataloader=loader(),
    train_cfg=dict(max_epochs=10**6 if mode == "endless" else 3),
    optim_wrapper=dict(first=one, second=one) if mode == "two" else one,
    val_dataloader=loader(8),
    val_cfg=dict(),
    val_evaluator=dict(type="Accuracy"),
    default_hooks=dict(
        progress=ProgressHook(seconds=0.0),
        checkpoint=CheckpointHook(interval=1, max_keep_ckpts=1),
        logger=dict(type="LoggerHook", interval=2),
        summary=None,
    ),
    custom_hooks=[Talks(), *([Fails()] if mode == "fails" else [])],
)
runner.val() if mode == "validates" else runner.train()
"""


class Terminal:
    """A program on a terminal of 24 lines of 100 characters."""

    def __init__(self, directory, mode, kind="xterm-256color"):
        self.text = ""
        self.screen, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        (directory / "program.py").write_text(PROGRAM.format(tests=str(Path(__file__).parents[1])))
        self.process = subprocess.Popen(
            [sys.executable, "program.py", mode],
            cwd=directory,
            env=plain_environment(TERM=kind),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, text, seconds=100.0):
        """Read the screen until ``text`` appears, or to the end for None."""
        deadline = time.monotonic() + seconds
        while text is None or text not in self.text:
            ready, _, _ = select.select([self.screen], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{text!r} did not appear in {self.text[-2000:]!r}"
            try:
                piece = os.read(self.screen, 65536)
            except OSError:  # so Linux says that the program has gone
                piece = b""
            if not piece:
                assert text is None, f"{text!r} did not appear in {self.text[-2000:]!r}"
                break
            self.text += piece.decode(errors="replace")

    def type(self, keys):
        os.write(self.screen, keys)

    def finish(self):
        """Read to the end, and return the exit code."""
        self.read_until(None)
        return self.process.wait(timeout=60)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.screen)


def plain_environment(**changes):
    """Return the environment without what tells rich about terminals."""
    told = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JPY_PARENT_PID")
    return {name: value for name, value in os.environ.items() if name not in told} | changes


def lines_of(text):
    """Return what was written, without its commands to the terminal, line by line."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(mode, **options):
        opened.append(Terminal(tmp_path, mode, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def leaves_the_cursor_visible(text):
    return HIDE_CURSOR in text and text.rindex(SHOW_CURSOR) > text.rindex(HIDE_CURSOR)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Return what is on the screen after a run, and what in its log file."""
    directory = tmp_path_factory.mktemp("whole")
    screen = Terminal(directory, "trains")
    try:
        assert screen.finish() == 0
    finally:
        screen.close()
    (log,) = (directory / "run").glob("*/*.log")
    return screen.text, log.read_text()


def test_the_display_of_a_run(whole_run):
    text, _ = whole_run
    lines = lines_of(text)
    shown = [line for line in lines if "it/s" in line]
    for epoch in (1, 2, 3):
        assert any(re.match(rf"epoch {epoch}/3 .* 5/5 .*it/s", line) for line in shown), shown
    assert any(re.match(r"val .* 2/2 .*it/s", line) for line in shown)
    assert any(re.match(r"epoch 1/3 .* 0:00:\d\d left", line) for line in shown)
    assert any(re.match(r"lr 0\.1 .*loss \d", line) for line in lines)
    assert any(re.match(r"val  accuracy/top1 \d", line) for line in lines)
    assert leaves_the_cursor_visible(text)


def test_the_display_of_a_run_with_several_optimizers(terminal):
    screen = terminal("two")
    assert screen.finish() == 0
    lines = " ".join(lines_of(screen.text))
    for name in ("first", "second"):
        assert re.search(rf"{name}\.lr 0\.1 .*{name}\.grad_norm \d", lines)


def test_what_is_said_during_the_display_stands_above_it(whole_run):
    text, log = whole_run
    lines = lines_of(text)
    for epoch in (1, 2, 3):
        assert sum(f"said in epoch {epoch}" in line for line in lines) == 1
        assert sum(line == f"printed in epoch {epoch}" for line in lines) == 1
        assert sum(f"Epoch(val) [{epoch}][2/2]" in line for line in lines) == 1
    # The display shows the same as these lines; the file has them.
    assert not any("Epoch(train)" in line or "Saving checkpoint" in line for line in lines)
    assert log.count("Epoch(train)") == 7
    assert "\x1b" not in log


def test_ctrl_c_leaves_a_clean_terminal_and_a_clear_last_line(terminal):
    screen = terminal("endless")
    screen.read_until("epoch 3/1000000")
    screen.type(b"\x03")
    assert screen.finish() == 130
    assert leaves_the_cursor_visible(screen.text)
    lines = lines_of(screen.text[screen.text.rindex(SHOW_CURSOR) :])
    assert re.search(
        r"WARNING - Stopped by Ctrl-C after iteration \d+ of 5000000\."
        r" The same run with resume='auto' goes on from run/iter_\d+\.pth",
        "".join(lines),
    )
    assert "Traceback" not in screen.text


def test_an_error_leaves_a_clean_terminal(terminal):
    screen = terminal("fails")
    assert screen.finish() == 1
    assert leaves_the_cursor_visible(screen.text)
    after = screen.text[screen.text.rindex(SHOW_CURSOR) :]
    assert "Traceback" in after, "the whole of it can be read"
    assert lines_of(after)[-2:] == [
        "ZeroDivisionError: my own mistake",
        "(raised in the hook Fails, stage after_train_iter)",
    ]


def test_a_validation_by_itself_is_shown_too(terminal):
    screen = terminal("validates")
    assert screen.finish() == 0
    assert any(re.match(r"val .* 2/2 .*it/s", line) for line in lines_of(screen.text))
    assert leaves_the_cursor_visible(screen.text)


def test_a_terminal_that_cannot_draw_gets_plain_lines(terminal):
    screen = terminal("trains", kind="dumb")
    assert screen.finish() == 0
    assert screen.text.count("Epoch(train)") == 7
    assert "\x1b" not in screen.text


def test_a_pipe_gets_plain_lines(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM.format(tests=str(Path(__file__).parents[1])))
    finished = subprocess.run(
        [sys.executable, "program.py", "trains"],
        cwd=tmp_path,
        env=plain_environment(TERM="xterm-256color"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "\x1b" not in finished.stdout
    assert "it/s" not in finished.stdout
    assert finished.stdout.count("Epoch(train)") == 7
    assert finished.stdout.count("Saving checkpoint") == 3
    assert "printed in epoch 1\n" in finished.stdout
    assert finished.stderr == ""
