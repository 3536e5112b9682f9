"""Every benchmark, each in a fresh process: ``python benchmarks [NAME ...] [--short] [--json FILE] [--page FILE]``."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = (
    "step_overhead",
    "startup",
    "optimizers",
    "optim_wrapper",
    "averaging",
    "evaluation",
    "data_path",
    "growth",
    "small_net",
    "saving",
    "resume",
    "sample_seeding",
    "config",
    "structures",
)


def run(name: str, options: list[str]) -> dict[str, Any]:
    """Run a benchmark, which prints what it finds, and return what it writes as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        subprocess.run([sys.executable, HERE / f"{name}.py", *options, "--json", file], check=True)
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def fill(page: str, found: dict[str, Any]) -> str:
    """Return a page with a benchmark's tables in the place that is marked for them.

    The place begins with a line ``<!-- python benchmarks/NAME.py -->`` and ends with ``<!-- end -->``.

    Raises:
        ValueError: The page has no such place.
    """
    marker = f"<!-- python benchmarks/{found['benchmark']}.py -->\n"
    content = "\n\n".join([*found["text"], found["machine"]])
    pattern = re.compile(f"{re.escape(marker)}.*?<!-- end -->", re.DOTALL)
    filled, places = pattern.subn(lambda _: f"{marker}\n{content}\n\n<!-- end -->", page)
    if not places:
        raise ValueError(f"The page has no place for {found['benchmark']}: it begins with {marker.strip()!r}.")
    return filled


def main() -> None:
    """Run those that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones; all by default: {', '.join(NAMES)}")
    parser.add_argument("--short", action="store_true", help="take seconds each, and see only that they run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables where this page has places for them")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(map(repr, unknown))}; there are {', '.join(NAMES)}")
    begin = time.perf_counter()
    all_found = []
    for name in options.names or NAMES:
        found = run(name, ["--short"] if options.short else [])
        all_found.append(found)
        if options.page is not None:
            page = options.page.read_text(encoding="utf-8")
            options.page.write_text(fill(page, found), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(json.dumps(all_found, indent=1) + "\n", encoding="utf-8")
    print(f"{len(all_found)} benchmarks in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
