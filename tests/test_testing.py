import sys

import numpy as np
import pytest
import torch
from torch import nn

from mainspring.testing import (
    assert_allclose,
    assert_attrs_equal,
    assert_dict_contains_subset,
    assert_dict_has_keys,
    assert_is_norm_layer,
    assert_keys_equal,
    assert_params_all_zeros,
    check_python_script,
)


def test_numbers_that_are_close():
    assert_allclose(torch.ones(2), np.ones(2))
    assert_allclose([1, 2.0], torch.tensor([1, 2], dtype=torch.float64))
    assert_allclose(torch.tensor(1.0), torch.tensor(1.0 + 5e-5))
    assert_allclose(torch.tensor(torch.nan), torch.tensor(torch.nan))
    for one, other in ((torch.ones(2), torch.zeros(2)), (1, torch.ones(1)), (torch.tensor(1), torch.tensor(2))):
        with pytest.raises(AssertionError):
            assert_allclose(one, other)
    with pytest.raises(AssertionError):
        assert_allclose(torch.tensor(1.0), torch.tensor(1.0 + 5e-5), rtol=1e-6, atol=0)
    with pytest.raises(AssertionError):
        assert_allclose(torch.tensor(torch.nan), torch.tensor(torch.nan), equal_nan=False)
    with pytest.raises(AssertionError, match=r"^not so$"):
        assert_allclose(torch.ones(2), torch.zeros(2), msg="not so")


def test_dicts():
    whole = {"a": 1, "b": torch.ones(2), "c": np.ones(3)}
    assert assert_dict_contains_subset(whole, {"b": torch.ones(2), "c": np.ones(3)})
    for part in ({"d": 1}, {"a": 2}, {"b": torch.zeros(2)}, {"b": torch.ones(3)}, {"c": np.ones((3, 1))}):
        assert not assert_dict_contains_subset(whole, part)
    assert assert_dict_has_keys(whole, ["a", "c"])
    assert not assert_dict_has_keys(whole, ["a", "d"])
    assert assert_keys_equal(["a", "b"], ["b", "a", "a"])
    assert not assert_keys_equal(["a"], ["a", "b"])


def test_attributes():
    layer = nn.Linear(1, 2)
    assert assert_attrs_equal(layer, {"in_features": 1, "bias": layer.bias.detach().clone()})
    assert not assert_attrs_equal(layer, {"in_features": 2})
    assert not assert_attrs_equal(layer, {"out": 2})


def test_layers():
    assert all(
        map(assert_is_norm_layer, (nn.BatchNorm1d(1), nn.LayerNorm(1), nn.GroupNorm(1, 1), nn.InstanceNorm2d(1)))
    )
    assert not assert_is_norm_layer(nn.Linear(1, 1))
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    assert not assert_params_all_zeros(model)
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    assert assert_params_all_zeros(model)


def test_programs(tmp_path, capsys):
    program = tmp_path / "program.py"
    program.write_text("import sys\nif __name__ == '__main__':\n    print(sys.argv[1:])\n    assert len(sys.argv) < 4")
    before = sys.argv
    check_python_script(f"{program} a --b='c d'")
    check_python_script(f"python {program}")
    assert capsys.readouterr().out == "['a', '--b=c d']\n[]\n"
    with pytest.raises(AssertionError):
        check_python_script(f"{program} 1 2 3")
    assert sys.argv is before
