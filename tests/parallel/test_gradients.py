"""Two processes update with the same gradients, however a step computes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parallel_programs import torchrun

DIRECTLY = ["self.forward", "self.loss", "two passes", "accumulation, self.loss", "AMP, float16"]
"""Cases whose losses do not come from a call of the model itself."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gradients")
    done = torchrun("gradients.py", folder)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


def same(first: Any, second: Any) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_gradients_and_weights_are_the_same_in_both(ranks: list[dict[str, Any]]) -> None:
    for name, first in ranks[0].items():
        second = ranks[1][name]
        assert first["gradients"], name
        same(first["gradients"], second["gradients"])
        same(first["weights"], second["weights"])
        assert any(float(one.abs().sum()) > 0 for one in first["gradients"][-1] if one is not None), name


def test_parameters_that_no_process_has_used_get_no_gradient(ranks: list[dict[str, Any]]) -> None:
    for name in ("branches", "branches, averaged later"):
        used = [[one is not None for one in step] for step in ranks[0][name]["gradients"]]
        assert {tuple(step[-2:]) for step in used} == {(False, False)}
        assert any(all(step[:-2]) for step in used)  # where the processes took different branches
    same(ranks[0]["branches"]["weights"], ranks[0]["branches, averaged later"]["weights"])


@pytest.mark.parametrize(
    "name", ["self.forward", "self.loss", "static graph", "closure", "compiled", "seeds of their own"]
)
def test_the_way_of_calling_does_not_change_the_result(ranks: list[dict[str, Any]], name: str) -> None:
    torch.testing.assert_close(ranks[0][name]["weights"], ranks[0]["plain"]["weights"])


def test_accumulated_gradients_are_exchanged_once_an_update(ranks: list[dict[str, Any]]) -> None:
    same(ranks[0]["accumulation"]["weights"], ranks[0]["accumulation, self.loss"]["weights"])
    assert len(ranks[0]["accumulation"]["gradients"]) == 2


def test_it_is_said_once_where_gradients_are_averaged_before_the_step(ranks: list[dict[str, Any]]) -> None:
    said = {name: seen["log"].count("averaged over the processes all at once") for name, seen in ranks[0].items()}
    assert {name for name, times in said.items() if times} == set(DIRECTLY)
    assert set(said.values()) == {0, 1}


def test_the_model_stays_what_it_is(ranks: list[dict[str, Any]]) -> None:
    for name, seen in ranks[0].items():
        assert seen["is_routed"] == (name not in ("GAN", "branches, averaged later"))
        assert not any("module" in key for key in seen["weights"])
        assert seen["names_of_copy"] == list(seen["weights"])
        same(*seen["outputs"])
