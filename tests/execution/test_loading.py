"""Weights files are read without running what is in them, and refused in our own words."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.errors import ModelError
from harness.execution.loading import load_weights


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_state_dict_is_loaded(tmp_path: Path, suffix: str) -> None:
    source, network = nn.Linear(3, 2), nn.Linear(3, 2)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save(source.state_dict(), path)
    load_weights(network, path)
    assert torch.equal(network.weight, source.weight)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_file_is_told_without_advice_to_run_it(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged, or no file of tensors alone") as caught:
        load_weights(nn.Linear(3, 2), path)
    assert "weights_only" not in str(caught.value)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="no file of tensors alone"):
        load_weights(nn.Linear(3, 2), tmp_path / "evil.pt")
    assert not (tmp_path / "evil").exists()


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="holds no state dict"):
        load_weights(nn.Linear(3, 2), tmp_path / "list.pt")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"weights other\.pt do not fit Linear"):
        load_weights(nn.Linear(3, 2), tmp_path / "other.pt")
