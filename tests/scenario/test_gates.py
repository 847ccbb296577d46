"""Gates in a scenario: which figures, limits and variants they may name, and what is said of those they may not."""

from __future__ import annotations

from typing import Any

import pytest

from harness.figures import catalog, read, short_names
from harness.results import Row, Variant
from harness.scenario import expand, judged_by

MATRIX = "matrix: {method: [fp32, ptq, qat]}\n"


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("{metric: accuracy.drop, at_most: 0.01}", "at most 0.01"),
        ("{metric: size.engine_bytes, at_most: 0.35, of: fp32}", "at most 0.35 of fp32"),
        ("{metric: accuracy.top1, at_most: 0.005, below: baseline}", "at most 0.005 below the baseline"),
        ("{metric: coverage.int8_macs, at_least: 1}", "at least 1"),
    ],
)
def test_a_gate_reads_as_a_sentence(load: Any, head: str, gate: str, words: str) -> None:
    assert str(load(f"{head}gates: [{gate}]\n").gates[0]) == words


@pytest.mark.parametrize(
    ("short", "metric"),
    [
        ("speedup", "latency.speedup"),
        ("engine_bytes", "size.engine_bytes"),
        ("metrics.agreement", "metrics.agreement"),
        ("agreement", "accuracy.agreement"),
    ],
)
def test_the_last_part_of_a_name_is_enough_where_it_is_unique(load: Any, head: str, short: str, metric: str) -> None:
    assert load(f"{head}gates: [{{metric: {short}, at_least: 0}}]\n").gates[0].metric == metric


@pytest.mark.parametrize(
    ("gate", "message", "fix"),
    [
        ("{metric: §accuracy.drp, at_most: 1}", "unknown metric `accuracy.drp`", "did you mean `accuracy.drop`?"),
        ("{metric: §sqnr_db, at_least: 30}", "unknown metric `sqnr_db`", "sqnr_db"),
        ("§{metric: speedup}", "a gate has one limit", "`at_most` or `at_least`"),
        ("§{metric: speedup, at_most: 1, at_least: 1}", "a gate has one limit", "two limits are two gates"),
        (
            "§{metric: top1, at_most: 1, of: fp32, below: fp32}",
            "`of` and `below` contradict each other",
            "keep one",
        ),
        ("§{metric: speedup, at_least: 1, of: fp32}", "`latency.speedup` compares with FP32 already", "delete `of`"),
        ("{metric: speedup, at_least: 1, of: §fp33}", "must be one of `fp32`, `baseline`", "did you mean `fp32`?"),
        ("{metric: speedup, at_least: §'1'}", "must be a number", "without quotes"),
        ("{metric: speedup, §atleast: 1}", "unknown key `atleast`", "did you mean `at_least`?"),
        ("{metric: top1, at_least: 1, select: §mehod=qat}", "unknown axis in `select` `mehod`", "`method`"),
        ("{metric: top1, at_least: 1, select: §method=fp16}", "`gates[0]` judges no variant", "harness list"),
        ("{metric: top1, at_least: 1, where: §{method: fp16}}", "`gates[0]` judges no variant", "harness list"),
        ("{metric: speedup, at_least: 1, select: §method=fp32}", "`gates[0]` judges no variant", "compares with FP32"),
    ],
)
def test_a_gate_that_cannot_be_judged_is_refused(refuse: Any, head: str, gate: str, message: str, fix: str) -> None:
    error = refuse(f"{head}{MATRIX}gates:\n  - {gate}\n")
    assert message in error.message
    assert fix in str(error.fix)


@pytest.mark.parametrize(
    ("selection", "methods"),
    [
        ("", ["ptq", "qat"]),
        (", select: method=fp32", ["fp32"]),
        (", select: '*'", ["fp32", "ptq", "qat"]),
        (", select: ['*', 'method=ptq,qat']", ["ptq", "qat"]),
        (", where: {method: qat}", ["qat"]),
        (", where: {method: [ptq, qat], target: onnxruntime}", ["ptq", "qat"]),
        (", select: '*', of: fp32", ["ptq", "qat"]),
    ],
)
def test_fp32_rows_are_judged_when_named_and_when_there_is_something_to_judge(
    load: Any, head: str, selection: str, methods: list[str]
) -> None:
    scenario = load(f"{head}{MATRIX}gates: [{{metric: engine_bytes, at_most: 1{selection}}}]\n")
    assert [variant.method for variant in judged_by(scenario.gates[0], expand(scenario))] == methods


def test_figures_are_those_of_the_records() -> None:
    names = set(catalog())
    assert {"accuracy.top1", "accuracy.drop", "latency.p99_ms", "size.weight_bytes", "cost.train_s"} <= names
    assert {"parity.torch_vs_engine.sqnr_db", "parity.onnx_vs_engine.top1_agreement"} <= names
    # What says how a figure was made is no figure.
    assert not {name for name in names if name.rpartition(".")[2] in {"n", "rounds", "margin", "p_value", "threads"}}
    assert "sqnr_db" not in short_names()


def test_identical_outputs_have_an_infinite_ratio_to_their_noise() -> None:
    variant = Variant(id="v", model="m", method="ptq", target="t", batch_size=1)
    # As a step of the chain, too.
    step = {"top1_agreement": 1.0, "max_abs_error": 0.0, "sqnr_db": None, "n": 10}
    row = Row.model_validate(
        {
            "variant": variant,
            "status": "ok",
            "parity": {"torch_vs_engine": step, "steps": [step | {"start": "torch_fp32", "end": "engine"}]},
        }
    )
    found = read(row, "parity.torch_vs_engine.sqnr_db")
    assert found is not None
    assert found.value == float("inf")
    assert read(row, "parity.torch_fp32_to_engine.sqnr_db") == found
    assert read(row, "parity.torch_fp32_to_onnx_fp32.sqnr_db") is None
    assert read(row, "latency.speedup") is None
