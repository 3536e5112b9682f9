"""Mistakes are told in a message, errors of users' code with their traceback, and each has its exit code."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest


def test_a_misspelt_key_is_noticed(call):
    code, _, err = call("train", "mine.py", "--set", "train_cfg.max_epoch=3")
    assert code == 2
    assert "train_cfg has no 'max_epoch'. Did you mean 'max_epochs'? A new key is set with a plus" in err
    code, _, err = call("train", "mine.py", "--set", "trian_cfg.max_epochs=3")
    assert code == 2
    assert "the configuration has no 'trian_cfg'. Did you mean 'train_cfg'?" in err
    code, _, err = call("train", "mine.py", "--set", "optim_wrapper={'optimizer': {'lrr': 3}}")
    assert code == 2
    assert "optim_wrapper.optimizer has no 'lrr'. Did you mean 'lr'?" in err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("model.width", "no pair of key and value"),
        ("model.width=[1", "the brackets in '[1' do not match"),
        ("model.width.more=3", "model.width"),
        ("+model..width=3", "is no key"),
    ],
)
def test_what_cannot_be_set_is_wrong_usage(call, given, told):
    code, _, err = call("config", "show", "mine.py", "--set", given)
    assert code == 2
    assert err.startswith("Error: --set")
    assert told in err


def test_no_option_runs_what_it_is_given(call, project):
    for text in (
        "__import__('os').system('touch hacked')",
        "!!python/object/apply:os.system ['touch hacked']",
        "{{ x }}",
    ):
        call("config", "show", "mine.py", "--set", f"model.width={text}")
    assert not (project / "hacked").exists()


def test_our_errors_are_messages_without_a_traceback(call):
    code, _, err = call("train", "miine.py")
    assert code == 1
    assert err.startswith("Error: ")
    assert "Did you mean" in err
    assert "Traceback" not in err
    code, _, err = call("train", "mine.py", "--set", "optim_wrapper.optimizer.type=SGDD")
    assert code == 1
    assert "Did you mean" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_traceback_is_there_for_the_asking(call, monkeypatch, way):
    monkeypatch.setenv("MAINSPRING_TRACEBACK", "1" if way == "environment" else "0")
    code, _, err = call("train", "miine.py", *["--traceback"] * (way == "option"))
    assert code == 1
    assert "Traceback" in err


def test_errors_of_the_users_code_keep_their_traceback(call):
    code, _, err = call("train", "mine.py", "--set", "+train_dataloader.dataset.broken=True")
    assert code == 1
    assert 'raise RuntimeError("vector 3 is torn")' in err
    assert "Traceback" in err


def test_a_mistake_in_a_configuration_names_its_line(call, project):
    (project / "torn.py").write_text("model = dict(type='X'\n")
    code, _, err = call("train", "torn.py")
    assert code == 1
    assert "line 1" in err


@pytest.mark.parametrize("tokens", [["trian", "mine.py"], ["train"], ["train", "mine.py", "--sed", "3"], ["plot"]])
def test_a_wrong_command_line_is_2(shell, tokens):
    done = shell(*tokens)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout


def test_a_run_that_is_stopped_saves_and_ends_with_143(project):
    command = [sys.executable, "-m", "mainspring", "train", "mine.py", "--set", "train_cfg.max_epochs=100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if "Epoch(val)" in line:
                break
        run.send_signal(signal.SIGTERM)
        rest = run.stdout.read()
    assert run.returncode == 143
    assert "Stopped by SIGTERM" in rest
    goes_on_from = re.search(r"goes on from (\S+\.pth)", rest)  # iter_N, or epoch_N where an epoch had just ended
    assert goes_on_from
    assert (project / goes_on_from[1]).is_file()


def test_whoever_reads_may_leave_early(project):
    (project / "long.py").write_text("\n".join(f"key_{i} = {'x' * 100!r}" for i in range(5000)))
    command = [sys.executable, "-m", "mainspring", "config", "explain", "long.py", "key_1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == ""


@pytest.mark.parametrize(
    "tokens",
    [["--help"], ["--version"], ["train", "--help"], ["config", "show", "--help"], ["config", "show", "plain.py"]],
)
def test_help_imports_no_torch_and_is_quick(project, tokens):
    (project / "plain.py").write_text("Usage = 'mainspring'\n")
    program = (
        "import sys\nfrom mainspring.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as left:\n"
        "    assert not left.code, left.code\n    assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *tokens], capture_output=True, text=True, check=True)
    assert time.perf_counter() - begin < 3  # 0.3 s on an idle machine
    assert done.stdout
