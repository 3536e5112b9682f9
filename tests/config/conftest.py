"""What the tests of configurations share: files in a directory of their own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes files by their names, programs also without ``.py``, and returns the last name."""
    monkeypatch.chdir(tmp_path)

    def write_files(files: dict[str, str] | None = None, **programs: str) -> str:
        for name, text in {**(files or {}), **{f"{name}.py": text for name, text in programs.items()}}.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return str(path)

    return write_files
