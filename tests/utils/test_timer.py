import pytest

from mainspring.utils import Timer, TimerError, check_time


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only when it is told to."""
    now = [100.0]
    monkeypatch.setattr("mainspring.utils.timer.time.perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_times_since_the_start_and_since_they_were_asked_for(clock):
    timer = Timer()
    clock(2)
    assert timer.since_start() == 2
    clock(3)
    assert timer.since_last_check() == 3
    assert timer.since_start() == 5
    clock(1)
    timer.start()
    clock(4)
    assert timer.since_last_check() == 4
    assert timer.since_start() == 10


def test_a_timer_that_does_not_run():
    timer = Timer(start=False)
    assert not timer.is_running
    for ask in (timer.since_start, timer.since_last_check):
        with pytest.raises(TimerError, match=r"timer is not running: call its start\(\) first"):
            ask()
    timer.start()
    assert timer.is_running


def test_a_block_is_timed(clock, capsys):
    with Timer() as timer:
        clock(0.5)
    with Timer(print_tmpl="it took {:.1f} s"):
        clock(2)
    assert capsys.readouterr().out == "0.500\nit took 2.0 s\n"
    assert not timer.is_running


def test_times_between_calls_with_a_name(clock):
    assert check_time("test of the timer") == 0
    clock(2)
    assert check_time("another test of the timer") == 0
    clock(1)
    assert check_time("test of the timer") == 3
    assert check_time("another test of the timer") == 1
