"""QAT from data loaders of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from harness.errors import DataError, StageError, UsageError
from harness.quantization.prepared import activation_quantizers
from harness.supergradients.calibration import QuantizationCalibrator
from harness.supergradients.finetune import finetune, fit_loaders, loader_top1
from harness.supergradients.selective import QuantDescriptor, QuantizedNetwork, SelectiveQuantizer
from harness.training.settings import QATParams, Recipe, qat_recipe


def make_loader(n: int = 64, batch_size: int = 16, seed: int = 0) -> DataLoader:
    """Points whose label is the sign of their first coordinate."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=batch_size)


def make_network(
    calibrated: bool = True, selective: SelectiveQuantizer | None = None, **options: object
) -> QuantizedNetwork:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    selective = selective or SelectiveQuantizer(verbose=False, **options)
    network = selective.quantize_module(model, input_shape=(4,))
    if calibrated:
        QuantizationCalibrator(verbose=False).calibrate_model(network, make_loader())
    return network


class Judge:
    """Gives labels of which the network gets the wanted share right, epoch by epoch."""

    def __init__(self, model: nn.Module, accuracies: list[float]) -> None:
        self.model, self.accuracies = model, accuracies
        self.seen: list[dict[str, torch.Tensor]] = []

    def __iter__(self):
        x = torch.randn(10, 4)
        with torch.no_grad():
            labels = self.model(x).argmax(1)
        right = round(10 * self.accuracies[len(self.seen)])
        self.seen.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        yield x, torch.cat([labels[:right], 1 - labels[right:]])


PARAMS = {"max_epochs": 3, "initial_lr": 0.3, "lr_warmup_epochs": 0}


def test_a_quantized_network_learns_in_place_and_stays_quantized() -> None:
    network = make_network()
    before, _ = loader_top1(network, make_loader(256, seed=1))
    log = finetune(network, make_loader(), make_loader(256, seed=1), PARAMS)
    # 64 samples in batches of 16, three times
    assert (log.steps, log.train_samples, log.validation_samples, len(log.epochs)) == (12, 64, 256, 3)
    after, _ = loader_top1(network, make_loader(256, seed=1))
    assert after == log.best.validation_top1
    assert after > max(before, 0.85)
    assert network.is_calibrated and not network.training


def test_the_best_epoch_is_kept() -> None:
    network = make_network()
    model = network.prepared
    accuracies = [0.2, 0.9, 0.5]
    judge = Judge(model, accuracies)
    log = fit_loaders(model, make_loader(), judge, Recipe(**PARAMS))
    assert [epoch.validation_top1 for epoch in log.epochs] == accuracies
    assert log.best_epoch == 2
    assert all(torch.equal(tensor, judge.seen[1][name]) for name, tensor in model.state_dict().items())


def test_training_stops_when_epochs_bring_nothing() -> None:
    model = make_network().prepared
    judge = Judge(model, [0.5, 0.6, 0.6, 0.4, 0.9])
    log = fit_loaders(model, make_loader(), judge, Recipe(**PARAMS | {"max_epochs": 9}, early_stop_epochs=2))
    assert (len(log.epochs), log.best_epoch) == (4, 2)


class TestRanges:
    def scales(self, network: QuantizedNetwork) -> list[float]:
        return [float(quantizer.scale) for quantizer in activation_quantizers(network.prepared)]

    def test_stay_as_calibrated(self) -> None:
        network = make_network()
        before = self.scales(network)
        finetune(network, make_loader(), make_loader(), PARAMS)
        assert self.scales(network) == before

    def test_are_learned_when_the_quantizer_says_so(self) -> None:
        network = make_network(default_learn_amax=True)
        before = self.scales(network)
        finetune(network, make_loader(), make_loader(), PARAMS)
        assert all(new != old for new, old in zip(self.scales(network), before, strict=True))

    def test_are_learned_where_a_descriptor_says_so(self) -> None:
        selective = SelectiveQuantizer(verbose=False)
        descriptor = QuantDescriptor(learn_amax=True)
        selective.register_quantization_mapping(layer_names={"2"}, input_quant_descriptor=descriptor)
        network = make_network(selective=selective)
        before = self.scales(network)
        finetune(network, make_loader(), make_loader(), PARAMS)
        changed = [new != old for new, old in zip(self.scales(network), before, strict=True)]
        assert changed == [False, True]  # the network's input, and the input of the last layer


def test_the_learning_rate_follows_the_recipe() -> None:
    rates: list[float] = []
    params = PARAMS | {"max_epochs": 2, "cosine_final_lr_ratio": 0.1}
    finetune(make_network(), make_loader(), make_loader(), params, on_epoch=lambda epoch: rates.append(epoch.lr))
    # 8 steps; the last has a tenth of 0.3, the fourth 0.03 + 0.135 * (1 + cos(3 pi / 7)) = 0.195
    assert rates == pytest.approx([0.195, 0.03], abs=1e-3)


def test_the_rules_for_qat_make_the_parameters() -> None:
    recipe = qat_recipe(Recipe(max_epochs=10, initial_lr=0.1), QATParams())
    log = finetune(make_network(), make_loader(), make_loader(), recipe)
    assert len(log.epochs) == 1


def test_the_checkpoint_reloads_to_identical_outputs(tmp_path: Path) -> None:
    network = make_network()
    finetune(network, make_loader(), make_loader(), PARAMS, checkpoint=tmp_path / "qat" / "best.safetensors")
    other = make_network(calibrated=False)
    other.load(tmp_path / "qat" / "best.safetensors")
    x = torch.randn(7, 4)
    assert torch.equal(other(x), network(x))


def test_a_loss_of_ones_own_is_used() -> None:
    calls = []

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(len(labels))
        return nn.functional.multi_margin_loss(logits, labels)

    finetune(make_network(), make_loader(), make_loader(), PARAMS | {"max_epochs": 1}, loss=loss)
    assert calls == [16, 16, 16, 16]


def test_float_networks_train_from_loaders_too() -> None:
    model = nn.Linear(4, 2)
    log = fit_loaders(model, make_loader(), make_loader(256, seed=1), Recipe(**PARAMS, ema=True))
    assert log.best.validation_top1 > 0.85


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (DataLoader(Endless()), "the training loader has no length"),
        ([], "the training loader has no batch"),
        ([torch.zeros(2, 4)], "the training loader gave Tensor"),
    ],
)
def test_loaders_that_cannot_train_are_refused(train, message: str) -> None:
    with pytest.raises(DataError, match=message):
        finetune(make_network(), train, make_loader(), PARAMS)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits.sum() * float("nan")

    with pytest.raises(StageError, match="training diverged: the loss is nan at step 1") as caught:
        finetune(make_network(), make_loader(), make_loader(), PARAMS, loss=loss)
    assert "it is 0.3" in str(caught.value.fix)


def test_an_empty_validation_loader_is_refused() -> None:
    with pytest.raises(DataError, match="the validation loader gave no batch"):
        finetune(make_network(), make_loader(), [], PARAMS)


@pytest.mark.parametrize(
    ("change", "message", "fix"),
    [
        ({"max_epoch": 3}, "unknown key in `training_params` `max_epoch`", "did you mean `max_epochs`?"),
        ({"initial_lr": -1.0}, "`initial_lr` of `training_params`: input should be greater than 0", None),
        ({"distillation": {}}, "`distillation` needs a teacher", None),
        ({"batch_size": 8}, "`batch_size` of `training_params` is decided by the loader", "delete `batch_size`"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(change: dict, message: str, fix: str | None) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        finetune(make_network(), make_loader(), make_loader(), PARAMS | change)
    assert caught.value.fix if fix is None else caught.value.fix == fix


def test_a_network_without_ranges_is_refused() -> None:
    with pytest.raises(StageError, match="QAT: the network is not calibrated"):
        finetune(make_network(calibrated=False), make_loader(), make_loader(), PARAMS)


def test_a_float_network_is_refused_with_the_way_to_quantize_it() -> None:
    with pytest.raises(UsageError, match="Linear is not quantized"):
        finetune(nn.Linear(4, 2), make_loader(), make_loader(), PARAMS)


def test_a_teacher_is_learned_from() -> None:
    """With all weight on the teacher, labels do not matter: random ones teach nothing, the teacher does."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 2))
    inputs = torch.randn(256, 4)
    wrong = [(inputs[i : i + 16], torch.randint(0, 2, (16,))) for i in range(0, 256, 16)]
    right = [(inputs, teacher(inputs).argmax(dim=1))]
    params = PARAMS | {"distillation": {"weight": 1.0, "temperature": 1.0}}
    log = finetune(make_network(), wrong, right, params, teacher=teacher)
    assert log.best.validation_top1 > 0.85
