import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.errors import ModelError
from harness.training.factory import build_model, load_factory
from harness.training.model_files import keep_importable

NET = """
import torch
{imports}

def net(width=4, *, n_classes=3):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 3 * 3, width), torch.nn.Linear(width, n_classes))

def other():
    return net()

def needs(required):
    return net()

def breaks():
    raise RuntimeError("no luck")

def not_a_module():
    return 3

def image_to_image():
    return torch.nn.Identity()

def double():
    return net().double()

class Exiting(torch.nn.Module):
    def forward(self, x):
        raise SystemExit(0)

class Casting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net().bfloat16()

    def forward(self, x):
        return self.net(x.bfloat16()).float()
"""


@pytest.fixture
def root(tmp_path):
    """A project with `models/net.py`."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.py").write_text(NET.format(imports=""))
    return tmp_path


def build(text, root, args=None, **fields):
    defaults = {"seed": 0, "input_shape": (2, 3, 3), "n_classes": 3}
    return build_model(text, args or {}, root=root, **(defaults | fields))


class TestLoad:
    def test_a_file_below_the_root(self, root):
        assert isinstance(load_factory("models/net.py:net", root)(), torch.nn.Sequential)

    def test_an_absolute_file(self, root):
        assert isinstance(load_factory(f"{root}/models/net.py:net", Path("/"))(), torch.nn.Sequential)

    def test_an_importable_module(self, root):
        assert load_factory("torch.nn:Identity", root) is torch.nn.Identity

    def test_the_process_stays_clean(self, root):
        (root / "models" / "helper_one.py").write_text("VALUE = 1")
        (root / "models" / "net.py").write_text(NET.format(imports="import helper_one\nimport models.helper_one"))
        path, modules = list(sys.path), set(sys.modules)
        load_factory("models/net.py:net", root)
        assert sys.path == path
        assert [name for name in set(sys.modules) - modules if not name.startswith("_harness_models_")] == []

    @pytest.mark.parametrize(
        "line",
        [
            "from .helper import VALUE",
            "from . import helper; VALUE = helper.VALUE",
            "from helper import VALUE",
            "from models.helper import VALUE",
        ],
    )
    def test_a_sibling_may_be_imported_in_any_way(self, root, line):
        (root / "models" / "helper.py").write_text("VALUE = 5")
        (root / "models" / "net.py").write_text(NET.format(imports=line) + "\ndef value():\n    return VALUE\n")
        assert load_factory("models/net.py:value", root)() == 5

    def test_a_sibling_may_be_imported_when_the_factory_runs(self, root):
        (root / "models" / "late.py").write_text("CLASSES = 3")
        (root / "models" / "net.py").write_text(
            NET.format(imports="") + "\ndef lazy():\n    from late import CLASSES\n    return net(n_classes=CLASSES)\n"
        )
        assert isinstance(build("models/net.py:lazy", root), torch.nn.Module)

    def test_two_projects_may_use_the_same_names(self, tmp_path):
        for project, value in (("one", 1), ("two", 2)):
            folder = tmp_path / project / "models"
            folder.mkdir(parents=True)
            (folder / "shared.py").write_text(f"VALUE = {value}")
            (folder / "net.py").write_text("from shared import VALUE\ndef value():\n    return VALUE\n")
        values = [load_factory("models/net.py:value", tmp_path / project)() for project in ("one", "two", "one")]
        assert values == [1, 2, 1]

    def test_two_projects_may_use_the_same_names_beside_models(self, tmp_path):
        for project, value in (("one", 1), ("two", 2)):
            for folder in ("models", "helpers"):
                (tmp_path / project / folder).mkdir(parents=True)
            (tmp_path / project / "helpers" / "shared.py").write_text(f"VALUE = {value}")
            net = "from helpers.shared import VALUE\ndef value():\n    return VALUE\n"
            (tmp_path / project / "models" / "net.py").write_text(net)
        values = [load_factory("models/net.py:value", tmp_path / project)() for project in ("one", "two", "one")]
        assert values == [1, 2, 1]

    def test_a_network_may_import_when_it_runs(self, root):
        (root / "models" / "late.py").write_text("SCALE = 3.0")
        (root / "models" / "net.py").write_text(
            "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        from late import SCALE\n"
            "        return x.flatten(1)[:, :3] * SCALE\ndef net():\n    return Net()\n"
        )
        keep_importable(None)  # what another test left
        path, modules = list(sys.path), set(sys.modules)
        keep_importable(root / "models" / "net.py")
        try:
            model = build("models/net.py:net", root)
            assert model(torch.ones(1, 2, 3, 3)).tolist() == [[3.0, 3.0, 3.0]]
        finally:
            keep_importable(None)
        assert sys.path == path
        assert "late" not in set(sys.modules) - modules

    def test_an_edited_file_is_read_again(self, root):
        load_factory("models/net.py:net", root)
        (root / "models" / "net.py").write_text("def net():\n    return 'edited'\n")
        assert load_factory("models/net.py:net", root)() == "edited"

    def test_a_network_with_a_sibling_can_be_captured(self, root):
        (root / "models" / "blocks.py").write_text(
            "import torch\nclass Head(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.linear = torch.nn.Linear(18, 3)\n    def forward(self, x):\n"
            "        return self.linear(x.flatten(1))\n"
        )
        (root / "models" / "net.py").write_text("from blocks import Head\ndef net():\n    return Head()\n")
        model = build("models/net.py:net", root)
        exported = torch.export.export(model, (torch.zeros(2, 2, 3, 3),)).module()
        assert exported(torch.zeros(2, 2, 3, 3)).shape == (2, 3)

    @pytest.mark.parametrize(
        ("text", "message", "fix"),
        [
            ("models/nett.py:net", r"there is no file .*nett\.py", "did you mean `net.py`?"),
            ("model/net.py:net", "there is no folder", "correct the model's `factory`"),
            ("models/net.py:nett", "unknown function in models/net.py `nett`", "did you mean `net`?"),
            ("models/net.py", "is not a model factory", "write `FILE.py:FUNCTION`"),
            ("no_such_package.sub:net", "there is no module `no_such_package`", "install it"),
            ("torch.nn:Lineer", "unknown function in torch.nn `Lineer`", "did you mean `Linear`?"),
        ],
    )
    def test_what_is_missing_is_named_with_the_nearest(self, root, text, message, fix):
        with pytest.raises(ModelError, match=message) as error:
            load_factory(text, root)
        assert fix in (error.value.fix or "")

    def test_an_error_in_the_file_names_its_line(self, root):
        (root / "models" / "net.py").write_text("import torch\n\nundefined_name\n")
        with pytest.raises(ModelError, match=r"NameError: .*undefined_name.* \(line 3\)"):
            load_factory("models/net.py:net", root)

    def test_a_syntax_error_names_its_line(self, root):
        (root / "models" / "net.py").write_text("def net(:\n")
        with pytest.raises(ModelError, match=r"SyntaxError.*\(line 1\)"):
            load_factory("models/net.py:net", root)


class TestBuild:
    def test_equal_seeds_give_equal_weights_and_others_do_not(self, root):
        weights = [build("models/net.py:net", root, seed=seed)[1].weight for seed in (1, 1, 2)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_the_global_random_state_is_left_alone(self, root):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        build("models/net.py:net", root, seed=9)
        assert torch.equal(torch.rand(1), expected)

    def test_arguments_reach_the_factory(self, root):
        assert build("models/net.py:net", root, {"width": 7})[1].out_features == 7

    def test_the_network_is_in_eval_mode(self, root):
        assert not build("models/net.py:net", root).training

    @pytest.mark.parametrize(
        ("function", "args", "message", "fix"),
        [
            ("net", {"widht": 3}, "unknown argument of .* `widht`", "did you mean `width`?"),
            ("other", {"width": 3}, "unknown argument", "takes no arguments"),
            ("needs", {}, "missing a required argument: 'required'", "(required)"),
            ("net", {"width": "wide"}, "failed: TypeError", "correct `args`"),
            ("breaks", {}, "failed: RuntimeError: no luck", "correct `args`"),
            ("not_a_module", {}, "returned int", "return a torch.nn.Module"),
            ("image_to_image", {}, r"returned \(2, 2, 3, 3\) for 2 samples", r"return logits"),
            ("net", {"n_classes": 5}, "has 5 outputs, the data set 3 classes", "number of classes to 3"),
        ],
    )
    def test_what_does_not_fit_is_an_error_with_the_fix(self, root, function, args, message, fix):
        with pytest.raises(ModelError, match=message) as error:
            build(f"models/net.py:{function}", root, args)
        assert fix in (error.value.fix or "")

    def test_a_network_for_other_images_is_an_error_with_the_shape(self, root):
        with pytest.raises(ModelError, match=r"cannot run on an input of shape \(2, 1, 28, 28\)"):
            build("models/net.py:net", root, input_shape=(1, 28, 28))

    def test_a_network_of_another_number_type_becomes_float32(self, root):
        model = build("models/net.py:double", root)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}

    def test_a_network_that_casts_by_itself_is_an_error_that_says_so(self, root):
        with pytest.raises(ModelError, match="was written in bfloat16 and cannot run in float32") as error:
            build("models/net.py:Casting", root)
        assert "leave out the casts" in (error.value.fix or "")

    def test_a_network_that_ends_the_process_when_it_runs_is_told_so(self, root):
        with pytest.raises(ModelError, match=r"ended the process when it ran: SystemExit") as error:
            build("models/net.py:Exiting", root)
        assert "sys.exit" in (error.value.fix or "")


def test_standard_streams_that_a_model_file_closes_are_open_again(root):
    closing = "import os, sys\nsys.stdout.close()\nfor number in (0, 1, 2): os.close(number)\n"
    (root / "models" / "closing.py").write_text(closing + NET.format(imports=""))
    script = (
        "import sys; from pathlib import Path; from harness.training.factory import build_model\n"
        "build_model('models/closing.py:net', {}, root=Path(), seed=0, input_shape=(2, 3, 3))\n"
        "print('out'); print('err', file=sys.stderr); assert sys.stdin.read() == 'in'"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=root, input="in", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
