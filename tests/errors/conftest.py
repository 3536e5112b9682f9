"""A wrong input gives one error, of the right type and in clear words, before the first iteration is over."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for mistakes.py
from mistakes import text_of


@pytest.fixture
def refused(make_runner: Any) -> Callable[..., str]:
    """Return a function that makes a runner and runs it, and returns the text of the error that comes of it.

    The error's type must be just ``kind``, and its text must hold each of ``words``.
    """

    def run(kind: type[Exception], *words: str, what: str = "train", **changes: Any) -> str:
        done = 0
        with pytest.raises(Exception) as caught:
            runner = make_runner(**changes)
            try:
                getattr(runner, what)()
            finally:
                done = runner.iter
        error, text = caught.value, text_of(caught.value)
        traceback.clear_frames(error.__traceback__)  # they hold loaders' workers, slow to end in a collection
        assert type(error) is kind, f"{type(error).__name__}: {text}"
        assert done == 0, f"only after {done} iterations: {text}"
        for word in words:
            assert word in text
        return text

    return run
