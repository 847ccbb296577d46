"""The parity part of the report: losing steps are named, layers at fault too."""

from __future__ import annotations

import math

import pytest
from oracles.comparisons import dropped

from harness.report import parity_tables, render
from harness.report.flat import frame
from harness.report.variants import NONE
from harness.results import LayerParity, Parity, ParityStep, RunResults

QUANTIZE, CONVERT, ENGINE = (
    "onnx_fp32 → torch_quantized",
    "torch_quantized → onnx_quantized",
    "onnx_quantized → engine",
)


def step(name: str, drop: float = 0.0, loses: bool = False, sqnr_db: float | None = 40.0) -> ParityStep:
    start, end = name.split(" → ")
    return ParityStep(
        start=start,
        end=end,
        top1_agreement=0.99,
        max_abs_error={None: 0.0, -math.inf: math.inf}.get(sqnr_db, 0.25),
        sqnr_db=sqnr_db,
        n=1000,
        comparison=dropped(
            0.9 - drop,
            drop,
            (drop - 0.01, drop + 0.01),
            p_value=0.0001 if loses else 0.8,
            verdict="worse" if loses else "inconclusive",
        ),
    )


def layer(name: str, channels: tuple[int, ...] = (), n_faulty: int | None = None) -> LayerParity:
    return LayerParity(
        step=ENGINE,
        layer=name,
        op="Conv",
        tensor=f"{name}.q",
        kind="quantized",
        sqnr_db=27.0 if channels else None,
        accumulated_sqnr_db=25.0,
        largest_steps=11.0 if channels else 0.0,
        noise_steps2=5.0 if channels else 0.0,
        is_fault=bool(channels),
        faulty_channels=channels,
        n_faulty_channels=len(channels) if n_faulty is None else n_faulty,
        n_channels=16,
    )


@pytest.fixture
def with_chains(quickstart: RunResults) -> RunResults:
    """Three rows with chains: one loses in the engine, one nowhere, one has no fake-quantized network."""
    chains = [
        Parity(steps=(step(QUANTIZE, 0.01, True), step(CONVERT), step(ENGINE, 0.03, True)), lossy_step=ENGINE),
        Parity(steps=(step(QUANTIZE), step(CONVERT, sqnr_db=None), step(ENGINE))),
        Parity(steps=(step("onnx_quantized → engine"),), absent={"torch_quantized": "nncf leaves none"}),
    ]
    layers = (layer("stem"), layer("conv1", (3,)), layer("conv2", (0, 1, 2, 3, 4, 5, 6, 7), 12), layer("head"))
    chains[0] = chains[0].model_copy(update={"layers": layers, "layer_samples": 64, "confidence": 0.95})
    rows = [row.model_copy(update={"parity": parity}) for row, parity in zip(quickstart.rows, chains, strict=False)]
    return quickstart.model_copy(update={"rows": tuple(rows)})


def test_losing_steps_are_named_and_the_worst_is_marked(with_chains: RunResults) -> None:
    table = parity_tables.losses_table(with_chains)
    assert [row[1:] for row in table.rows] == [
        ("ONNX FP32 → fake-quantized torch", "1.00 ± 1.00", "p < 0.001", "1,000"),
        ("Q/DQ ONNX → engine (the most)", "3.00 ± 1.00", "p < 0.001", "1,000"),
    ]


def test_the_chain_has_a_column_for_each_step_and_says_what_is_missing(with_chains: RunResults) -> None:
    table = parity_tables.chain_table(with_chains)
    assert table.headings == (
        "Variant",
        "ONNX FP32 → fake-quantized torch",
        "fake-quantized torch → Q/DQ ONNX",
        "Q/DQ ONNX → engine",
        "Not in the chain",
    )
    assert table.rows[0][1] == "99.00 %, 40.0 dB, 0.25, 1.00 ± 1.00 *"
    assert table.rows[1][2] == "99.00 %, identical, 0.00 ± 1.00"
    assert table.rows[2][1:] == (
        NONE,
        NONE,
        "99.00 %, 40.0 dB, 0.25, 0.00 ± 1.00",
        "fake-quantized torch: nncf leaves none",
    )


def test_the_first_layer_at_fault_is_named_with_its_channels(with_chains: RunResults) -> None:
    table = parity_tables.faults_table(with_chains)
    assert [row[1:] for row in table.rows] == [("Q/DQ ONNX → engine", "4", "conv1 (Conv), channel 3 of 16", "conv2")]


def test_a_variant_whose_layers_are_all_right_says_so(with_chains: RunResults) -> None:
    sound = with_chains.rows[0].parity.model_copy(update={"layers": (layer("stem"), layer("head"))})
    rows = (with_chains.rows[0].model_copy(update={"parity": sound}),)
    table = parity_tables.faults_table(with_chains.model_copy(update={"rows": rows}))
    assert [row[2:] for row in table.rows] == [("2", "none", NONE)]


def test_every_layer_has_a_row(with_chains: RunResults) -> None:
    table = parity_tables.layers_table(with_chains)
    assert [row[2] for row in table.rows] == ["stem", "conv1", "conv2", "head"]
    assert [row[8] for row in table.rows] == [NONE, "channel 3 of 16", "channels 0, 1, 2, 3 and 8 more of 16", NONE]


def test_a_run_without_chain_shows_the_pairs_that_it_has(quickstart: RunResults) -> None:
    table = parity_tables.chain_table(quickstart)
    assert table.headings == ("Variant", "torch → ONNX", "ONNX → engine")
    assert table.rows[0][1:] == ("100.00 %, 118.4 dB, 2.4e-06", "99.93 %, 41.2 dB, 0.031")


def test_the_step_and_the_layer_are_in_every_form_of_the_report(with_chains: RunResults, tmp_path) -> None:
    html, markdown, _ = render(with_chains, tmp_path)
    for path in (html, markdown):
        text = path.read_text(encoding="utf-8")
        assert "engine (the most)" in text
        assert "conv1 (Conv)" in text
    first = frame(with_chains).iloc[0]
    assert first["lossy_step"] == ENGINE
    assert first["onnx_quantized_to_engine_drop"] == pytest.approx(0.03)
    assert (first["layers_at_fault"], first["first_layer_at_fault"]) == (2, "conv1")


def test_nan_is_not_called_identical() -> None:
    broken = parity_tables.likeness(step(ENGINE, sqnr_db=-math.inf))
    assert broken == "99.00 %, NaN or infinity"
    assert parity_tables.likeness(step(ENGINE, sqnr_db=None)) == "99.00 %, identical"
