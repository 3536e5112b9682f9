import pytest
import torch
from torch import nn

from mainspring.model import (
    convert_sync_batchnorm,
    detect_anomalous_params,
    is_model_wrapper,
    merge_dict,
    revert_sync_batchnorm,
)
from mainspring.model import utils as model_utils
from mainspring.registry import MODEL_WRAPPERS, Registry


def test_the_module_of_that_name_has_them_too():
    for name in model_utils.__all__:
        assert getattr(model_utils, name) is getattr(__import__("mainspring.model", fromlist=[name]), name)


def test_batch_normalisation_over_processes_and_back():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3, affine=False, momentum=None)), nn.InstanceNorm1d(2)
    )
    model[0].running_mean += torch.tensor([1.0, 2.0])
    model[1].eval()
    before, weight, mean = model.state_dict(), model[0].weight, model[0].running_mean
    images = torch.randn(4, 2, 3, 3)
    expected = model[0](images)
    model[0].load_state_dict({key[2:]: value for key, value in before.items() if key.startswith("0.")})
    converted = convert_sync_batchnorm(model)
    assert converted is model
    assert isinstance(model[0], nn.SyncBatchNorm)
    assert isinstance(model[1][0], nn.SyncBatchNorm)
    assert isinstance(model[2], nn.InstanceNorm1d)
    mean = model[0].running_mean
    reverted = revert_sync_batchnorm(model)
    assert reverted is model
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    assert list(model.state_dict()) == list(before)
    assert model[0].weight is weight
    assert model[0].running_mean is mean
    assert isinstance(model[0], nn.modules.batchnorm._BatchNorm)
    assert (model[0].training, model[1][0].training, model[1][0].momentum) == (True, False, None)
    for shape in ((2, 3), (2, 3, 2), (2, 3, 1, 1, 1)):
        assert model[1][0](torch.zeros(shape)).shape == shape
    assert torch.allclose(model[0](images), expected)
    with pytest.raises(ValueError, match="inputs of at least two dimensions, got 1"):
        model[0](torch.zeros(2))


def test_a_batch_normalisation_by_itself():
    layer = convert_sync_batchnorm(nn.BatchNorm1d(2).eval())
    assert type(layer) is nn.SyncBatchNorm
    assert not revert_sync_batchnorm(layer).training
    with pytest.raises(ValueError, match="implementation must be 'torch', but it is 'mmcv'"):
        convert_sync_batchnorm(nn.BatchNorm1d(2), "mmcv")


def test_dicts_become_one():
    assert merge_dict() == {}
    assert merge_dict({"a": 1, "b": 2}, {"a": 3}) == {"a": 3, "b": 2}
    with pytest.raises(TypeError, match=r"merge_dict takes dicts, but argument 1 is 3 \(int\)"):
        merge_dict({}, 3)


def test_parameters_that_a_loss_does_not_depend_on(caplog):
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    inputs = torch.ones(1, 2)
    assert detect_anomalous_params(model["idle"](model["used"](inputs)).sum(), model) == []
    assert detect_anomalous_params(model["used"](inputs).sum(), model) == ["idle.weight", "idle.bias"]
    assert len(detect_anomalous_params(model["used"](inputs).sum().detach(), model)) == 4
    deep = model["used"](inputs)
    for _ in range(5000):
        deep = deep + 1
    assert detect_anomalous_params(deep.sum(), model) == ["idle.weight", "idle.bias"]


def test_modules_around_models():
    layer = nn.Linear(1, 1)
    assert is_model_wrapper(nn.DataParallel(layer))
    assert not is_model_wrapper(layer)
    child = Registry("model_wrapper", parent=MODEL_WRAPPERS, scope="wrappers_test")
    try:

        @child.register_module()
        class Wrapper(nn.Module):
            pass

        assert is_model_wrapper(Wrapper())
        assert is_model_wrapper(Wrapper(), child)
        assert not is_model_wrapper(Wrapper(), Registry("other", scope="wrappers_other"))
    finally:
        del MODEL_WRAPPERS.children["wrappers_test"]
