import math

import pytest
import torch
from safetensors.torch import load, save_file
from torch import nn

from harness.data.samples import Samples
from harness.errors import DataError, StageError
from harness.training.checkpoint import Checkpoint, UnusableCheckpoint
from harness.training.inference import predict, top1
from harness.training.loop import fit
from harness.training.settings import Distillation, Recipe
from harness.training.validation import hold_out

SIDE = 8


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def stripes(n, seed=0):
    """Two classes that a convolution tells apart: horizontal and vertical stripes, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    horizontal = (torch.arange(SIDE) % 2).view(SIDE, 1).expand(SIDE, SIDE) * 120
    pattern = torch.where(labels.view(-1, 1, 1).bool(), horizontal.T, horizontal)
    images = (pattern + torch.randint(0, 100, (n, SIDE, SIDE), generator=generator)).to(torch.uint8)
    return Samples(images.unsqueeze(1), labels, mean=(0.4,), std=(0.25,))


class Net(nn.Module):
    def __init__(self, dropout=0.0, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, 2)

    def forward(self, x):
        return self.head(self.dropout(self.pool(self.relu(self.bn(self.conv(x)))).flatten(1)))


def make_net(seed=0, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(**kwargs)


def recipe(**fields):
    defaults = {"max_epochs": 3, "batch_size": 16, "initial_lr": 0.1, "augmentations": ()}
    return Recipe(**(defaults | fields))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class TestFit:
    def test_it_learns_what_can_be_learnt(self):
        model = make_net()
        assert top1(model, stripes(100, seed=2)) < 0.8
        fit(model, stripes(200), stripes(40, seed=1), recipe())
        assert top1(model, stripes(100, seed=2)) > 0.95

    def test_adamw_learns_too(self):
        model = make_net()
        fit(model, stripes(200), stripes(40, seed=1), recipe(optimizer="adamw", initial_lr=0.02))
        assert top1(model, stripes(100, seed=2)) > 0.95

    def test_a_captured_graph_that_forbids_train_and_eval_learns_as_well(self):
        example = (torch.zeros(2, 1, SIDE, SIDE),)
        shapes = ({0: torch.export.Dim("batch", min=1, max=1024)},)
        graph = torch.export.export(make_net().eval(), example, dynamic_shapes=shapes).module()

        def forbidden(self, mode=True):
            raise NotImplementedError("train() and eval() are not supported")

        type(graph).train, type(graph).eval = forbidden, forbidden
        fit(graph, stripes(200), stripes(40, seed=1), recipe())
        assert top1(graph, stripes(100, seed=2)) > 0.95

    def test_the_log_says_what_happened(self):
        seen = []
        log = fit(make_net(), stripes(50), stripes(20, seed=1), recipe(), on_epoch=seen.append)
        assert log.epochs == tuple(seen)
        assert [epoch.epoch for epoch in log.epochs] == [1, 2, 3]
        assert (log.train_samples, log.validation_samples) == (50, 20)
        assert log.steps == 9  # 50 // 16 = 3 steps in each of 3 epochs
        assert log.epochs[-1].lr == pytest.approx(0.001)  # 0.1 * cosine_final_lr_ratio
        assert log.epochs[0].loss > log.epochs[-1].loss
        assert log.best.validation_top1 == max(epoch.validation_top1 for epoch in log.epochs)

    def test_the_best_epoch_is_the_one_that_is_kept(self):
        # Half the labels are wrong and the rate is high: accuracy goes up and down between epochs.
        train, validation = stripes(64), stripes(64, seed=1)
        noisy = Samples(train.images, torch.roll(train.labels, 1) * (torch.arange(64) < 32), train.mean, train.std)
        model = make_net()
        log = fit(model, noisy, validation, recipe(max_epochs=6, initial_lr=0.5, cosine_final_lr_ratio=1.0))
        accuracies = [epoch.validation_top1 for epoch in log.epochs]
        assert max(accuracies) > accuracies[-1]
        assert log.best_epoch == accuracies.index(max(accuracies)) + 1
        assert top1(model, validation) == max(accuracies)

    def test_the_network_is_left_in_eval_mode_and_contiguous(self):
        model = make_net()
        fit(model, stripes(32), stripes(16), recipe(max_epochs=1))
        assert not model.training
        assert all(parameter.is_contiguous() for parameter in model.parameters())

    def test_progress_counts_every_step(self):
        calls = []
        fit(make_net(), stripes(40), stripes(16), recipe(), progress=lambda done, total: calls.append((done, total)))
        assert calls == [(step, 6) for step in range(1, 7)]  # 40 // 16 = 2 steps in each of 3 epochs

    def test_fewer_samples_than_a_batch_are_one_batch(self):
        assert fit(make_net(), stripes(5), stripes(4), recipe(max_epochs=2)).steps == 2


class TestDeterminism:
    def test_equal_seeds_give_equal_weights_and_others_do_not(self):
        def trained(seed):
            model = make_net(dropout=0.3)
            fit(model, stripes(64), stripes(16), recipe(seed=seed, augmentations=("random_crop", "horizontal_flip")))
            return weights(model)

        assert torch.equal(trained(1), trained(1))
        assert not torch.equal(trained(1), trained(2))

    def test_the_global_random_state_is_left_alone(self):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        fit(make_net(dropout=0.3), stripes(32), stripes(16), recipe(max_epochs=1))
        assert torch.equal(torch.rand(1), expected)

    def test_channels_last_changes_results_by_rounding_only(self):
        results = []
        for channels_last in (True, False):
            model = make_net()
            fit(model, stripes(64), stripes(16), recipe(max_epochs=1), channels_last=channels_last)
            results.append(weights(model))
        torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)


class Interrupted(Exception):
    """Stands for a kill."""


def interrupt_after(epoch):
    def on_epoch(log):
        if log.epoch == epoch:
            raise Interrupted

    return on_epoch


def train(model, file, **fields):
    return fit(model, stripes(64), stripes(32, seed=1), recipe(ema=True), checkpoint=file, **fields)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The checkpoint of a training that was stopped after an epoch."""
    file = tmp_path_factory.mktemp("interrupted") / "checkpoint.safetensors"
    with pytest.raises(Interrupted):
        train(make_net(dropout=0.3), file, on_epoch=interrupt_after(1))
    return file.read_bytes()


@pytest.fixture(scope="module")
def undisturbed():
    model = make_net(dropout=0.3)
    train(model, None)
    return model.state_dict()


class TestResume:
    @pytest.mark.parametrize("after", [1, 2])
    @pytest.mark.parametrize(
        "fields", [{}, {"optimizer": "adamw", "initial_lr": 0.01}, {"ema": True}, {"momentum": 0.0}, {"seed": 4}]
    )
    def test_an_interrupted_training_ends_with_the_same_weights_as_one_without_a_break(self, tmp_path, after, fields):
        plan = recipe(augmentations=("random_crop", "horizontal_flip"), **fields)
        whole, broken, resumed = (make_net(dropout=0.3) for _ in range(3))
        expected = fit(whole, stripes(64), stripes(32, seed=1), plan)
        file = tmp_path / "scratch" / "checkpoint.safetensors"
        with pytest.raises(Interrupted):
            fit(broken, stripes(64), stripes(32, seed=1), plan, checkpoint=file, on_epoch=interrupt_after(after))
        seen = []
        log = fit(resumed, stripes(64), stripes(32, seed=1), plan, checkpoint=file, on_epoch=seen.append)
        assert [epoch.epoch for epoch in seen] == list(range(after + 1, 4))
        for name, tensor in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), name
        kept = {"epoch", "loss", "validation_top1", "lr"}
        assert [e.model_dump(include=kept) for e in log.epochs] == [e.model_dump(include=kept) for e in expected.epochs]
        assert (log.best_epoch, log.steps) == (expected.best_epoch, expected.steps)

    def test_a_finished_training_is_not_repeated(self, tmp_path):
        file = tmp_path / "checkpoint.safetensors"
        first, second = make_net(), make_net()
        fit(first, stripes(64), stripes(32, seed=1), recipe(), checkpoint=file)
        fit(second, stripes(64), stripes(32, seed=1), recipe(), checkpoint=file, on_epoch=interrupt_after(1))
        assert torch.equal(weights(first), weights(second))

    def check_new_start(self, file, undisturbed, reason):
        model, notes = make_net(dropout=0.3), []
        log = train(model, file, note=notes.append)
        assert len(notes) == 1
        assert reason in notes[0]
        assert "training starts again" in notes[0]
        assert len(log.epochs) == 3
        assert [name for name, tensor in model.state_dict().items() if not torch.equal(undisturbed[name], tensor)] == []

    def test_a_sound_checkpoint_is_used_and_told(self, tmp_path, interrupted, undisturbed):
        file, notes, seen, model = tmp_path / "checkpoint.safetensors", [], [], make_net(dropout=0.3)
        file.write_bytes(interrupted)
        train(model, file, note=notes.append, on_epoch=seen.append)
        assert notes == ["going on from the last finished epoch of a run that was stopped"]
        assert len(seen) == 2
        assert all(torch.equal(undisturbed[name], tensor) for name, tensor in model.state_dict().items())

    def test_no_flipped_bit_is_overlooked(self, tmp_path, interrupted):
        file = tmp_path / "checkpoint.safetensors"
        header = 8 + int.from_bytes(interrupted[:8], "little")
        positions = [*range(64), *range(64, header, 7), *range(header, len(interrupted), 61), len(interrupted) - 1]
        for number, position in enumerate(positions):
            damaged = bytearray(interrupted)
            damaged[position] ^= 1 << number % 8
            file.write_bytes(damaged)
            with pytest.raises(UnusableCheckpoint, match="damaged"):
                Checkpoint.load(file, "")
        assert len(positions) > 300

    @pytest.mark.parametrize("position", [0, 1, 3, 7, 8, 9, 40, 200, -1, -9, -400])
    def test_after_a_flipped_bit_training_starts_again_to_the_right_weights(
        self, tmp_path, interrupted, undisturbed, position
    ):
        file = tmp_path / "checkpoint.safetensors"
        damaged = bytearray(interrupted)
        damaged[position] ^= 16
        file.write_bytes(damaged)
        self.check_new_start(file, undisturbed, "it is damaged")

    @pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1, -8, -1000])
    def test_and_after_a_cut(self, tmp_path, interrupted, undisturbed, length):
        file = tmp_path / "checkpoint.safetensors"
        file.write_bytes(interrupted[:length])
        self.check_new_start(file, undisturbed, "it is damaged")

    @pytest.mark.parametrize(
        "content", [b"no checkpoint at all", b"\x10\0\0\0\0\0\0\0{'a': 1}         ", b"\xff" * 64, b"\0" * 4096]
    )
    def test_and_with_something_else_in_the_file(self, tmp_path, undisturbed, content):
        file = tmp_path / "checkpoint.safetensors"
        file.write_bytes(content)
        self.check_new_start(file, undisturbed, "it is damaged")

    def test_and_with_the_tensors_of_a_checkpoint_without_its_checksum(self, tmp_path, interrupted, undisturbed):
        file = tmp_path / "checkpoint.safetensors"
        save_file(load(interrupted), file, metadata={"record": "{}"})
        self.check_new_start(file, undisturbed, "it is damaged")

    @pytest.mark.parametrize(
        ("net", "fields", "seed"),
        [({}, {"initial_lr": 0.2}, 0), ({"seed": 1}, {}, 0), ({"channels": 8}, {}, 0), ({}, {}, 5)],
        ids=["recipe", "weights", "shapes", "data"],
    )
    def test_a_checkpoint_of_another_training_is_not_used(self, tmp_path, undisturbed, net, fields, seed):
        file = tmp_path / "checkpoint.safetensors"
        other = make_net(**({"dropout": 0.3} | net))
        fit(other, stripes(64, seed=seed), stripes(32, seed=1), recipe(**fields), checkpoint=file)
        self.check_new_start(file, undisturbed, "of another recipe, network, data set or version")

    def test_a_checkpoint_of_another_version_is_not_used(self, tmp_path, interrupted, undisturbed, monkeypatch):
        file = tmp_path / "checkpoint.safetensors"
        file.write_bytes(interrupted)
        monkeypatch.setattr("harness.version.__version__", "99")
        self.check_new_start(file, undisturbed, "of another recipe, network, data set or version")

    def test_where_no_checkpoint_can_be_read_or_written_training_goes_on_without(self, tmp_path, undisturbed):
        (file := tmp_path / "checkpoint.safetensors").mkdir()
        model, notes = make_net(dropout=0.3), []
        train(model, file, note=notes.append)
        assert "it cannot be read (Is a directory)" in notes[0]
        assert notes[1:] == ["no checkpoint could be written (Is a directory)"] * 3
        assert all(torch.equal(undisturbed[name], tensor) for name, tensor in model.state_dict().items())


class TestEarlyStop:
    def test_it_stops_after_so_many_epochs_without_a_better_accuracy(self):
        # Perfect from the start: epoch 1 is the best, epochs 2 and 3 bring nothing.
        model = make_net()
        fit(model, stripes(200), stripes(40, seed=1), recipe())
        plan = recipe(max_epochs=9, initial_lr=1e-6, warmup_initial_lr=1e-6, early_stop_epochs=2)
        log = fit(model, stripes(64), stripes(40, seed=1), plan)
        assert [epoch.validation_top1 for epoch in log.epochs] == [1.0, 1.0, 1.0]
        assert log.best_epoch == 1


class TestDistillation:
    def test_the_loss_is_mixed_from_labels_and_the_softened_teacher(self):
        class Constant(nn.Module):
            def __init__(self, logit):
                super().__init__()
                self.logit = nn.Parameter(torch.tensor(logit))

            def forward(self, x):
                return torch.stack([self.logit.expand(len(x)), torch.zeros(len(x))], dim=1)

        samples = stripes(16).take(torch.arange(0, 16, 2))  # class 0 only
        plan = recipe(max_epochs=1, batch_size=8, distillation=Distillation(weight=0.25, temperature=2.0))
        student, teacher = Constant(math.log(3.0)), Constant(0.0)
        log = fit(student, samples, samples, plan, teacher=teacher)
        # Student at T = 2: odds sqrt(3); teacher: one half each. Hard loss: -ln 0.75.
        p = math.sqrt(3) / (math.sqrt(3) + 1)
        divergence = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
        assert log.epochs[0].loss == pytest.approx(-0.75 * math.log(0.75) + 0.25 * 4 * divergence, abs=1e-6)
        assert teacher.logit.grad is None

    def test_without_a_teacher_it_is_an_error(self):
        with pytest.raises(StageError, match="needs a teacher"):
            fit(make_net(), stripes(16), stripes(16), recipe(distillation=Distillation()))


def test_before_every_step_the_hook_is_told_where_training_is():
    calls = []
    hook = lambda done, total: calls.append((done, total))  # noqa: E731
    fit(make_net(), stripes(40), stripes(16), recipe(), before_step=hook)
    assert calls == [(step, 6) for step in range(6)]  # 40 // 16 = 2 steps in each of 3 epochs


class TestOptimisation:
    def test_one_step_of_sgd_is_nesterovs(self):
        model = make_net().eval()
        samples = stripes(16)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        reference = make_net().train()
        nn.functional.cross_entropy(reference(samples.inputs()), samples.labels).backward()
        fit(model, samples, samples, recipe(max_epochs=1, momentum=0.9, weight_decay=0.01, lr_warmup_epochs=0))
        # First step: velocity = g, update = lr * (g + momentum * g) with g = gradient + decay * weight.
        for name, parameter in reference.named_parameters():
            decay = 0.01 if parameter.ndim > 1 else 0.0
            gradient = parameter.grad + decay * before[name]
            expected = before[name] - 0.1 * 1.9 * gradient
            torch.testing.assert_close(dict(model.named_parameters())[name], expected, rtol=1e-4, atol=1e-5)

    def test_the_moving_average_is_what_is_kept(self):
        plain, averaged = make_net(), make_net()
        one_step = {"max_epochs": 1, "lr_warmup_epochs": 0}
        start = weights(plain)
        fit(plain, stripes(16), stripes(16), recipe(**one_step))
        fit(averaged, stripes(16), stripes(16), recipe(**one_step, ema=True))
        # One update with decay (1 + 0) / (10 + 0) = 0.1: 0.1 * start + 0.9 * after the step.
        torch.testing.assert_close(weights(averaged), 0.1 * start + 0.9 * weights(plain), rtol=1e-4, atol=1e-6)

    def test_divergence_is_an_error_that_says_so(self):
        with pytest.raises(StageError, match=r"training diverged: the loss is (nan|inf) at step") as error:
            fit(make_net(), stripes(64), stripes(16), recipe(max_epochs=20, initial_lr=1e30, lr_warmup_epochs=0))
        assert "lower `initial_lr` (it is 1e+30)" in (error.value.fix or "")

    def test_a_network_without_parameters_is_an_error(self):
        with pytest.raises(StageError, match="no parameters"):
            fit(nn.Flatten(), stripes(16), stripes(16), recipe())


def test_data_without_labels_or_samples_cannot_train():
    samples = stripes(16)
    unlabelled = Samples(samples.images, None, samples.mean, samples.std)
    with pytest.raises(DataError, match="no labels"):
        fit(make_net(), unlabelled, samples, recipe())
    with pytest.raises(DataError, match="no training samples"):
        fit(make_net(), samples.take(torch.arange(0)), samples, recipe())


class TestPredict:
    def test_logits_of_all_samples_in_order_whatever_the_batch_size(self):
        model, samples = make_net().eval(), stripes(10)
        with torch.no_grad():
            expected = model(samples.inputs()).numpy()
        for batch_size in (1, 3, 10, 64):
            assert predict(model, samples, batch_size) == pytest.approx(expected, abs=1e-6)

    def test_dropout_is_off_and_the_mode_comes_back(self):
        model, samples = make_net(dropout=0.9).train(), stripes(10)
        assert (predict(model, samples) == predict(model, samples)).all()
        assert model.training

    def test_top1_is_the_share_of_right_answers(self):
        class Brightness(nn.Module):
            def forward(self, x):
                return torch.stack([-x.mean((1, 2, 3)), x.mean((1, 2, 3))], dim=1)

        images = torch.tensor([0, 255, 255, 0], dtype=torch.uint8).view(4, 1, 1, 1)
        samples = Samples(images, torch.tensor([0, 1, 0, 0]), mean=(0.5,), std=(0.5,))
        assert top1(Brightness(), samples) == 0.75  # dark is class 0, bright is class 1: the third is wrong


class TestHoldOut:
    def test_a_tenth_but_at_most_2000_class_balanced_and_disjoint(self):
        samples = stripes(200)
        numbered = Samples(torch.arange(200).view(200, 1, 1, 1).to(torch.uint8), samples.labels, (0.0,), (1.0,))
        train, validation = hold_out(numbered, seed=0)
        assert (len(train), len(validation)) == (180, 20)
        assert validation.labels.bincount().tolist() == [10, 10]
        assert set(train.images.flatten().tolist()) | set(validation.images.flatten().tolist()) == set(range(200))

    def test_large_sets_hold_out_2000(self):
        labels = torch.arange(30_000) % 10
        large = Samples(torch.zeros(30_000, 1, 1, 1, dtype=torch.uint8), labels, (0.0,), (1.0,))
        assert len(hold_out(large, seed=0).validation) == 2000

    def test_equal_seeds_hold_out_the_same_samples(self):
        samples = stripes(100)
        assert hold_out(samples, 1).validation.sha256() == hold_out(samples, 1).validation.sha256()
        assert hold_out(samples, 1).validation.sha256() != hold_out(samples, 2).validation.sha256()

    def test_too_few_samples_are_an_error(self):
        with pytest.raises(DataError, match="too few"):
            hold_out(stripes(1), seed=0)


def test_loss_is_the_smoothed_cross_entropy():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.logit = nn.Parameter(torch.tensor(math.log(3.0)))

        def forward(self, x):
            return torch.stack([self.logit.expand(len(x)), torch.zeros(len(x))], dim=1)

    samples = stripes(16).take(torch.arange(0, 16, 2))  # class 0 only, which has probability 3 / (3 + 1) = 0.75
    log = fit(Constant(), samples, samples, recipe(max_epochs=1, batch_size=8, label_smoothing=0.2))
    # Targets 0.9 and 0.1: -(0.9 * ln 0.75 + 0.1 * ln 0.25)
    assert log.epochs[0].loss == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)), abs=1e-6)


@pytest.mark.parametrize(("channels", "onednn"), [(4, False), (8, False), (16, True)])
def test_onednn_is_left_out_where_it_crashes(channels: int, onednn: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))
    used = set()
    network[0].register_forward_pre_hook(lambda *_: used.add(torch.backends.mkldnn.enabled))
    images = torch.zeros(50, 3, SIDE, SIDE, dtype=torch.uint8)
    samples = Samples(images, torch.arange(50) % 2, (0.5,) * 3, (0.5,) * 3)
    fit(network, samples, samples, Recipe(max_epochs=1, batch_size=25, augmentations=()))
    assert used == {onednn}
    assert torch.backends.mkldnn.enabled
