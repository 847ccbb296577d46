"""Fast, proven to keep its accuracy, and no more work than needed."""

from oracles.comparisons import compared_as

from harness.verdicts.recommend import recommend


def chosen(rows):
    found = recommend(rows)
    return None if found is None else found.row.variant.id


def test_ptq_is_preferred_to_qat_that_is_not_provably_faster(lab):
    rows = [lab.row("fp32"), lab.row("ptq", lost=5, ratio=1.70), lab.row("qat", won=5, ratio=1.71)]
    assert chosen(rows) == "net-ptq-max-True-harness"


def test_qat_is_taken_when_it_is_provably_faster(lab):
    rows = [lab.row("fp32"), lab.row("ptq", lost=5, ratio=1.2), lab.row("qat", ratio=1.8)]
    assert chosen(rows) == "net-qat-max-True-harness"


def test_qat_is_taken_when_ptq_loses(lab):
    rows = [lab.row("fp32"), lab.row("ptq", lost=300, ratio=1.7), lab.row("qat", lost=5, ratio=1.7)]
    assert chosen(rows) == "net-qat-max-True-harness"


def test_fp16_needs_less_work_than_ptq_of_the_same_speed(lab):
    rows = [lab.row("fp32"), lab.row("fp16", ratio=1.7), lab.row("ptq", ratio=1.7)]
    assert chosen(rows) == "net-fp16"


def test_among_equals_the_smaller_observed_loss_wins_and_the_others_are_named(lab):
    rows = [
        lab.row("fp32"),
        lab.row("ptq", lost=9, ratio=1.71),
        lab.row("ptq", lost=4, ratio=1.70, per_channel=False),
        lab.row("qat", ratio=1.70),
    ]
    found = recommend(rows)
    assert found is not None
    assert found.row.variant.id == "net-ptq-max-False-harness"
    assert [row.variant.id for row in found.ties] == ["net-ptq-max-True-harness"]


def test_a_faster_row_beats_a_slower_one_with_less_loss(lab):
    rows = [lab.row("fp32"), lab.row("ptq", lost=0, ratio=1.3), lab.row("ptq", lost=20, ratio=1.7, per_channel=False)]
    assert chosen(rows) == "net-ptq-max-False-harness"


def test_fp32_stays_when_nothing_is_faster(lab):
    assert chosen([lab.row("fp32"), lab.row("ptq", ratio=1.02)]) == "net-fp32"


def test_fp32_stays_when_the_speedup_is_not_proven(lab):
    """The table says inconclusive: the recommendation must not know better."""
    unclear = lab.row("ptq", ratio=1.05, width=0.03)  # 1.02 to 1.08 with a band of 3 %
    assert unclear.latency.verdict == "inconclusive"
    assert chosen([lab.row("fp32"), unclear]) == "net-fp32"
    corrected = lab.row("ptq", ratio=1.2)
    corrected = corrected.model_copy(update={"latency": compared_as(corrected.latency, verdict="inconclusive")})
    assert chosen([lab.row("fp32"), corrected]) == "net-fp32"


def test_fp32_stays_when_all_that_is_faster_loses(lab):
    assert chosen([lab.row("fp32"), lab.row("ptq", lost=300, ratio=3.0)]) == "net-fp32"


def test_nothing_is_said_while_the_faster_rows_are_undecided(small_lab):
    row = small_lab.row("ptq", lost=2, ratio=3.0)
    assert row.accuracy.verdict == "inconclusive"
    assert chosen([small_lab.row("fp32"), row]) is None


def test_without_accuracy_or_latency_nothing_is_recommended(lab):
    for measured in ("latency", "accuracy"):
        assert chosen([lab.row("fp32", measured=measured), lab.row("ptq", ratio=3.0, measured=measured)]) is None


def test_a_simulated_row_is_never_recommended(lab):
    rows = [lab.row("fp32"), lab.row("ptq", ratio=3.0, status="simulated")]
    assert chosen(rows) == "net-fp32"
