"""What it costs to read a configuration: 2,000 lines in five files, each the base of the next.

- Reading it. At most 50 ms of CPU are promised.
- Of the same: changing a value, copying it, and writing it as Python, YAML and JSON.
- ``import mainspring`` with ``Config``, beside an empty program: a command line that only reads one waits for that.
- With ``--dir``, every configuration below a directory, such as ``mmpretrain/.mim/configs`` of that library's wheel:
  read, changed, written and read again. What comes back is compared, and whatever differs, or fails, is told.

MMEngine's row is there where it is installed.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
from measure import MILLI, Taken, taken

PROMISED = 50
LINES, LEVELS = 2000, 5
STAGE = """stage_{level}_{index} = dict(
    type='Stage',
    depth={index},
    norm_cfg=dict(type='BN', requires_grad=True),
    pipeline=[
        dict(type='LoadImageFromFile', color='rgb'),
        dict(type='Resize', scale=(224, 224), keep_ratio=False),
        dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    ],
)
"""
ENDINGS = ("py", "yaml", "json")


def write_files(folder: Path) -> Path:
    """Write the configuration, and return the file that inherits from all the others."""
    stages = LINES // LEVELS // STAGE.count("\n")
    for level in range(LEVELS):
        lines = [STAGE.format(level=level, index=index) for index in range(stages)]
        if level:
            lines[0] = f"_base_ = ['level_{level - 1}.py']\nstage_{level - 1}_0 = dict(depth=-1)\n" + lines[0]
        (folder / f"level_{level}.py").write_text("".join(lines), encoding="utf-8")
    return folder / f"level_{LEVELS - 1}.py"


def engines() -> dict[str, Any]:
    """Return the class Config of each engine that is installed."""
    names = [name for name in ("mainspring", "mmengine") if importlib.util.find_spec(name)]
    return {name: importlib.import_module(f"{name}.config").Config for name in names}


def of_import(statement: str) -> Taken:
    """Return the CPU time of a fresh process that makes an import."""
    (spent,) = measure.in_fresh_process("-c", f"{statement}\nimport time\nprint([time.process_time()])")
    return Taken(spent, spent)


def pieces_of_work(config: Any, file: Path, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    cfg = config.fromfile(file)
    found: dict[str, Callable[[], Any]] = {
        "read": lambda: config.fromfile(file),
        "change a value": lambda: cfg.merge_from_dict({"stage_0_0.depth": 3}),
        "copy": lambda: copy.deepcopy(cfg),
    }
    for ending in ENDINGS:
        if ending != "yaml" or importlib.util.find_spec("yaml"):
            found[f"write {ending}"] = lambda ending=ending: cfg.dump(folder / f"written.{ending}")
    return found


def examine(config: Any, root: Path, folder: Path) -> dict[str, Any]:
    """Read, change, write and read again every configuration below a directory."""
    files = sorted(root.rglob("*.py"))
    read: dict[str, Any] = {}
    wrong: dict[str, str] = {}

    def read_all() -> None:
        for file in files:
            try:
                read[str(file.relative_to(root))] = config.fromfile(file, import_custom_modules=False)
            except Exception as error:
                wrong[str(file.relative_to(root))] = f"{type(error).__name__}: {error}"

    def write_and_read_again() -> None:
        for name, cfg in read.items():
            cfg.merge_from_dict({"randomness.seed": 3})
            for ending in ENDINGS:
                cfg.dump(folder / f"written.{ending}")
                back = config.fromfile(folder / f"written.{ending}", import_custom_modules=False)
                if comparable(back, ending) != comparable(cfg, ending):
                    wrong[name] = f"is not the same when it is read back from {ending}"

    reading, rest = taken(read_all), taken(write_and_read_again)
    return {"files": len(files), "read": reading, "rest": rest, "wrong": wrong}


def comparable(cfg: Any, ending: str) -> Any:
    """Return the content; JSON has lists in place of tuples."""
    return json.loads(json.dumps(cfg.to_dict())) if ending == "json" else cfg.to_dict()


def main() -> None:
    """Measure and print."""
    parser = measure.parser(__doc__, rounds=9)
    parser.add_argument("--dir", type=Path, metavar="DIRECTORY", help="examine all configurations below it, too")
    options = measure.options(parser)
    report = measure.Report("config", options)
    there = engines()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = write_files(folder)
        table = measure.Table(f"CPU ms, {LINES:,} lines, {LEVELS} levels (least / median)", *there, "promised")
        work = {engine: pieces_of_work(config, file, folder) for engine, config in there.items()}
        for what in work["mainspring"]:
            slow = what == "write py" and "mmengine" in there  # its formatter takes tens of seconds
            asked = {
                engine: lambda piece=does[what]: taken(piece)
                for engine, does in work.items()
                if not (slow and engine == "mmengine")
            }
            found = measure.in_turn(asked, options.rounds)
            report.keep(what, found)
            figures = [
                measure.low_and_middle(measure.cpu(found[engine]), MILLI) if engine in found else "" for engine in there
            ]
            table.add(what, *figures, f"{PROMISED}" if what == "read" else "")
        report.say(table)

        imports = {"nothing": "pass", "mainspring's Config": "from mainspring import Config", "torch": "import torch"}
        found = measure.in_turn(
            {name: lambda told=told: of_import(told) for name, told in imports.items()}, options.rounds
        )
        report.keep("imports", found)
        table = measure.Table("CPU ms of a process that imports (least / median)", "whole")
        for name, many in found.items():
            table.add(name, measure.low_and_middle(measure.cpu(many), MILLI, 0))
        report.say(table)

        if options.dir is not None:
            table = measure.Table(f"All of {options.dir.name}, CPU s", "files", "read", "change, write, read", "wrong")
            examined = {engine: examine(config, options.dir, folder) for engine, config in there.items()}
            for engine, told in examined.items():
                times = (f"{told[key].cpu:.1f}" for key in ("read", "rest"))
                table.add(engine, f"{told['files']}", *times, f"{len(told['wrong'])}")
            report.keep("examined", examined)
            report.say(table)
            for name, error in examined["mainspring"]["wrong"].items():
                report.say(f"- `{name}`: {error}")
    report.close()


if __name__ == "__main__":
    main()
