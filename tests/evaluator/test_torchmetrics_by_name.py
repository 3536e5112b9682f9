"""Every classification, regression and detection metric of torchmetrics works by its name, with its own results."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("torchmetrics")

_spec = importlib.util.spec_from_file_location("torchmetrics_cases", Path(__file__).with_name("torchmetrics_cases.py"))
cases = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = cases
_spec.loader.exec_module(cases)

pytestmark = pytest.mark.filterwarnings("ignore")  # torchmetrics warns of much


def flat(value):
    """Return the numbers in whatever a metric computes."""
    if isinstance(value, torch.Tensor):
        return value.double().reshape(-1).tolist()
    if isinstance(value, dict):
        value = list(value.values())
    return [number for one in value for number in flat(one)] if isinstance(value, (list, tuple)) else [float(value)]


@pytest.mark.parametrize("name", [name for name in cases.names() if name not in cases.OPTIONAL])
def test_by_name(name):
    one = cases.case(name)
    assert flat(one.by_name()) == pytest.approx(flat(one.directly()), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", cases.OPTIONAL)
def test_those_that_need_other_libraries_say_so(name):
    one = cases.case(name)
    try:
        expected = one.directly()
    except ModuleNotFoundError as error:
        with pytest.raises(ModuleNotFoundError, match=str(error)[:40]):
            one.by_name()
    else:
        assert flat(one.by_name()) == pytest.approx(flat(expected), nan_ok=True)


def test_the_page_says_which_were_run():
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = [line for line in cases.table().splitlines() if "| no: needs" not in line]
    assert len(rows) > 120
    assert [row for row in rows if row not in page] == []
