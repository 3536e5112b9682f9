"""The pages in docs/ tell the truth: their Python blocks run, and print what they say they print.

The blocks of a page share one namespace and run in order. A ``text`` block that follows a ``python`` block is what that
one prints; ``...`` in it stands for anything. A ``python`` block with none after it prints nothing.
"""

from __future__ import annotations

import contextlib
import io
import re
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PYTHON = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n*```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def blocks(text):
    """Return for each Python block its line in the page, its code and what it prints."""
    for match in PYTHON.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield line, match["code"], match["output"] or ""


@pytest.mark.parametrize("page", ["model.md", "optim.md", "config.md", "evaluation.md", "inference.md"])
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch):
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    found = list(blocks(text))
    assert len(found) == text.count("\n```python\n") > 0
    monkeypatch.chdir(tmp_path)

    namespace = {"__name__": page}
    for line, code, output in found:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + code, path, "exec"), namespace)  # the lines of a traceback are the page's
        shown = printed.getvalue()
        assert OutputChecker().check_output(output, shown, ELLIPSIS), f"{page}:{line}: prints\n{shown}not\n{output}"


def test_an_output_block_belongs_to_the_python_block_before_it():
    page = "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nx = 2\n```\n\nwords\n\n```text\nno output\n```\n"

    assert list(blocks(page)) == [(1, "print(1)\n", "1\n"), (9, "x = 2\n", "")]
