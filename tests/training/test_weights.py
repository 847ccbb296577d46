"""Weights files as people save them: what fits is loaded and told, what does not is named before anything runs."""

import argparse
import pathlib
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.errors import ModelError
from harness.training.weights import Loaded, load_into


def network(classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, classes))


def state(seed: int = 1, classes: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return network(classes).state_dict()


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def loaded(content: Any, folder: Path, key: str | None = None, suffix: str = ".pt") -> tuple[Loaded, nn.Sequential]:
    path = folder / f"weights{suffix}"
    save_file(content, path) if suffix == ".safetensors" else torch.save(content, path)
    model = network()
    return load_into(model, path, key), model


def is_state(model: nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "model.module.", "a.b.c."]
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_prefix_of_all_names_is_removed_and_told(tmp_path: Path, prefix: str, suffix: str) -> None:
    found, model = loaded(prefixed(prefix, state()), tmp_path, suffix=suffix)
    assert is_state(model, state())
    assert found.note == (f"prefix `{prefix}` removed" if prefix else None)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"state_dict": state()}, "state_dict"),
        ({"model": state(), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 3}, "model"),
        ({"model_state_dict": state(), "loss": torch.tensor(0.5)}, "model_state_dict"),
        ({"ema": state()}, "ema"),
        ({"checkpoint": {"model": {"weights": state()}}}, "checkpoint.model.weights"),
        ({"net": state(), "ema_net": state(2), "epoch": 1}, "ema_net"),
        ({"model": state(), "ema_state_dict": prefixed("module.", state(2))}, "ema_state_dict"),
        ({"params": state(), "params_ema": state(2)}, "params_ema"),
        ({"state_dict": state(), "best": state()}, "state_dict"),
        ({"model": state(), "teacher": state(2, classes=7)}, "model"),
    ],
)
def test_the_part_that_fits_is_taken_and_told(tmp_path: Path, content: dict[str, Any], part: str) -> None:
    found, model = loaded(content, tmp_path)
    chosen = content
    for key in part.split("."):
        chosen = chosen[key]
    assert found.part == part
    assert f"part `{part}`" in str(found.note)
    assert is_state(model, {name.removeprefix("module."): value for name, value in chosen.items()})


def test_averaged_and_trained_weights_that_lie_flat_in_one_part_are_told_apart(tmp_path: Path) -> None:
    content = prefixed("online_model.", state(1)) | prefixed("ema_model.", state(2)) | {"initted": torch.tensor(True)}
    found, model = loaded(content, tmp_path)
    assert is_state(model, state(2))
    assert "prefix `ema_model.` removed" in str(found.note)
    assert "`online_model` would fit too" in str(found.note)
    found, model = loaded(content, tmp_path, key="online_model")
    assert is_state(model, state(1))


def test_the_key_chooses_among_parts(tmp_path: Path) -> None:
    content = {"net": state(1), "ema_net": state(2)}
    assert is_state(loaded(content, tmp_path, key="net")[1], state(1))
    with pytest.raises(ModelError, match="no part `ema`") as caught:
        loaded(content, tmp_path, key="ema")
    assert "did you mean `ema_net`?" in str(caught.value)


def test_parts_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"several parts of weights\.pt fit: `first`, `second`") as caught:
        loaded({"first": state(1), "second": state(2)}, tmp_path)
    assert "weights_key" in str(caught.value)


def test_a_lightning_checkpoint_is_read_with_its_hyper_parameters(tmp_path: Path) -> None:
    content = {
        "state_dict": prefixed("model.", state())
        | {"criterion.weight": torch.ones(5), "teacher.0.weight": torch.ones(2)},
        "hyper_parameters": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("runs")),
        "callbacks": {"best": np.float64(0.5), "history": np.arange(3)},
        "epoch": 3,
        "loops": SimpleNamespace(done=True),
    }
    found, model = loaded(content, tmp_path, suffix=".ckpt")
    assert is_state(model, state())
    assert "part `state_dict`, prefix `model.` removed" in str(found.note)
    assert "2 other tensors of the file not taken, such as `criterion.weight`" in str(found.note)


def test_wrappers_inside_the_network_are_removed(tmp_path: Path) -> None:
    inside = {
        name.replace("0.", "0._orig_mod.", 1) if name.startswith("0.") else name: t for name, t in state().items()
    }
    assert is_state(loaded(inside, tmp_path)[1], state())


def test_names_that_lack_the_networks_prefix_get_it(tmp_path: Path) -> None:
    outer = nn.ModuleDict({"backbone": network()})
    torch.save(state(), tmp_path / "inner.pt")
    found = load_into(outer, tmp_path / "inner.pt")
    assert found.note == "prefix `backbone.` added"
    assert is_state(outer["backbone"], state())


def test_counters_of_batch_norm_are_not_needed(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in state().items() if "num_batches" not in name}
    assert loaded(tensors, tmp_path)[0].note is None


def test_tied_weights_may_be_saved_once(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    save_file({"0.weight": torch.eye(4)}, tmp_path / "tied.safetensors")
    load_into(model, tmp_path / "tied.safetensors")
    assert torch.equal(model[1].weight, torch.eye(4))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    content = state(classes=7)
    content["3.biass"] = content.pop("3.bias")
    with pytest.raises(ModelError, match=r"weights weights.pt .* do not fit Sequential") as caught:
        loaded({"state_dict": prefixed("module.", content)}, tmp_path)
    message = str(caught.value)
    assert "part `state_dict`, prefix `module.` removed" in message
    assert "1 of another shape (`3.weight` (7, 16), in the network (5, 16))" in message
    assert "1 missing (`3.bias`, perhaps the file's `3.biass`)" in message
    assert "1 unexpected (`3.biass`)" in message


def test_many_differences_are_counted_and_a_few_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        loaded({f"layer{number}.weight": torch.ones(2) for number in range(50)}, tmp_path)
    assert "50 unexpected (" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_extra_tensors_without_a_prefix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"1 unexpected \(`4.weight`\)"):
        loaded(state() | {"4.weight": torch.ones(2)}, tmp_path)


def test_a_network_inside_another_one_is_refused_where_its_own_names_continue(tmp_path: Path) -> None:
    content = prefixed("model.", state()) | {"model.4.weight": torch.ones(2)}
    with pytest.raises(ModelError, match="1 unexpected"):
        loaded(content, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_of_floats_are_converted_and_told(tmp_path: Path, dtype: torch.dtype) -> None:
    content = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state().items()}
    found, model = loaded(content, tmp_path)
    assert found.note == f"8 tensors of {str(dtype).removeprefix('torch.')} converted to float32"
    assert model[0].weight.dtype == torch.float32


def test_integers_in_place_of_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`0\.weight` is int8 in the file, float32 in the network"):
        loaded(state() | {"0.weight": torch.ones(4, 1, 3, 3, dtype=torch.int8)}, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    content = state()
    content["3.weight"] = content["3.weight"].clone()
    content["3.weight"][0, :2] = value
    with pytest.raises(ModelError, match=r"1 tensors hold NaN or infinity, first `3.weight` \(2 values\)"):
        loaded(content, tmp_path)


def test_a_mask_may_hold_infinity_where_the_network_has_it(tmp_path: Path) -> None:
    model = network()
    model.register_buffer("mask", torch.full((2,), float("-inf")))
    torch.save(model.state_dict(), tmp_path / "mask.pt")
    load_into(model, tmp_path / "mask.pt")


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("evil"),)


class TestOtherFiles:
    def refusal(self, path: Path) -> str:
        with pytest.raises(ModelError) as caught:
            load_into(network(), path)
        assert caught.value.fix
        return str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"garbage", "is damaged"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a pointer of Git LFS"),
            (b"<!DOCTYPE html><html>", "is a web page"),
            (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
            (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(50), "is an ONNX file"),
            (b"PK\x03\x04" + bytes(100), "is damaged or was cut off"),
            ((10**6).to_bytes(8, "little") + b'{"a"', "is damaged or was cut off"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_are_named_by_their_content(self, tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content)
        told = self.refusal(path)
        assert message in told
        assert "weights_only=False" not in told

    def test_code_in_a_file_is_not_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        torch.save({"weight": Evil()}, tmp_path / "evil.pt")
        assert "reading them would run code from the file" in self.refusal(tmp_path / "evil.pt")
        assert not (tmp_path / "evil").exists()

    def test_a_whole_network_is_told_how_to_be_saved_again(self, tmp_path: Path) -> None:
        torch.save(network(), tmp_path / "whole.pt")
        told = self.refusal(tmp_path / "whole.pt")
        assert "`torch.nn.modules.container.Sequential`" in told
        assert "c.state_dict()" in told

    def test_a_script_module_is_told_how_to_be_saved_again(self, tmp_path: Path) -> None:
        torch.jit.save(torch.jit.trace(network(), torch.zeros(1, 1, 4, 4)), tmp_path / "script.pt")
        assert "torch.jit.load" in self.refusal(tmp_path / "script.pt")

    def test_another_archive_is_told_with_what_it_holds(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
            archive.writestr("readme.txt", "hello")
        assert "it holds readme.txt" in self.refusal(tmp_path / "a.pth")

    def test_a_file_without_a_state_dict_is_refused(self, tmp_path: Path) -> None:
        torch.save([torch.zeros(2)], tmp_path / "list.pt")
        assert "holds no state dict" in self.refusal(tmp_path / "list.pt")

    def test_a_cut_file_is_refused(self, tmp_path: Path) -> None:
        torch.save(state(), tmp_path / "whole.pt")
        (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-400])
        assert "is damaged" in self.refusal(tmp_path / "cut.pt")
