"""The page of the command line tells the truth: its commands run, and print what it says they print."""

from __future__ import annotations

import re
import shlex
import sys
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

from mainspring.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d[\d.,:/e+-]*(?: (?:ms|s|kB|MB|GB)\b)?")
COMMAND = re.compile(r"^\$ mainspring (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def test_the_commands_of_the_page_print_what_it_says(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delitem(sys.modules, "circle", raising=False)
    commands = 0
    for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, PAGE, "exec"), {})
            continue
        for line, expected in COMMAND.findall(text):
            capfd.readouterr()
            with pytest.raises(SystemExit):
                main(shlex.split(line))
            out, err = capfd.readouterr()
            same = OutputChecker().check_output(_comparable(expected), _comparable(out + err), ELLIPSIS)
            assert same, f"{line} prints\n{out}{err}not\n{expected}"
            commands += 1
    assert commands == 10


def _comparable(text: str) -> str:
    """Return an output without its numbers, which differ from machine to machine, and the spaces that follow them."""
    return "".join(f"{re.sub(' +', ' ', NUMBER.sub('0', line)).rstrip()}\n" for line in text.splitlines())
