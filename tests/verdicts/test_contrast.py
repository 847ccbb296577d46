"""QAT is compared with its own sibling, on the same samples."""

import pytest

from harness.verdicts.contrast import contrasts


def test_each_qat_row_meets_the_ptq_row_that_differs_in_the_method_alone(lab):
    rows = [
        lab.row("fp32"),
        lab.row("ptq", lost=10),
        lab.row("ptq", lost=300, per_channel=False),
        lab.row("ptq", lost=20, calibrator="percentile", percentile=99.0),
        lab.row("ptq", lost=15, skip=("head",)),
        lab.row("ptq", lost=5, toolkit="onnxruntime"),
        lab.row("qat", lost=50, per_channel=False),
        lab.row("qat", lost=12, skip=("head",)),
    ]
    pairs = contrasts(rows, lab.correct)
    assert [(pair.ptq.variant.id, pair.qat.variant.id) for pair in pairs] == [
        ("net-ptq-max-False-harness", "net-qat-max-False-harness"),
        ("net-ptq-max-True-harness-head", "net-qat-max-True-harness-head"),
    ]


def test_gain_is_qat_minus_ptq_on_paired_samples(lab):
    rows = [lab.row("fp32"), lab.row("ptq", lost=300), lab.row("qat", lost=60)]
    (pair,) = contrasts(rows, lab.correct)
    # QAT gets 240 of the samples right that PTQ lost, and loses none in exchange.
    assert pair.gain == pytest.approx(0.024)
    assert pair.gain_ci[0] <= 0.024 <= pair.gain_ci[1]
    assert pair.gain_ci[0] > 0.02
    assert (pair.verdict, pair.is_proven) == ("better", True)


def test_a_proven_gain_within_the_margin_is_the_same(lab):
    rows = [lab.row("fp32"), lab.row("ptq", lost=30), lab.row("qat", lost=0)]
    (pair,) = contrasts(rows, lab.correct)
    # 30 of 10,000: 0.3 points, certainly more than nothing and certainly less than 0.5.
    assert (pair.verdict, pair.is_proven) == ("same", True)


def test_rows_without_siblings_or_predictions_are_left_out(lab):
    rows = [lab.row("fp32"), lab.row("qat"), lab.row("ptq", status="failed")]
    assert contrasts(rows, lab.correct) == ()
    assert contrasts([lab.row("ptq"), lab.row("qat")], {}) == ()
