"""A fresh start after a restart: what earlier processes have left in the store leads nobody astray.

torchrun restarts its processes with the store of before, in which the addresses of those that are dead still stand
(torch 2.13; with ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` in its environment it makes a new one). gloo then connects to
nobody: ``connectFullMesh failed ... Connection refused``. So the processes first find out who of them is alive.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

__all__ = ["meet"]

_POLL = 0.02


def meet(timeout: timedelta) -> Store:
    """Return a store that only the processes of this start share, with nothing in it; all of them call it.

    Each leaves a name that no other has ever had. The first makes a list of the names that it finds, and makes it anew
    whenever one changes. When all have answered to the same list, they are those that are alive, and its name is the
    prefix of their store.

    Args:
        timeout: How long to wait for the others, and for anything in the store later.

    Raises:
        TimeoutError: Some of them did not come.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store: Store = TCPStore(address, port, size, is_master=False, timeout=timeout)
    board = PrefixStore("mainspring/meeting", store)
    end = time.monotonic() + timeout.total_seconds()
    own = uuid.uuid4().hex
    board.set(f"name/{rank}", own)
    chosen = _lead(board, own, size, end) if rank == 0 else _follow(board, own, rank, end)
    return PrefixStore(f"mainspring/{chosen}", store)


def _lead(board: Store, own: str, size: int, end: float) -> str:
    listed: list[str] = []
    chosen, version = "", 0
    while True:
        names = [_read(board, f"name/{rank}") for rank in range(size)]
        if names != listed and all(names):
            listed, chosen, version = names, f"{own}.{version}", version + 1
            board.set(f"list/{chosen}", " ".join(listed))
            board.set("newest", chosen)
        if chosen and all(_read(board, f"here/{chosen}/{rank}") for rank in range(1, size)):
            board.set(f"go/{chosen}", "1")
            return chosen
        _wait(end, [rank for rank in range(1, size) if not _read(board, f"here/{chosen}/{rank}")])


def _follow(board: Store, own: str, rank: int, end: float) -> str:
    while True:
        chosen = _read(board, "newest")
        if chosen and own in _read(board, f"list/{chosen}").split():
            board.set(f"here/{chosen}/{rank}", "1")
            if _read(board, f"go/{chosen}"):
                return chosen
        _wait(end, [0])


def _read(board: Store, key: str) -> str:
    return str(board.get(key).decode()) if board.check([key]) else ""


def _wait(end: float, missing: list[int]) -> None:
    if time.monotonic() > end:
        raise TimeoutError(
            f"Rank {', '.join(map(str, missing))} did not come to the meeting of the processes in time. Did it end with"
            " an error, or is its start slower than env_cfg.dist_cfg.timeout allows?"
        )
    time.sleep(_POLL)
