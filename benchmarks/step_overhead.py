"""What a training step costs above a loop written by hand over the same loader, in microseconds of CPU.

A Linear(32, 10), batches of 8, one thread, SGD with momentum (fused, on all sides), a log line every 50 iterations. The
rows of mainspring have everything on: all default hooks, log file, scalars, checkpoints configured, exact resume. At
most 30 are promised for the engine around the loader. The seeding of the samples is a row of its own.

Each engine runs in a fresh process of its own, in turn with the loop by hand, and the clock is in the user's part of
the step: what a run does at its beginning and its end does not count. Peers that are not installed are left out.
"""

from __future__ import annotations

import cProfile
import json
import logging
import pstats
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import measure
from measure import MICRO, Table, Taken
from training_runs import ENGINES, LOG_EVERY, SGD, Clock, Rows, Train, by_hand, classifier, has, mainspring, train

PROMISED = 30


def once(run: Train, iterations: int, profile: cProfile.Profile | None = None) -> Taken:
    """Make a run in a folder of its own, and return what an iteration took."""
    clock = Clock(iterations, profile)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), clock)
    return clock.per_iteration()


def rounds_of(rows: Rows, iterations: int, rounds: int) -> dict[str, list[Taken]]:
    """Measure runs in turn with the loop by hand."""
    contenders = {"by hand": by_hand, **rows}
    return measure.in_turn(
        {name: lambda run=run: once(run, iterations) for name, run in contenders.items()},
        rounds,
    )


def hand_with_our_loader(folder: Path, clock: Clock) -> None:
    """Train as by hand, with batches as a runner's loop gets them."""
    from mainspring.dataset import pass_over, resumable

    model = nn.Linear(32, 10)
    loader = resumable(clock.loader(), 0, sample_seeding=False)
    batches = pass_over(loader, 0, seed=0, sample_seeding=False)
    train(folder, clock, model, torch.optim.SGD(model.parameters(), **SGD), batches, torch.Tensor.backward)


def hand_with_our_step(folder: Path, clock: Clock) -> None:
    """Train as by hand, with the model's step of a runner's loop."""
    from mainspring import BaseModel, OptimWrapper

    model = classifier(BaseModel, clock)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), **SGD))
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        for index, batch in enumerate(clock.loader()):
            outputs = model.train_step(batch, optim_wrapper=wrapper)
            if (index + 1) % LOG_EVERY == 0:
                print(f"[{index + 1}] loss: {outputs['loss'].item():.4f}", file=log)


def profiled(iterations: int, rounds: int) -> dict[str, Any]:
    """Return what runs without a hook take, and of the functions: place, name, calls, seconds without and with others.

    Under the profiler each call is dearer than it is, so that what calls much looks worse than it is. The runs without
    a hook, and those without all of them, tell the truth.
    """
    from mainspring.runner.build import DEFAULT_HOOKS

    rows: Rows = {"all": mainspring(True, sample_seeding=False)}
    for slot in DEFAULT_HOOKS:
        rows[slot] = mainspring(True, {slot: None}, sample_seeding=False)
    rows["all of these"] = mainspring(True, dict.fromkeys(DEFAULT_HOOKS), sample_seeding=False)
    rows["loader"], rows["step"] = hand_with_our_loader, hand_with_our_step
    profile = cProfile.Profile()
    found = rounds_of(rows, iterations, rounds)
    once(rows["all"], iterations, profile)
    stats: dict[Any, Any] = pstats.Stats(profile).stats
    functions = [
        (f"{Path(file).parent.name}/{Path(file).name}:{line}" if line else "", name, calls, own, total)
        for (file, line, name), (_, calls, own, total, _) in stats.items()
        if "mainspring" in Path(file).parts
    ]
    return {"rounds": found, "functions": sorted(functions, key=lambda one: -one[3])}


def profile_tables(figures: dict[str, Any], iterations: int) -> Iterator[Table]:
    """Return tables of what :func:`profiled` returned."""
    found = {name: [Taken(*one) for one in many] for name, many in figures["rounds"].items()}
    hand, everything, bare = found.pop("by hand"), found.pop("all"), found.pop("all of these")
    loader, step = found.pop("loader"), found.pop("step")
    table = Table("CPU µs of an iteration (least / median)", "more")
    table.add("the loader that can go on anywhere", measure.above(loader, hand))
    table.add("`train_step` of the model, with the optimizer wrapper", measure.above(step, hand))
    table.add("a Runner without default hooks, in all", measure.above(bare, hand))
    for name, without in found.items():
        table.add(f"default hook `{name}`", measure.above(everything, without))
    table.add("a Runner with everything, in all", measure.above(everything, hand))
    yield table
    table = Table("function", "calls", "µs, profiled, by itself", "with what it calls")
    per = MICRO / iterations
    for where, name, calls, own, total in figures["functions"][:30]:
        table.add(f"`{name}` {where}", f"{calls / iterations:.2f}", f"{per * own:.1f}", f"{per * total:.1f}")
    yield table


def in_this_process(what: str, iterations: int, rounds: int) -> None:
    """Measure one engine in this process, or profile mainspring, and print the figures as JSON."""
    warnings.simplefilter("ignore")
    logging.captureWarnings(True)
    torch.set_num_threads(1)
    figures = profiled(iterations, rounds) if what == "profile" else rounds_of(ENGINES[what][1](), iterations, rounds)
    print()
    print(json.dumps(figures))


def main() -> None:
    """Measure and print."""
    parser = measure.parser(__doc__, rounds=7)
    parser.add_argument("--iterations", type=int, default=2000, help="of a round (2000)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="all that are installed")
    parser.add_argument("--profile", action="store_true", help="show where mainspring's microseconds go, and end")
    options = measure.options(parser)
    iterations = 100 if options.short else options.iterations
    report = measure.Report("step_overhead", options)
    if options.profile:
        figures = measure.in_fresh_process(__file__, "--in-this-process", "profile", iterations, options.rounds)
        for one in profile_tables(figures, iterations):
            report.say(one)
        report.keep("profile", figures)
        report.close()
        return
    missing = [name for name in options.engines if not any(map(has, ENGINES[name][0]))]
    table = Table("CPU µs of an iteration (least / median)", "all of it", "above the loop by hand", "promised")
    for engine in options.engines:
        if engine in missing:
            continue
        command = (__file__, "--in-this-process", engine, iterations, options.rounds)
        figures = measure.in_fresh_process(*command)
        report.keep(engine, figures)
        found = {name: [Taken(*one) for one in many] for name, many in figures.items()}
        hand = found.pop("by hand")
        if not table.rows:
            table.add("by hand", measure.low_and_middle(measure.cpu(hand), MICRO))
        for name, many in found.items():
            promised = f"{PROMISED}" if name in ("mainspring, epochs", "mainspring, iterations") else ""
            table.add(name, measure.low_and_middle(measure.cpu(many), MICRO), measure.above(many, hand), promised)
    report.say(table)
    if missing:
        report.say(f"Not installed, and left out: {', '.join(missing)}.")
    report.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-this-process"]:
        in_this_process(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
