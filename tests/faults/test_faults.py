"""The short form of the fault trials; ``make faults`` is the long one, see docs/reliability.md."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import damage
import full_disks
import hostile
import kills
import memory
import pytest
import stop_signals
import two_runs
from lab import Lab

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("faults"))
    yield lab
    lab.close()


def test_kills_at_random_moments(lab: Lab) -> None:
    kills.random_kills(lab, 8, seed=1)


def test_workers_give_the_same_bits(lab: Lab) -> None:
    kills.workers_agree(lab, 2)


def test_a_kill_in_a_fresh_interpreter(lab: Lab) -> None:
    kills.fresh_interpreters(lab, 1, seed=2)


@pytest.mark.parametrize("variant", range(4))
def test_kills_at_boundaries(lab: Lab, variant: int) -> None:
    kills.boundaries(lab, 6, seed=3 + variant, variants=[variant])


def test_kills_inside_writes(lab: Lab) -> None:
    kills.writes(lab, 6, seed=7)


def test_kills_between_the_calls_for_files(lab: Lab) -> None:
    kills.file_calls(lab, every=5)


def test_flipped_bits_and_cut_files(lab: Lab) -> None:
    damage.flips_and_cuts(lab, flips=150, cuts=30, resumed=2, seed=8)


def test_a_limit_for_the_size_of_files(lab: Lab) -> None:
    full_disks.size_limits(lab, 1, seed=9)


def test_a_full_disk(lab: Lab) -> None:
    full_disks.full_disk(lab)


def test_signals(lab: Lab) -> None:
    stop_signals.stops(lab, 1, seed=10, workers=[0])


def test_signals_to_a_group_with_workers(lab: Lab) -> None:
    stop_signals.stops(lab, 1, seed=11, workers=[2], groups=[True])


def test_second_signals(lab: Lab) -> None:
    stop_signals.second_signals(lab, [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)], workers=2)


def test_a_signal_that_only_saves(lab: Lab) -> None:
    stop_signals.saves_on_request(lab, 1, seed=12, workers=0)


def test_hostile_files(lab: Lab) -> None:
    hostile.hostile_files(lab)


def test_two_runs_in_a_directory(lab: Lab) -> None:
    two_runs.second_run(lab, workers=2)


def test_memory_of_a_long_run(lab: Lab) -> None:
    memory.growth(lab, first=2_000, last=3_000, step=500, runs=1)
