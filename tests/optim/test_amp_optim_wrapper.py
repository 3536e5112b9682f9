import pytest
import torch
from torch import nn

from mainspring import AmpOptimWrapper, MessageHub


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, inputs):
        return self.linear(inputs)


def wrap(model, lr=0.1, **options):
    return AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=lr), **options)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("bfloat16", torch.bfloat16),
        (torch.bfloat16, torch.bfloat16),
        ("float16", torch.float16),
        (None, torch.bfloat16),  # torch's choice on the CPU
    ],
)
def test_the_forward_pass_runs_in_lower_precision(dtype, expected):
    model = Half()
    wrapper = wrap(model, dtype=dtype)
    with wrapper.optim_context(model):
        assert model(torch.ones(2, 8)).dtype is expected
    assert model(torch.ones(2, 8)).dtype is torch.float32
    assert model.linear.weight.dtype is torch.float32


def test_bfloat16_needs_no_scale():
    model = Half()
    wrapper = wrap(model, dtype="bfloat16")
    assert not wrapper.loss_scaler.is_enabled()
    with wrapper.optim_context(model):
        loss = model(torch.ones(2, 8)).float().mean()
    wrapper.backward(loss)
    assert 0 < model.linear.weight.grad.abs().max() < 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("clip_grad", [None, {"max_norm": 0.5}])
def test_an_update_is_near_that_of_full_precision(dtype, clip_grad):
    torch.manual_seed(0)
    model, full = Half(), Half()
    full.load_state_dict(model.state_dict())
    wrapper = wrap(model, dtype=dtype, clip_grad=clip_grad, loss_scale=128.0)
    wrapper.message_hub = MessageHub("amp")
    optimizer = torch.optim.SGD(full.parameters(), lr=0.1)
    inputs = torch.randn(16, 8)
    for _ in range(3):
        with wrapper.optim_context(model):
            loss = model(inputs).float().square().mean()
        wrapper.update_params(loss)
        optimizer.zero_grad()
        full(inputs).square().mean().backward()
        if clip_grad:
            norm = nn.utils.clip_grad_norm_(full.parameters(), **clip_grad)
        optimizer.step()
    torch.testing.assert_close(model.linear.weight, full.linear.weight, rtol=0.02, atol=0.002)
    if clip_grad:  # which sees the gradients without their scale
        assert wrapper.message_hub.get_scalar("train/grad_norm").current() == pytest.approx(norm.item(), rel=0.02)


def test_accumulation_divides_by_the_size_of_the_group():
    model = Half()
    wrapper = wrap(model, lr=1.0, dtype="float16", accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 5)
    bias = model.linear.bias.detach().clone()
    moved = []
    for _ in range(5):
        wrapper.update_params(model.linear.bias.sum())
        moved.append((bias - model.linear.bias).mean().item())
    assert moved == pytest.approx([0, 0, 1, 1, 2], abs=1e-5)


def test_small_gradients_survive_in_float16():
    """Without a scale these would vanish: float16 knows nothing below 6e-8."""
    model = Half()
    wrapper = wrap(model, dtype="float16")
    with wrapper.optim_context(model):
        loss = model(torch.ones(1, 8)).float().sum() * 1e-9
    wrapper.backward(loss)
    gradient = model.linear.weight.grad / wrapper.loss_scaler.get_scale()
    assert gradient.mean().item() == pytest.approx(1e-9, rel=0.01)


def test_an_overflow_leaves_the_step_out_and_lowers_the_scale():
    model = Half()
    wrapper = wrap(model, dtype="float16")
    before = model.linear.weight.detach().clone()
    scale = wrapper.loss_scaler.get_scale()
    wrapper.update_params(model.linear.weight.sum() * torch.inf)
    assert torch.equal(model.linear.weight, before)
    assert wrapper.loss_scaler.get_scale() == scale / 2
    wrapper.update_params(model.linear.weight.sum())
    assert not torch.equal(model.linear.weight, before)


def test_a_number_is_a_scale_that_stays():
    model = Half()
    wrapper = wrap(model, dtype="float16", loss_scale=64)
    for factor in (1.0, torch.inf, 1.0):
        wrapper.update_params(model.linear.weight.sum() * factor)
        assert wrapper.loss_scaler.get_scale() == 64


def test_a_dict_holds_options_of_the_scaler():
    wrapper = wrap(Half(), dtype="float16", loss_scale={"init_scale": 4.0, "growth_interval": 1, "growth_factor": 3.0})
    assert wrapper.loss_scaler.get_scale() == 4
    wrapper.update_params(sum(p.sum() for group in wrapper.param_groups for p in group["params"]))
    assert wrapper.loss_scaler.get_scale() == 12


def test_the_scale_is_part_of_the_state():
    model = Half()
    wrapper = wrap(model, dtype="float16")
    wrapper.update_params(model.linear.weight.sum() * torch.inf)
    state = wrapper.state_dict()
    assert {"state", "param_groups", "loss_scaler"} <= state.keys()
    other = wrap(Half(), dtype="float16")
    other.load_state_dict(state)
    assert other.loss_scaler.get_scale() == wrapper.loss_scaler.get_scale() == 2.0**15
    assert other.loss_scaler.state_dict() == wrapper.loss_scaler.state_dict()


@pytest.mark.parametrize(("saved", "loaded"), [("float16", "bfloat16"), ("bfloat16", "float16")])
def test_the_precision_may_change_on_the_way(saved, loaded):
    model = Half()
    wrapper = wrap(model, dtype=saved)
    wrapper.param_groups[0]["lr"] = 0.3  # in the course of the training
    other = wrap(model, dtype=loaded)
    other.load_state_dict(wrapper.state_dict())
    assert other.get_lr() == {"lr": [0.3]}


def test_a_state_without_scale_leaves_the_scaler_new():
    model = Half()
    wrapper = wrap(model, lr=0.3, dtype="float16")
    wrapper.load_state_dict(torch.optim.SGD(model.parameters(), lr=0.3).state_dict())
    assert wrapper.loss_scaler.get_scale() == 2.0**16
    assert wrapper.get_lr() == {"lr": [0.3]}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_a_run_it_is_saved_and_resumed(make_runner, tmp_path, dtype):
    arguments = {
        "optim_wrapper": {
            "type": "AmpOptimWrapper",
            "dtype": dtype,
            "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
        }
    }
    whole = make_runner(**arguments, work_dir=tmp_path / "whole").train()
    make_runner(**arguments, train_cfg={"max_epochs": 1}).train()
    resumed = make_runner(**arguments, resume=True).train()
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dtype": "fp16"}, ValueError, "dtype must be 'float16', 'bfloat16' or None, but it is 'fp16'"),
        ({"dtype": torch.float32}, ValueError, "dtype must be 'float16', 'bfloat16' or None, but it is torch.float32"),
        ({"dtype": 16}, ValueError, "dtype must be 'float16', 'bfloat16' or None, but it is 16"),
        ({"loss_scale": "static"}, ValueError, "loss_scale must be 'dynamic', a number or a dict, but it is 'static'"),
        ({"loss_scale": [2.0]}, TypeError, "loss_scale must be 'dynamic', a number or a dict, but it is a list"),
        ({"loss_scale": True}, TypeError, "loss_scale must be 'dynamic', a number or a dict, but it is a bool"),
    ],
)
def test_impossible_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        wrap(Half(), **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_float16_is_the_default():
    model = Half().cuda()
    wrapper = wrap(model)
    assert wrapper.cast_dtype is torch.float16
    assert wrapper.loss_scaler.is_enabled()
    with wrapper.optim_context(model):
        loss = model(torch.ones(2, 8, device="cuda")).float().mean()
    wrapper.update_params(loss)
    assert torch.isfinite(model.linear.weight).all()


@pytest.fixture
def parameters_keep_their_identity():
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(before)


@pytest.mark.usefixtures("parameters_keep_their_identity")
def test_the_model_may_be_moved_after_the_wrapper_is_made():
    state = wrap(Half(), dtype="float16", loss_scale=64).state_dict()
    model = Half().to("meta")
    wrapper = wrap(model)
    given = wrap(model, dtype="float16")
    given.load_state_dict(state)
    assert wrapper.device_type == "meta"
    model.to_empty(device="cpu")
    nn.init.ones_(model.linear.weight)
    assert wrapper.device_type == "cpu"
    with wrapper.optim_context(model):
        assert model(torch.ones(2, 8)).dtype is torch.bfloat16
    assert given.loss_scaler.get_scale() == 64
    given.update_params(model.linear.weight.sum())
    assert model.linear.weight.flatten().tolist() == pytest.approx([0.9] * 64)


@pytest.mark.usefixtures("parameters_keep_their_identity")
def test_a_scale_moves_with_the_model():
    model = Half()
    wrapper = wrap(model, dtype="float16", loss_scale={"init_scale": 128.0})
    scaler = wrapper.loss_scaler
    wrapper.update_params(model.linear.weight.sum() * torch.inf)
    assert wrapper.loss_scaler is scaler
    model.to("meta")
    assert wrapper.loss_scaler is not scaler
    assert wrapper.loss_scaler.get_scale() == 64


def test_the_first_group_may_be_empty():
    model = Half()
    optimizer = torch.optim.SGD([{"params": []}, {"params": list(model.parameters())}], lr=0.1)
    wrapper = AmpOptimWrapper(optimizer=optimizer)
    wrapper.update_params(model.linear.weight.sum())
    assert wrapper.device_type == "cpu"


def test_an_unknown_option_of_the_scaler_is_refused_at_once():
    with pytest.raises(ValueError, match="initial_scale"):
        wrap(Half(), loss_scale={"initial_scale": 4.0})


def test_a_device_without_lower_precision_is_an_error():
    model = Half().to("meta")
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), dtype="bfloat16")
    with pytest.raises(ValueError, match=r"whose parameters are on 'meta': .*Write type='OptimWrapper'"):
        wrapper.optim_context(model)


def test_weights_that_are_float16_themselves_are_refused():
    model = Half().half()
    with pytest.raises(ValueError, match=r"weights are float16 themselves. Leave out model.half\(\)"):
        wrap(model, dtype="float16").update_params(model.linear.weight.sum())
    wrapper = wrap(model, dtype="bfloat16")  # which needs no scaler
    wrapper.update_params(model.linear.weight.sum())


def test_where_torch_has_no_scaler_the_error_names_the_way_out():
    class Missing(torch.optim.SGD):
        def step(self, closure=None):
            raise NotImplementedError("no such kernel on this device")

    model = Half()
    wrapper = AmpOptimWrapper(optimizer=Missing(model.parameters(), lr=0.1), dtype="float16")
    with pytest.raises(NotImplementedError, match="no such kernel") as caught:
        wrapper.update_params(model.linear.weight.sum())
    assert "on 'cpu'; where torch has none for a device, dtype='bfloat16'" in caught.value.__notes__[0]


@pytest.mark.parametrize("fused", [False, True])
def test_float16_with_a_scaler_trains_on_the_cpu(fused):
    """To the weights of float32 within a hundredth, and no step is left out."""
    torch.manual_seed(0)
    model, full = Half(), Half()
    full.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
    wrapper = AmpOptimWrapper(optimizer=optimizer, dtype="float16", loss_scale={"init_scale": 256.0})
    plain = torch.optim.AdamW(full.parameters(), lr=1e-2)
    inputs, targets = torch.randn(64, 8), torch.randn(64, 8)
    for _ in range(50):
        with wrapper.optim_context(model):
            loss = nn.functional.mse_loss(model(inputs), targets)
        wrapper.update_params(loss)
        plain.zero_grad()
        nn.functional.mse_loss(full(inputs), targets).backward()
        plain.step()
    torch.testing.assert_close(model.linear.weight, full.linear.weight, rtol=0, atol=0.01)
    assert {int(state["step"]) for state in optimizer.state.values()} == {50}


def test_a_name_of_the_log_is_that_of_the_wrapper():
    wrapper = wrap(Half(), dtype="float16", clip_grad={"max_norm": 1.0})
    wrapper.message_hub = MessageHub("named")
    wrapper.log_as("critic")
    wrapper.update_params(wrapper.param_groups[0]["params"][0].sum())
    assert list(wrapper.message_hub.log_scalars) == ["train/critic.grad_norm"]
