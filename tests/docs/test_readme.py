"""What the README shows works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_program_trains_and_then_says_it_is_finished(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    file = tmp_path / "program.py"
    file.write_text(program, encoding="utf-8")

    first, second = (
        subprocess.run([sys.executable, file], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
        for _ in range(2)
    )

    assert "5 epochs" in first.stdout
    assert "finished already: 5 of 5 epochs" in second.stdout
    found = re.search(r"last accuracy/top1 │ (\d+\.\d+)", first.stdout)
    assert found is not None
    assert float(found[1]) > 95


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_document_names_is_there(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = re.findall(r"`((?:src|tests|examples|docs)/[\w/.]+)`", text)

    missing = [path for path in [*links, *named] if not (ROOT / path).exists()]

    assert missing == []
