"""What an import and a first step cost, in fresh processes: mainspring beside a script that uses torch alone.

- ``import mainspring`` above ``import torch``, in milliseconds of CPU. At most 60 are promised.
- The same with Python's garbage collector off. ``import torch`` leaves a full collection of its objects nearly due, of
  60 to 120 ms. Whoever makes some thousand objects next sets it off: an import of several packages, or else the first
  step of a script. So the times to the end of the first step contain it on both sides.
- From the start of the process to the end of the first step, beside the same step in a script written by hand. A ratio
  of at most 1.15 is promised.

Peers that are not installed are left out. Mainspring's bytecode is made beforehand, as an installation makes it.
"""

from __future__ import annotations

import compileall
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import measure
from measure import MILLI, Taken

IMPORTS = {
    "torch": "import torch",
    "mainspring": "import torch, mainspring",
    "mainspring's Runner": "import torch; from mainspring import BaseModel, Runner",
    "torch, collector off": "import gc; gc.disable()\nimport torch",
    "mainspring's Runner, collector off": (
        "import gc; gc.disable()\nimport torch; from mainspring import BaseModel, Runner"
    ),
    "mmengine's Runner": "import torch; from mmengine.model import BaseModel; from mmengine.runner import Runner",
    "lightning": "import torch, lightning.pytorch",
    "pytorch_lightning": "import torch, pytorch_lightning",
    "lightning.fabric": "import torch, lightning.fabric",
    "accelerate": "import torch; from accelerate import Accelerator",
    "ignite": "import torch; from ignite.engine import Engine",
}
"""By name, what a process imports; the first word of the name is the package."""
OFF = ", collector off"
PROMISED = {"mainspring": 60, "mainspring's Runner": 60, "mainspring's Runner" + OFF: 60}
PROMISED_RATIO = 1.15
SGD: dict[str, Any] = {"lr": 0.01, "momentum": 0.9}


def data() -> Any:
    """Return a loader."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(1024, 32, generator=generator)
    return DataLoader(TensorDataset(vectors, torch.arange(1024) % 10), batch_size=8, shuffle=True)


def step_by_hand(done: Callable[[], None]) -> None:
    """Make one step, as one writes it without an engine."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    model = nn.Linear(32, 10)
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    for x, y in data():
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done()
        return


def step_by_mainspring(done: Callable[[], None]) -> None:
    """Make one step of a run by default."""
    from torch import nn
    from torch.nn import functional as F

    from mainspring import BaseModel, Hook, Runner

    class Classifier(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 10)

        def forward(self, x: Any, y: Any, mode: str) -> Any:
            return {"loss": F.cross_entropy(self.layer(x), y)}

    class Stop(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            done()
            runner.train_loop.stop_training = True

    with tempfile.TemporaryDirectory() as folder:
        Runner(
            model=Classifier(),
            work_dir=folder,
            train_dataloader=data(),
            train_cfg={"by_epoch": False, "max_iters": 10**6},
            optim_wrapper={"optimizer": {"type": "SGD", **SGD}},
            custom_hooks=[Stop()],
            resume="auto",
        ).train()


STEPS = {"by hand": step_by_hand, "mainspring": step_by_mainspring}


def in_this_process(name: str) -> None:
    """Make one step, and print when it was over, and the CPU time of the process until then."""
    found: list[float] = []
    STEPS[name](lambda: found.extend((time.process_time(), time.time())))
    print()
    print(json.dumps(found))


def first_step(name: str) -> Taken:
    """Return the time from the start of a process to the end of its first step."""
    begin = time.time()
    spent, end = measure.in_fresh_process(__file__, "--in-this-process", name)
    return Taken(spent, end - begin)


def of_import(statements: str) -> Taken:
    """Return the time that a process takes for imports, the start of the interpreter included."""
    begin = time.time()
    told = f"{statements}\nimport json, time\nprint(json.dumps([time.process_time(), time.time()]))"
    spent, end = measure.in_fresh_process("-c", told)
    return Taken(spent, end - begin)


def main() -> None:
    """Measure and print."""
    options = measure.options(measure.parser(__doc__, rounds=5))
    report = measure.Report("startup", options)
    packages = {name: name.partition(",")[0].partition("'")[0].partition(".")[0] for name in IMPORTS}
    compileall.compile_dir(importlib.import_module("mainspring").__path__[0], quiet=2)
    there = [name for name in IMPORTS if importlib.util.find_spec(packages[name])]
    if "lightning" in there and "pytorch_lightning" in there:  # the one contains the other
        there.remove("pytorch_lightning")
    asked = {name: lambda name=name: of_import(IMPORTS[name]) for name in there}
    found = measure.in_turn(asked, options.rounds)
    report.keep("imports", found)
    table = measure.Table("ms for an import (least / median)", "CPU", "wall", "CPU above torch", "promised")
    for name, many in found.items():
        figures = [measure.low_and_middle(times(many), MILLI, 0) for times in (measure.cpu, measure.wall)]
        torch = "torch" + OFF if name.endswith(OFF) else "torch"
        more = [one.cpu - other.cpu for one, other in zip(many, found[torch], strict=True)]
        least = min(measure.cpu(many)) - min(measure.cpu(found[torch]))
        above = "" if name == torch else f"{MILLI * least:.0f} / {MILLI * sorted(more)[len(more) // 2]:.0f}"
        table.add(name, *figures, above, f"{PROMISED[name]}" if name in PROMISED else "")
    report.say(table)
    missing = sorted({packages[name] for name in IMPORTS} - {packages[name] for name in there} - {"pytorch_lightning"})
    if missing:
        report.say(f"Not installed, and left out: {', '.join(missing)}.")

    asked = {name: lambda name=name: first_step(name) for name in STEPS}
    steps = measure.in_turn(asked, options.rounds)
    report.keep("first step", steps)
    table = measure.Table("ms to the end of the first step", "CPU", "wall", "ratio of CPU", "of wall", "promised")
    for name, many in steps.items():
        figures = [measure.low_and_middle(times(many), MILLI, 0) for times in (measure.cpu, measure.wall)]
        if name != "by hand":
            hand = steps["by hand"]
            figures += [measure.ratio(times(many), times(hand)) for times in (measure.cpu, measure.wall)]
            figures.append(f"{PROMISED_RATIO}")
        table.add(name, *figures)
    report.say(table)
    report.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-this-process"]:
        in_this_process(sys.argv[2])
    else:
        main()
