import ast
from pathlib import Path

import pytest
import torch

from harness.training.factory import load_factory

ROOT = Path(__file__).parents[2]
SMALL = ["models/resnet.py:resnet8", "models/mobilenet.py:mobilenet_v2_small"]


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def resnet18():
    return load_factory("models/resnet.py:resnet18", ROOT)().eval()


@pytest.mark.parametrize("file", sorted((ROOT / "models").glob("*.py")), ids=lambda file: file.name)
def test_models_are_plain_torch(file):
    tree = ast.parse(file.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= {"__future__", "collections", "torch"}


@pytest.mark.parametrize("text", SMALL)
def test_output_is_one_logit_per_class_whatever_the_arguments(text):
    model = load_factory(text, ROOT)(in_channels=3, n_classes=7, width=8).eval()
    with torch.no_grad():
        assert model(torch.zeros(5, 3, 32, 32)).shape == (5, 7)


@pytest.mark.parametrize("text", SMALL)
def test_export_with_a_dynamic_batch_gives_the_same_logits(text):
    model = load_factory(text, ROOT)().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (torch.zeros(2, 1, 28, 28),), dynamic_shapes=({0: batch},)).module()
    x = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model(x))


def test_resnet8_has_seven_convolutions_of_3x3_and_two_shortcuts():
    model = load_factory("models/resnet.py:resnet8", ROOT)()
    kernels = [m.kernel_size[0] for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert (kernels.count(3), kernels.count(1)) == (7, 2)
    # 3x3: 9 * (1*16 + 2*16*16 + 16*32 + 32*32 + 32*64 + 64*64) = 9 * 8208 = 73872; 1x1: 16*32 + 32*64 = 2560
    # batch norm, scale and shift: 2 * (16 + 2*16 + 3*32 + 3*64) = 672; head: 64*10 + 10 = 650
    assert count_parameters(model) == 73872 + 2560 + 672 + 650


def test_resnet18_is_the_papers(resnet18):
    # torchvision's resnet18 documents 11,689,512 parameters.
    assert count_parameters(resnet18) == 11_689_512
    shapes = {}
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        module = resnet18.get_submodule(name)
        module.register_forward_hook(lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    with torch.no_grad():
        assert resnet18(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    # "Deep Residual Learning", table 1: the sizes after conv2_x to conv5_x.
    assert shapes == {
        "stem": (64, 56, 56),
        "layer1": (64, 56, 56),
        "layer2": (128, 28, 28),
        "layer3": (256, 14, 14),
        "layer4": (512, 7, 7),
    }


def test_mobilenet_has_a_depthwise_convolution_in_every_block():
    model = load_factory("models/mobilenet.py:mobilenet_v2_small", ROOT)()
    depthwise = [
        name for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d) and m.groups == m.in_channels > 1
    ]
    assert depthwise == [f"blocks.{index}.depthwise.conv" for index in range(5)]
    assert 70_000 < count_parameters(model) < 80_000


def test_names_say_what_a_layer_is():
    resnet = dict(load_factory("models/resnet.py:resnet8", ROOT)().named_modules())
    assert {"stem.conv", "layer1.0.conv1", "layer1.0.bn1", "layer2.0.shortcut.conv", "head"} <= set(resnet)
    mobilenet = dict(load_factory("models/mobilenet.py:mobilenet_v2_small", ROOT)().named_modules())
    assert {"stem.conv", "blocks.0.expand.conv", "blocks.0.project.bn", "features.conv", "head"} <= set(mobilenet)


def test_mobilenet_v2_is_torchvisions_by_name_and_size():
    model = load_factory("models/mobilenet_v2.py:mobilenet_v2", ROOT)()
    # torchvision's mobilenet_v2 documents 3,504,872 parameters.
    assert count_parameters(model) == 3_504_872
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    # Names and shapes in torchvision's file mobilenet_v2-b0353104.pth; it has 314 tensors.
    assert len(shapes) == 314
    assert shapes["features.0.0.weight"] == (32, 3, 3, 3)
    assert shapes["features.1.conv.0.0.weight"] == (32, 1, 3, 3)
    assert shapes["features.1.conv.1.weight"] == (16, 32, 1, 1)
    assert shapes["features.17.conv.3.running_var"] == (320,)
    assert shapes["classifier.1.weight"] == (1000, 1280)
