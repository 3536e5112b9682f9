import copy
import gc
import logging
import os
import pickle
import re
import subprocess
import sys
import textwrap

import pytest

from mainspring.logging import MMLogger, print_log


@pytest.fixture(autouse=True)
def _own_instances():
    before = dict(MMLogger._instance_dict)
    MMLogger._instance_dict.clear()
    yield
    MMLogger._instance_dict.clear()
    MMLogger._instance_dict.update(before)


def run(directory, script, *arguments, launcher=(), **environment):
    """Run a script in a process of its own and return what it printed."""
    path = directory / "script.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, *launcher, str(path), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_line_goes_to_the_console_and_the_file(tmp_path, capsys):
    path = tmp_path / "new" / "run.log"
    logger = MMLogger("a", logger_name="name", log_file=path)
    logger.info("an epoch of %d", 3)
    logger.debug("not shown")
    printed = capsys.readouterr()
    assert re.fullmatch(r"\d\d/\d\d \d\d:\d\d:\d\d - name - INFO - an epoch of 3\n", printed.out)
    assert printed.err == ""
    assert re.fullmatch(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - name - INFO - an epoch of 3\n", path.read_text())
    assert logger.log_file == str(path)
    assert MMLogger("b").log_file is None


def test_an_error_says_where_it_was(capsys):
    logger = MMLogger("a")
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("boom")
    print_log("bang", logger, logging.ERROR)
    lines = capsys.readouterr().out.splitlines()
    place = re.escape(f"{__file__} - test_an_error_says_where_it_was - ")
    assert re.search(rf" - ERROR - {place}\d+ - boom$", lines[0])
    assert lines[-2] == "KeyError: 'lost'"
    assert re.search(rf" - ERROR - {place}\d+ - bang$", lines[-1])


def test_the_file_is_appended_to_or_begun_anew(tmp_path):
    for mode in ("a", "a", "w"):
        MMLogger("a", log_file=tmp_path / "run.log", file_mode=mode).info(mode)
        lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line[-1] for line in lines] == ["w"]
    MMLogger("a", log_file=tmp_path / "run.log").info("default")
    assert len((tmp_path / "run.log").read_text().splitlines()) == 2


def test_levels(capsys):
    logger = MMLogger("a", log_level="warning")
    logger.info("one")
    logger.setLevel("INFO")
    logger.info("two")
    logging.disable(logging.INFO)
    logger.info("three")
    logging.disable(logging.NOTSET)
    logger.info("four")
    logger.setLevel(logging.ERROR)
    logger.warning("five")
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()] == ["two", "four"]
    with pytest.raises(ValueError, match=r"log_level 'WARNIN' is no level\. Did you mean 'WARNING'"):
        MMLogger("a", log_level="WARNIN")


def test_it_stands_apart_from_other_loggers(capsys, caplog):
    MMLogger("a", logger_name="shared").info("mine")
    logging.getLogger("shared").warning("theirs")
    assert "mine" in capsys.readouterr().out
    assert [record.message for record in caplog.records] == ["theirs"]


def test_a_second_run_has_a_file_of_its_own(tmp_path):
    first = MMLogger.get_instance("run", log_file=tmp_path / "1.log")
    assert MMLogger.get_instance("run", log_file=str(tmp_path / "1.log")) is first
    assert MMLogger.get_instance("run") is first
    second = MMLogger.get_instance("run", log_file=tmp_path / "2.log")
    assert MMLogger.get_current_instance() is MMLogger.get_instance("run") is second
    second.info("second")
    first.info("first")
    assert (tmp_path / "1.log").read_text().endswith(" first\n")
    assert (tmp_path / "2.log").read_text().endswith(" second\n")
    third = MMLogger.get_instance("other", log_file=tmp_path / "3.log")
    print_log("third", "current")
    assert (tmp_path / "3.log").read_text().endswith(" third\n")
    assert third is MMLogger.get_current_instance()
    assert (tmp_path / "2.log").read_text().count("\n") == 1


def test_a_logger_that_goes_closes_its_file(tmp_path):
    logger = MMLogger("a", log_file=tmp_path / "run.log")
    stream = logger.handlers[1].stream
    del logger
    gc.collect()
    assert stream.closed


def test_print_log(capsys):
    print_log("plain")
    assert capsys.readouterr().out == "plain\n"
    print_log("nothing", "silent")
    print_log("made", "current", logging.WARNING)
    MMLogger.get_instance("mine", logger_name="mine")
    print_log("by name", logger="mine")
    print_log("by object", MMLogger.get_instance("mainspring"), level=logging.WARNING + 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[1:] for line in lines] == [
        ["mainspring", "WARNING", "made"],
        ["mine", "INFO", "by name"],
        ["mainspring", "Level 31", "by object"],
    ]
    with pytest.raises(ValueError, match=r"There is no MMLogger called 'mien'\. Did you mean 'mine'"):
        print_log("lost", "mien")
    with pytest.raises(TypeError, match="got 3"):
        print_log("lost", 3)


def test_a_copy_is_the_logger_itself():
    logger = MMLogger.get_instance("run")
    assert copy.deepcopy({"logger": logger})["logger"] is logger
    assert pickle.loads(pickle.dumps(logger)) is logger


def test_ranks(tmp_path):
    script = """
        import sys
        import torch.distributed as dist
        from mainspring.logging import MMLogger
        dist.init_process_group("gloo")
        for name, options in (("main", {}), ("all", {"distributed": True}), ("debug", {"log_level": "DEBUG"})):
            logger = MMLogger(name, log_file=f"{sys.argv[1]}/{name}.log", **options)
            logger.info(f"info {name} {dist.get_rank()}")
            logger.warning(f"warning {name} {dist.get_rank()}")
        dist.barrier()
        dist.destroy_process_group()
    """
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    printed = run(tmp_path, script, tmp_path, launcher=launcher)
    logged = sorted(re.findall(r"(?:info|warning) \w+ \d", printed))
    names = ("all", "debug", "main")
    assert logged == [f"info {n} 0" for n in names] + [f"warning {n} {rank}" for n in names for rank in (0, 1)]
    files = {file.name: re.findall(r"info \w+ \d", file.read_text()) for file in tmp_path.glob("*.log")}
    assert files == {
        "main.log": ["info main 0"],
        "all.log": ["info all 0"],
        "all_rank1.log": ["info all 1"],
        "debug.log": ["info debug 0"],
        "debug_rank1.log": ["info debug 1"],
    }


SHOWN = """
    import os, sys
    from rich.live import Live
    from rich.text import Text
    from mainspring.logging import MMLogger, get_console, live_display_active, set_live_display

    logger = MMLogger.get_instance("run", log_file=sys.argv[1])
    logger.info("before", extra={"live": True})
    live = Live(Text("DISPLAY"), console=get_console(), auto_refresh=False, transient=True)
    live.start()
    set_live_display(True)
    live.refresh()
    logger.info("hidden", extra={"live": True})
    logger.warning("[red]shown[/red] " + "long " * 60)
    sys.stdout.flush()
    if os.fork() == 0:
        assert not live_display_active()
        print("\\nfrom the worker's print")
        logger.info("from the worker's log", extra={"live": True})
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0
    assert live_display_active()
    set_live_display(False)
    live.stop()
    logger.info("after", extra={"live": True})
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("terminal", [False, True])
def test_log_lines_and_a_live_display(tmp_path, terminal):
    environment = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"} if terminal else {"NO_COLOR": "1"}
    log = tmp_path / "run.log"
    printed = run(tmp_path, SHOWN, log, **environment)
    said = [line for line in printed.splitlines() if " - mainspring - " in line]
    assert [line.split(" - ")[-1].split()[0] for line in said[:2]] == ["before", "[red]shown[/red]"]
    assert said[1].rstrip().endswith("long " * 59 + "long")  # not wrapped at the width of the console
    assert "hidden" not in printed
    worker = printed.index("from the worker's print")
    assert "DISPLAY" not in printed[worker : printed.index("from the worker's log")]
    assert said[-1].endswith("after")
    messages = [line.split(" - ")[-1] for line in log.read_text().splitlines()]
    assert [text.split()[0] for text in messages] == ["before", "hidden", "[red]shown[/red]", "from", "after"]
    assert "\x1b" not in log.read_text()
    assert ("- \x1b[33mWARNING\x1b[0m -" in printed) == terminal


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_that_was_held_while_the_process_forked(tmp_path):
    # A worker's lock on the console, held by another thread at the fork, would never be released.
    printed = run(
        tmp_path,
        """
        import os, threading
        from mainspring.logging import MMLogger, get_console, set_live_display
        logger = MMLogger.get_instance("run")
        set_live_display(True)
        holding, done = threading.Event(), threading.Event()

        def hold():
            with get_console()._lock:
                holding.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait()
        if os.fork() == 0:
            set_live_display(True)
            logger.info("not stuck")
            os._exit(0)
        assert os.wait()[1] == 0
        done.set()
        thread.join()
        """,
    )
    assert printed.endswith("not stuck\n")


def test_a_log_file_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(
        OSError, match=r"The log file cannot be made .*A file stands where a directory should be"
    ) as caught:
        MMLogger("blocked", log_file=tmp_path / "run" / "x.log")
    assert caught.value.filename.endswith("x.log")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_said_once_and_the_run_goes_on(tmp_path, capsys):
    (tmp_path / "x.log").symlink_to("/dev/full")
    logger = MMLogger("full", log_file=tmp_path / "x.log")
    for number in range(3):
        logger.info("line %d", number)
    logger.close_file()
    logger.info("line 3")
    logger.close_file()
    out, err = capsys.readouterr()
    assert [f"line {number}" in out for number in range(4)] == [True] * 4, "the console has them"
    assert err.count("The log file cannot be written (No space left on device). Make room there") == 1
    assert "Traceback" not in err
