"""Weights that a stage wrote come back as they were; for another network they are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.errors import ModelError, StageError
from harness.stages.configs import ModelConfig, TrainConfig
from harness.stages.loading import load_user_weights, load_weights


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    source, network = nn.Linear(3, 2), nn.Linear(3, 2)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    load_weights(network, tmp_path / "weights.safetensors")
    assert torch.equal(network.weight, source.weight)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(nn.Linear(4, 2).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="do not fit Linear"):
        load_weights(nn.Linear(3, 2), tmp_path / "weights.safetensors")


def test_a_users_file_that_changed_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(nn.Linear(3, 2).state_dict(), path)
    model = ModelConfig(
        factory="a.b:f", args={}, input_shape=(1, 1, 3), n_classes=2, seed=0, source_sha256="s", root=tmp_path
    )
    config = TrainConfig(model=model, data=None, recipe=None, weights_sha256="0" * 64, weights_path=path)
    with pytest.raises(StageError, match=r"weights\.pt changed during the run"):
        load_user_weights(nn.Linear(3, 2), config)
