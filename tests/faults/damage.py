"""Flipped bits and cut files: each is refused by name, and a run goes on from the checkpoint before."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import KILLED, Lab

from mainspring.checkpoint import CheckpointError, find_latest_checkpoint, read_checkpoint, run_checkpoints

OPTIONS = ("--save-by", "iter", "--save-every", "10", "--keep", "2")
Damage = tuple[str, Callable[[bytes], bytes]]


def flips_and_cuts(lab: Lab, flips: int, cuts: int, resumed: int, seed: int) -> dict[str, Any]:
    """Damage the newest checkpoint of a run that was killed, in one way after the other.

    Args:
        lab: Where runs are made.
        flips: How many single bits are flipped, anywhere in the file.
        cuts: How many times it is cut, at any length.
        resumed: After how many of these a run goes on to its end.
        seed: Of what is chosen.
    """
    rng = random.Random(seed)
    work_dir = _killed(lab)
    newest, older = run_checkpoints(work_dir)[:2]
    whole = newest.read_bytes()
    damages = [*_flips(rng, len(whole), flips), *_cuts(rng, len(whole), cuts)]
    for told, damage in damages:
        newest.write_bytes(damage(whole))
        message = _refusal(newest)
        assert message is not None, f"seed {seed}: {told} of {len(whole)} bytes went unnoticed"
        assert str(newest) in message, f"seed {seed}, {told}: the message does not name the file: {message}"
        with _quiet():
            found = find_latest_checkpoint(work_dir)
        assert found == str(older), f"seed {seed}, {told}: the run would go on from {found}"
    for told, damage in rng.sample(damages, resumed):
        work_dir = _killed(lab)
        newest, older = run_checkpoints(work_dir)[:2]
        newest.write_bytes(damage(newest.read_bytes()))
        lab.check_end(work_dir, OPTIONS, f"seed {seed}, {told}")
        log = "".join(file.read_text() for file in sorted(work_dir.glob("*/*.log")))
        assert f"{newest.name}' is damaged" in log, f"the log does not name what is damaged\n{log}"
        assert f"Resumed from '{older}'" in log, log
    return {
        "bits flipped": flips,
        "cuts": cuts,
        "refused with the file's name": len(damages),
        "runs that fell back and ended bit-identical": resumed,
        "bytes of the file": len(whole),
    }


def _killed(lab: Lab) -> Path:
    """Return the work directory of a run that was killed in the middle, soon after a checkpoint."""
    while True:
        work_dir = lab.work_dir()
        process = lab.start(work_dir, *OPTIONS, "--sabotage", "at:65")
        assert process.wait() == KILLED, process.output
        if run_checkpoints(work_dir)[0].name == "iter_60.pth":  # else it was still being written
            return work_dir


@contextmanager
def _quiet() -> Iterator[None]:
    """Show none of the warnings about the damaged files."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _refusal(file: Path) -> str | None:
    try:
        read_checkpoint(file)
    except CheckpointError as error:
        return str(error)
    return None


def _flips(rng: random.Random, size: int, count: int) -> Iterator[Damage]:
    def flipped(place: int, bit: int) -> Callable[[bytes], bytes]:
        return lambda data: data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]

    # The first and the last bytes always, where an archive says what it is.
    places = [*range(8), *range(size - 40, size)]
    places += [rng.randrange(size) for _ in range(count)]
    for place in places[:count]:
        bit = rng.randrange(8)
        yield f"bit {bit} of byte {place}", flipped(place, bit)


def _cuts(rng: random.Random, size: int, count: int) -> Iterator[Damage]:
    def cut(length: int) -> Callable[[bytes], bytes]:
        return lambda data: data[:length]

    lengths = [0, 1, size - 1, size - 64, *(rng.randrange(size) for _ in range(count))]
    for length in lengths[:count]:
        yield f"a cut to {length} bytes", cut(length)
