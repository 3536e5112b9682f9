"""Graphs of models: equal outputs, and nothing written where they are not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mainspring import BaseDataPreprocessor, BaseModel
from mainspring.infer import export_model


class Net(BaseModel):
    def __init__(self, **options):
        preprocessor = {"type": "ImgDataPreprocessor", "mean": [100.0, 110, 120], "std": [50.0, 60, 70]}
        super().__init__({**preprocessor, **options})
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        scores = self.head(self.norm(self.conv(inputs)).relu().mean((2, 3)))
        return {"loss": F.cross_entropy(scores, data_samples)} if mode == "loss" else scores


def images(count=2, height=10, width=12):
    return torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = Net()
    model(torch.rand(8, 3, 4, 4))  # so that the batch normalisation has seen something
    return model.train()


@torch.no_grad()
def test_normalisation_inside_takes_the_bytes_of_the_loader(net, tmp_path):
    program = export_model(net, {"inputs": images()}, tmp_path / "sub/net.pt2")

    assert net.training  # as it was
    net.eval()
    loaded = torch.export.load(tmp_path / "sub/net.pt2")
    for count in (1, 2, 7):
        batch = images(count)
        expected = net(**net.data_preprocessor({"inputs": batch}))
        for graph in (program.module(), loaded.module()):
            torch.testing.assert_close(graph(inputs=batch), expected)


@torch.no_grad()
def test_normalisation_outside_takes_what_the_preprocessor_returns(net):
    program = export_model(net, (images(1),), normalisation="outside")
    net.eval()
    prepared = torch.rand(3, 3, 10, 12)
    torch.testing.assert_close(program.module()(prepared), net(prepared))


@pytest.mark.parametrize(
    "options",
    [
        {"bgr_to_rgb": True},
        {"mean": None, "std": None},
        {"mean": [7], "std": [3], "rgb_to_bgr": True, "pad_size_divisor": 8, "pad_value": 2.5},
        {"mean": None, "std": None, "rgb_to_bgr": True, "channels_last": True},
    ],
)
@torch.no_grad()
def test_each_option_of_the_preprocessor_is_in_the_graph(options):
    model = Net(**options)
    program = export_model(model, (images(),))
    model.eval()
    (prepared,) = model.data_preprocessor((images(5),))
    torch.testing.assert_close(program.module()(images(5)), model(prepared), rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_size_only(net):
    graph = export_model(net, (images(2),), dynamic_batch=False).module()
    graph(images(2))
    with pytest.raises(AssertionError, match="Guard failed"):
        graph(images(3))


class Several(BaseModel):
    """Takes nested tensors, and something that is none."""

    def forward(self, pair, factor, name, mode="tensor"):
        first, second = pair
        return {"sum": first + factor * second.sum(), "name": [name, first[:, 0]]}


def test_nested_batches_and_what_is_no_tensor():
    first, second = torch.ones(3, 2), torch.tensor([1.0, 2, 3, 4])
    program = export_model(Several(), ((first, second), 2, "x"))
    outputs = program.module()((torch.zeros(5, 2), second))
    assert torch.equal(outputs["sum"], torch.full((5, 2), 20.0))  # factor became a part of the graph
    assert outputs["name"][0] == "x"


class Own(BaseDataPreprocessor):
    def forward(self, data, training=False):
        return {"inputs": self.cast_data(data)["picture"].permute(0, 3, 1, 2) / 255}


@torch.no_grad()
def test_a_preprocessor_of_ones_own_is_followed():
    model = Net()
    model.data_preprocessor = Own()
    picture = images().permute(0, 2, 3, 1)
    program = export_model(model, {"picture": picture})
    torch.testing.assert_close(program.module()(picture=picture), model.eval().test_step({"picture": picture}))


class Random(BaseModel):
    def forward(self, x, mode="tensor"):
        return x + torch.rand_like(x)


class BySize(BaseModel):
    def forward(self, x, mode="tensor"):
        return x[:3] if len(x) > 3 else x


def test_outputs_that_differ_are_not_written(tmp_path):
    with pytest.raises(
        ValueError, match=r"exported graph are not those of the model, within rtol=0\.0001 and atol=1e-05"
    ):
        export_model(Random(), (torch.zeros(2, 3),), tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())
    export_model(Random(), (torch.zeros(2, 3),), atol=1.0)


def test_a_model_without_a_graph_says_what_may_help(tmp_path):
    with pytest.raises(Exception, match="batch") as caught:
        export_model(BySize(), (torch.zeros(2, 3),))
    assert "torch.export followed the model" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"inputs": images()}, TypeError, r"must be a batch .* Write \(images,\)"),
        ({"inputs": {"inputs": "none"}}, ValueError, "no tensor in the inputs"),
        ({"inputs": ([images(1)[0], images(1)[0]],)}, TypeError, r"must be one tensor of shape .* torch\.stack"),
        ({"normalisation": "beside"}, ValueError, "'inside' or 'outside', but it is 'beside'"),
        ({"path": "model.bin"}, ValueError, r"must end with '\.pt2' or '\.onnx'"),
        ({"model": nn.Linear(1, 1)}, TypeError, "export_model: model"),
    ],
)
def test_arguments_that_cannot_be_meant(net, changes, error, words):
    with pytest.raises(error, match=words):
        export_model(**{"model": net, "inputs": (images(),), **changes})
    assert net.training


def test_onnx_that_is_not_installed_is_named_before_any_work(net, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"as ONNX needs onnx, .* pip install 'mainspring\[onnx\]'"):
        export_model(net, (images(),), tmp_path / "a.onnx")


@torch.no_grad()
def test_onnx(net, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    export_model(net, {"inputs": images()}, tmp_path / "net.onnx")

    model = onnx.load(tmp_path / "net.onnx")
    (given,) = model.graph.input
    assert given.name == "inputs"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    (scores,) = ReferenceEvaluator(model).run(None, {"inputs": images(5).numpy()})
    expected = net.eval()(**net.data_preprocessor({"inputs": images(5)}))
    torch.testing.assert_close(torch.from_numpy(scores), expected, rtol=1e-4, atol=1e-5)
