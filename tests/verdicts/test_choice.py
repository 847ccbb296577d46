"""The choice among rows of several targets, from recorded figures."""

import math

import numpy as np
import pytest

from harness.timing.samples import AA_CONTROL, ProcessRounds, Round, Timings
from harness.verdicts.choice import Contest, choice_record, decide, n_comparisons

FP32, OV_FP32, OV_BF16 = "net-fp32", "net-fp32-openvino", "net-bf16-openvino"
PTQ, OV_PTQ = "net-ptq-max-True-harness", "net-ptq-max-True-harness-openvino"
OV_QAT = "net-qat-max-True-harness-openvino"
TIED = {FP32: 1.0, PTQ: 2.0, OV_FP32: 0.9, OV_PTQ: 2.0}
"""Two quantized rows that are equally fast."""


def timings(ratios, spread=0.002, processes=8, seed=0):
    """Each session is `ratio` times as fast as the reference with its 1 ms, up to a spread from process to process."""
    rng = np.random.default_rng(seed)
    blocks = []
    for process in range(processes):
        ms = {name: math.exp(rng.normal(0, spread)) / ratio for name, ratio in {**ratios, AA_CONTROL: 1.0}.items()}
        blocks.append(
            ProcessRounds(0, process, tuple(Round({name: np.array([each]) for name, each in ms.items()}) for _ in "12"))
        )
    return Timings(blocks)


def contest(rows, ratios, **fields):
    return Contest(tuple(rows), timings(ratios, **fields), FP32, margin=0.01)


def decided(rows, ratios, comparisons=None, **fields):
    """The outcome and its record."""
    found = contest(rows, ratios, **fields)
    decision = decide(found, n_comparisons(found) if comparisons is None else comparisons)
    return decision, choice_record(found, decision, "CPU")


@pytest.fixture
def rows(lab):
    """Of every method on two targets, all of which keep their accuracy."""
    return [
        lab.row("fp32"),
        lab.row("ptq", lost=5, ratio=1.5),
        lab.row("fp32", target="openvino"),
        lab.row("bf16", target="openvino", ratio=1.5),
        lab.row("ptq", lost=5, target="openvino", ratio=2.2),
        lab.row("qat", lost=5, target="openvino", ratio=2.2),
    ]


def of(rows, *ids):
    return [row for row in rows if row.variant.id in ids]


class TestAClearWinner:
    def test_the_fastest_engine_with_the_least_work(self, rows):
        ratios = {FP32: 1.0, PTQ: 2.8, OV_FP32: 1.1, OV_BF16: 4.6, OV_PTQ: 7.0, OV_QAT: 7.001}
        _, found = decided(rows, ratios)
        assert (found.verdict, found.best, found.reference) == ("best", OV_PTQ, FP32)
        assert found.without_quantization == OV_BF16

    def test_more_work_is_worth_it_where_it_is_provably_faster(self, rows):
        _, found = decided(rows, {FP32: 1.0, PTQ: 2.8, OV_FP32: 1.1, OV_BF16: 4.6, OV_PTQ: 6.0, OV_QAT: 7.0})
        assert (found.verdict, found.best) == ("best", OV_QAT)
        assert found.as_fast == ()

    def test_the_first_target_may_win(self, rows):
        _, found = decided(of(rows, FP32, PTQ, OV_FP32, OV_PTQ), {FP32: 1.0, PTQ: 2.0, OV_FP32: 0.9, OV_PTQ: 1.7})
        assert (found.verdict, found.best, found.without_quantization) == ("best", PTQ, FP32)

    def test_without_quantization_it_may_be_bf16(self, rows):
        _, found = decided(of(rows, FP32, PTQ, OV_FP32, OV_BF16), {FP32: 1.0, PTQ: 2.0, OV_FP32: 0.9, OV_BF16: 4.0})
        assert (found.best, found.without_quantization) == (OV_BF16, OV_BF16)

    def test_the_one_with_the_least_work_must_win_itself(self, rows):
        """QAT beats the other target, PTQ cannot be distinguished from QAT, but not from the other target either."""
        ratios = {FP32: 1.0, PTQ: 2.0, OV_FP32: 1.0, OV_PTQ: 2.009, OV_QAT: 2.0125}
        chosen = of(rows, FP32, PTQ, OV_FP32, OV_PTQ, OV_QAT)
        loose = Contest(tuple(chosen), timings(ratios, spread=1e-5), FP32, margin=0.006)
        assert choice_record(loose, decide(loose, 1), "CPU").best == OV_QAT

    def test_the_smallest_is_named(self, rows):
        small = [
            row.model_copy(update={"size": row.size.model_copy(update={"engine_bytes": 2048})})
            if row.variant.id == PTQ
            else row
            for row in rows
        ]
        _, found = decided(small, {FP32: 1.0, PTQ: 2.0, OV_FP32: 1.1, OV_BF16: 4.6, OV_PTQ: 7.0, OV_QAT: 7.0})
        assert found.smallest == PTQ


class TestATie:
    def test_equal_up_to_the_margin_is_said(self, rows):
        _, found = decided(of(rows, *TIED), TIED)
        assert (found.verdict, {found.fastest, *found.as_fast}) == ("equal", {PTQ, OV_PTQ})
        assert found.best in {PTQ, OV_PTQ}

    def test_what_intervals_do_not_tell_is_not_told(self, rows):
        _, found = decided(of(rows, *TIED), TIED, spread=0.05)
        assert (found.verdict, found.best) == ("undecided", None)
        assert {found.fastest, *found.as_fast} == {PTQ, OV_PTQ}

    def test_a_difference_must_stand_among_all_of_the_run(self, rows):
        ratios = {**TIED, OV_PTQ: 2.04}
        assert decided(of(rows, *TIED), ratios, spread=0.004)[1].best == OV_PTQ
        assert decided(of(rows, *TIED), ratios, spread=0.004, comparisons=10**6)[1].verdict == "undecided"


class TestAccuracy:
    def test_a_row_that_loses_is_not_chosen(self, lab, rows):
        ratios = {FP32: 1.0, PTQ: 2.0, OV_FP32: 1.1, OV_PTQ: 7.0}
        chosen = [*of(rows, FP32, PTQ, OV_FP32), lab.row("ptq", lost=300, target="openvino")]
        _, found = decided(chosen, ratios)
        assert (found.verdict, found.best, found.fastest, found.unproven) == ("best", PTQ, PTQ, ())

    def test_one_that_is_undecided_is_named(self, small_lab):
        rows = [small_lab.row("fp32"), small_lab.row("fp32", target="openvino"), small_lab.row("ptq", lost=2)]
        _, found = decided(rows, {FP32: 1.0, PTQ: 3.0, OV_FP32: 0.5})
        assert (found.verdict, found.best, found.fastest, found.unproven) == ("undecided", None, FP32, (PTQ,))

    def test_one_that_is_undecided_does_not_stop_a_choice_beyond_fp32(self, lab, small_lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=5), lab.row("fp32", target="openvino")]
        rows.append(small_lab.row("ptq", lost=2, target="openvino"))
        _, found = decided(rows, {FP32: 1.0, PTQ: 2.0, OV_FP32: 0.9, OV_PTQ: 3.0})
        assert (found.verdict, found.best, found.unproven) == ("best", PTQ, (OV_PTQ,))

    def test_none_keeps_it(self, lab):
        """FP32 keeps its accuracy by definition; here the predictions of the FP32 rows were not judged."""
        rows = [
            lab.row("fp32", measured="latency"),
            lab.row("ptq", lost=300),
            lab.row("fp32", target="openvino", measured="latency"),
            lab.row("ptq", lost=300, target="openvino"),
        ]
        _, found = decided(rows, TIED)
        assert (found.verdict, found.best, found.fastest, found.smallest) == ("none", None, None, None)

    def test_without_accuracy_the_fastest_is_named_and_none_recommended(self, lab):
        rows = [
            lab.row(method, target=target, measured="latency")
            for target in ("onnxruntime", "openvino")
            for method in ("fp32", "ptq")
        ]
        _, found = decided(rows, {FP32: 1.0, PTQ: 2.0, OV_FP32: 1.1, OV_PTQ: 7.0})
        assert (found.verdict, found.best, found.fastest) == ("none", None, OV_PTQ)


@pytest.mark.slow
@pytest.mark.parametrize("names", [2, 4])
def test_equal_engines_have_no_winner(lab, names):
    """In 400 runs of engines that differ by chance alone, the rate of a wrong `best` is at most 1 - confidence."""
    rows = [
        lab.row(method, target=target)
        for method in ("fp32", "ptq")[: names // 2]
        for target in ("onnxruntime", "openvino")
    ]
    ratios = {row.variant.id: 1.0 for row in rows}
    verdicts = [decided(rows, ratios, spread=0.03, processes=5, seed=seed)[1].verdict for seed in range(400)]
    # Of 400 with p = 0.05, more than 32 have a probability below 1 %.
    assert verdicts.count("best") <= 32
