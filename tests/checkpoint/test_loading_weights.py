import logging

import pytest
import torch
from torch import nn

from mainspring.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_state_dict,
    read_checkpoint,
    save_checkpoint,
    weights_to_cpu,
)


@pytest.fixture
def logger(caplog):
    found = logging.getLogger("weights")
    with caplog.at_level(logging.WARNING, "weights"):
        yield found


def two_layers(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def weights(fill, width=4):
    return {key: torch.full_like(value, fill) for key, value in two_layers(width).state_dict().items()}


def test_what_fits_exactly_is_loaded_without_a_word(logger, caplog):
    for strict in (True, False):
        model = two_layers()
        load_state_dict(model, weights(3), strict, logger)
        assert all(torch.all(value == 3) for value in model.state_dict().values())
    assert caplog.records == []


def test_one_warning_lists_all_that_differs_and_the_rest_is_loaded(logger, caplog):
    model, given = two_layers(), weights(3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    del given["0.bias"]
    given["head.weight"] = torch.ones(1)
    given["2.weight"] = torch.ones(5, 4)
    given["2.bias"] = [1.0, 2.0]
    load_state_dict(model, given, logger=logger, source="'other.pth'")

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().splitlines() == [
        "The weights in 'other.pth' do not fit Sequential.",
        "  missing (1): 0.bias",
        "  not in the model (1): head.weight",
        "  other shapes (2): 2.weight: (5, 4) given, (2, 4) expected, 2.bias: a list given, (2,) expected",
    ]
    after = model.state_dict()
    for key in ("0.bias", "2.weight", "2.bias"):
        assert torch.equal(after[key], before[key]), key
    for key in ("0.weight", "1.weight", "1.running_mean", "1.num_batches_tracked"):
        assert torch.all(after[key] == 3), key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.pop("0.bias"), r"missing \(1\): 0\.bias"),
        (lambda given: given.update(extra=torch.ones(1)), r"not in the model \(1\): extra"),
        (
            lambda given: given.update({"0.bias": torch.ones(7)}),
            r"other shapes \(1\): 0\.bias: \(7,\) given, \(4,\) expected",
        ),
    ],
)
def test_strict_refuses_any_difference_and_loads_nothing(change, message):
    model, given = two_layers(), weights(3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    change(given)
    with pytest.raises(CheckpointError, match=rf"do not fit Sequential\.\n  {message}\nLoad what fits with strict=F"):
        load_state_dict(model, given, strict=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_names_with_colons_are_names(logger):
    model = nn.ModuleDict({"a:b": nn.Linear(1, 1), "a": nn.Linear(1, 1)})
    given = {key: torch.full_like(value, 3) for key, value in model.state_dict().items()}
    given["a:b.weight"] = torch.ones(2, 2)
    load_state_dict(model, given, logger=logger)
    assert model["a"].weight.item() == 3


def test_not_one_name_that_fits_is_an_error_even_if_not_strict():
    given = {f"net.{key}": value for key, value in weights(3).items()}
    with pytest.raises(CheckpointError, match=r"Not one name fits\. If only a prefix differs, rename.*revise_keys"):
        load_state_dict(two_layers(), given)


def test_a_module_without_weights_takes_anything(logger):
    load_state_dict(nn.ReLU(), {}, strict=True)
    load_state_dict(nn.ReLU(), {"a": torch.ones(1)}, logger=logger)


@pytest.fixture
def file(tmp_path):
    def write(state_dict, whole=False):
        path = tmp_path / "weights.pth"
        save_checkpoint(state_dict if whole else {"state_dict": state_dict, "meta": {"epoch": 3}}, path)
        return path

    return write


@pytest.mark.parametrize("whole", [True, False])
def test_the_weights_may_be_the_whole_file(file, whole):
    model = two_layers()
    checkpoint = load_checkpoint(model, file(weights(3), whole), strict=True)
    assert torch.all(model[0].weight == 3)
    assert ("meta" in checkpoint) is not whole


def test_the_prefix_of_parallel_wrappers_is_dropped_at_the_beginning_only(file):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(1, 1)

    given = {f"module.{key}": torch.full_like(value, 3) for key, value in Holder().state_dict().items()}
    model = Holder()
    load_checkpoint(model, file(given), strict=True)
    assert model.module.weight.item() == 3


def test_keys_are_revised_in_order(file):
    given = {f"backbone.stem.{key}": value for key, value in weights(3).items()}
    model = two_layers()
    # A generator on purpose: it can be gone through once only.
    revise = (pair for pair in [(r"^backbone\.", ""), (r"^stem\.(\d)", r"\1")])
    load_checkpoint(model, file(given), strict=True, revise_keys=revise)
    assert all(torch.all(value == 3) for value in model.state_dict().values())


def test_the_message_names_the_file(file, logger, caplog):
    given = weights(3)
    del given["0.bias"]
    path = file(given)
    load_checkpoint(two_layers(), path, logger=logger)
    assert caplog.records[0].getMessage().startswith(f"The weights in {str(path)!r} do not fit Sequential.")
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        load_checkpoint(two_layers(), path, strict=True)


class Moved(nn.Module):
    """Its second version calls the weight by another name."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if local_metadata.get("version", 1) < 2:
            state_dict[prefix + "scale"] = 1 / state_dict[prefix + "scale"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


@pytest.mark.parametrize("ours", [True, False])
def test_modules_see_the_version_that_wrote_their_weights(tmp_path, ours):
    model = nn.Sequential(Moved())
    nn.init.constant_(model[0].scale, 4.0)
    checkpoint = {"state_dict": weights_to_cpu(model.state_dict())}
    (save_checkpoint if ours else torch.save)(checkpoint, tmp_path / "new.pth")
    other = nn.Sequential(Moved())
    load_checkpoint(other, tmp_path / "new.pth", strict=True)
    assert other[0].scale.item() == 4.0

    torch.save({"0.scale": torch.full((1,), 4.0)}, tmp_path / "old.pth")
    load_checkpoint(other, tmp_path / "old.pth", strict=True)
    assert other[0].scale.item() == 0.25


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        self.seen = state["seen"]


def test_what_a_module_keeps_beside_tensors_is_saved_and_loaded(tmp_path):
    moved = weights_to_cpu(Extra(2, 1).state_dict())
    assert moved["_extra_state"] == {"seen": 3}
    save_checkpoint({"state_dict": moved}, tmp_path / "a.pth")
    other = Extra(2, 1)
    load_checkpoint(other, tmp_path / "a.pth", strict=True)
    assert other.seen == 3


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_weights_to_cpu_copies_a_storage_once(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    flat = torch.arange(6.0, device=device)
    turned = flat.view(2, 3).t()
    moved = weights_to_cpu({"a": flat, "tied": flat, "view": flat[2:5], "turned": turned, "other": flat.clone()})
    place = moved["a"].untyped_storage().data_ptr()
    assert [value.untyped_storage().data_ptr() == place for value in moved.values()] == [True, True, True, True, False]
    assert {value.device.type for value in moved.values()} == {"cpu"}
    assert moved["view"].tolist() == [2.0, 3.0, 4.0]
    assert moved["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("strict", [True, False])
def test_a_lazy_module_takes_the_shapes_that_it_is_given(strict, logger, caplog):
    given = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict()
    lazy = nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(2))
    load_state_dict(lazy, given, strict, logger)
    assert torch.equal(lazy[0].weight, given["0.weight"])
    assert torch.equal(lazy[1].bias, given["1.bias"])
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_module_has_no_shapes_to_give(logger, caplog):
    load_state_dict(nn.Linear(3, 4), {**nn.LazyLinear(4).state_dict(), "bias": torch.ones(4)}, False, logger)
    (record,) = caplog.records
    assert "weight: a tensor without a shape yet given, (4, 3) expected" in record.getMessage()


def test_weights_to_cpu_keeps_order_and_versions():
    state_dict = two_layers().state_dict()
    moved = weights_to_cpu(state_dict)
    assert list(moved) == list(state_dict)
    assert all(torch.equal(moved[key], value) for key, value in state_dict.items())
    assert moved._metadata["1"] == {"version": 2}


def test_what_is_loaded_belongs_to_the_model(file):
    model, path = two_layers(), file(weights(3))
    checkpoint = read_checkpoint(path)
    load_state_dict(model, checkpoint["state_dict"])
    nn.init.zeros_(model[0].weight)
    assert torch.all(checkpoint["state_dict"]["0.weight"] == 3)
