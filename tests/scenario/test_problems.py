"""Well-formed YAML that is no scenario: each message says what was found, what is allowed, where, and how to fix it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.quantization.settings import ptq_step_names

STEPS = ", ".join(f"`{name}`" for name in ptq_step_names())


@pytest.mark.parametrize(
    ("marked", "message", "fix"),
    [
        ("§trainning: {}", "unknown key `trainning` at the top level", "did you mean `training`?"),
        (
            "training: {§max-epochs: 3}",
            "unknown key `max-epochs` in `training`",
            "did you mean `max_epochs`?",
        ),
        (
            "§max_epochs: 3",
            "unknown key `max_epochs` at the top level",
            "`max_epochs` belongs to `training` or `models.*.training`",
        ),
        (
            "quantization_params:\n  §skip_modules: [a]",
            "unknown key `skip_modules` in `quantization_params`",
            "`skip_modules` belongs to `quantization_params.selective_quantizer_params`",
        ),
        (
            "quantization_params: {selective_quantizer_params: {§perchanel: true}}",
            "unknown key `perchanel` in `quantization_params.selective_quantizer_params`",
            "did you mean `per_channel`?",
        ),
        (
            "matrix:\n  exclude:\n  - {method: qat}\n  - method: ptq\n    §calibrater: max",
            "unknown key `calibrater` in `matrix.exclude[1]`",
            "did you mean `calibrator`?",
        ),
        (
            "matrix: {exclude: {§modle: r}}",
            "unknown key `modle` in `matrix.exclude[0]`",
            "did you mean `model`?",
        ),
        (
            "targets: {onnxruntime: {§zzz: 1}}",
            "unknown key `zzz` in `targets.onnxruntime`",
            "the keys here are: threads",
        ),
        (
            "§QATRecipeModificationCallback: {}",
            "unknown key `QATRecipeModificationCallback` at the top level",
            "put its keys under `qat_params`",
        ),
    ],
)
def test_unknown_keys(refuse: Any, head: str, marked: str, message: str, fix: str) -> None:
    error = refuse(f"{head}{marked}\n")
    assert (error.message, error.fix) == (message, fix)


@pytest.mark.parametrize(
    ("marked", "message", "fix"),
    [
        (
            "matrix: {method: [ptq, §qta]}",
            "`matrix.method[1]` must be one of `fp32`, `fp16`, `bf16`, `ptq`, `qat`, found the text `qta`",
            "did you mean `qat`?",
        ),
        (
            "matrix: {calibrator: §perchentile}",
            "`matrix.calibrator[0]` must be one of `entropy`, `max`, `mse`, `percentile`, found the text `perchentile`",
            "did you mean `percentile`?",
        ),
        (
            "matrix:\n  ptq_steps: [[], [bias_correction, §bias_corection]]",
            f"`matrix.ptq_steps[1][1]` must be one of {STEPS}, found the text `bias_corection`",
            "did you mean `bias_correction`?",
        ),
        (
            "quantization_params:\n  ptq_steps: §cross_layer_equalisation",
            f"`quantization_params.ptq_steps[0]` must be one of {STEPS}, found the text `cross_layer_equalisation`",
            "did you mean `cross_layer_equalization`?",
        ),
        ("training: {optimizer: §7}", "`training.optimizer` must be one of `sgd`, `adamw`, found 7", None),
        ("schema_version: §2", "`schema_version` must be `1`, found 2", "write `1`"),
        (
            "training:\n  max_epochs: §0",
            "`training.max_epochs` must be at least 1, found 0",
            "write a number at least 1",
        ),
        ("training: {initial_lr: §0.0}", "`training.initial_lr` must be greater than 0, found 0.0", None),
        ("training: {momentum: §1}", "`training.momentum` must be less than 1, found 1", None),
        (
            "quantization_params: {calib_params: {percentile: §100.5}}",
            "`quantization_params.calib_params.percentile` must be at most 100, found 100.5",
            None,
        ),
        ("matrix: {weight_bits: [8, §9]}", "`matrix.weight_bits[1]` must be at most 8, found 9", None),
        ("verdict: {confidence: §.nan}", "`verdict.confidence` must be a finite number, found nan", None),
        ("training: {batch_size: §12.5}", "`training.batch_size` must be an integer, found 12.5", None),
        (
            "training: {batch_size: §'128'}",
            "`training.batch_size` must be an integer, found the text `128`",
            "write it without quotes: 128",
        ),
        ("training: {initial_lr: §fast}", "`training.initial_lr` must be a number, found the text `fast`", None),
        ("seed: §true", "`seed` must be an integer, found true", None),
        (
            "measurement: {latency: §on}",
            "`measurement.latency` must be true or false, found the text `on`",
            "write `true`",
        ),
        ("measurement: {latency: §1}", "`measurement.latency` must be true or false, found 1", None),
        ("question: §3", "`question` must be a text, found 3", 'write it in quotes: "3"'),
        ("question: §''", "`question` is empty", None),
        ("matrix: {skip: [[§1]]}", "`matrix.skip[0][0]` must be a text, found 1", 'write it in quotes: "1"'),
        ("verdict: §strict", "`verdict` must be a mapping, found the text `strict`", None),
        ("§verdict:\n- confidence", "`verdict` must be a mapping, found a list", None),
        ("targets: {onnxruntime: §4}", "`targets.onnxruntime` must be a mapping, found 4", None),
        (
            "targets: {§ORT 1: {}}",
            "`ORT 1` is not a usable name: lower-case letters, digits, `_`, `.` and `-`, at most 64, "
            "`.` and `-` not at the ends",
            "write `ort-1`",
        ),
    ],
)
def test_wrong_values(refuse: Any, head: str, marked: str, message: str, fix: str | None) -> None:
    error = refuse(f"{head}{marked}\n")
    assert error.message == message
    assert error.fix if fix is None else error.fix == fix


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        (
            "name: §../evil\ndataset: {source: d}\nmodels: {r: {factory: a:f}}\n",
            "`../evil` is not a usable name",
        ),
        ("name: §a.\ndataset: {source: d}\nmodels: {r: {factory: a:f}}\n", "`a.` is not a usable name"),
        ("§name: a\nmodels: {r: {factory: a:f}}\n", "the scenario lacks the key `dataset`"),
        ("name: a\n§dataset:\n  location: auto\nmodels: {r: {factory: a:f}}\n", "`dataset` lacks the key `source`"),
        ("name: a\ndataset: {source: d}\nmodels: §{}\n", "`models` is empty"),
        ("name: a\ndataset: {source: d}\nmodels:\n  §r:\n", "`models.r` lacks the key `factory`"),
        (
            "name: a\ndataset: {source: d}\nmodels: {r: {factory: §resnet8}}\n",
            "`models.r.factory`: `resnet8` is not a model factory",
        ),
        (
            "name: a\ndataset: {source: d}\nmodels: {r: {factory: 'a:f', weights: §trian}}\n",
            "`models.r.weights`: `trian` is neither `train`, `random` nor a weights file",
        ),
        (
            "name: a\ndataset: {source: d}\nmodels: {r: {factory: 'a:f', args: {x: [§.nan]}}}\n",
            "`models.r.args.x[0]` must be a finite number, found nan",
        ),
        ("§- name: a\n", "the scenario must be a mapping, found a list"),
        ("§just text\n", "the scenario must be a mapping, found the text `just text`"),
    ],
)
def test_the_required_part(refuse: Any, marked: str, message: str) -> None:
    error = refuse(marked)
    assert error.message.startswith(message)
    assert error.fix


def test_all_problems_are_told_at_once_in_the_order_of_the_file(refuse: Any, head: str) -> None:
    error = refuse(f"{head}verdict: {{confidence: §2}}\ntraning: {{}}\n")
    assert str(error) == (
        f"{error.path}:4:23: `verdict.confidence` must be less than 1, found 2\n"
        "  fix: write a number less than 1\n"
        f"{error.path}:5:1: unknown key `traning` at the top level\n"
        "  fix: did you mean `training`?"
    )
