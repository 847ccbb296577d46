"""QAT from several seeds: its spread, and that the best seed is never taken for the method."""

import statistics

import pytest

from harness.verdicts.seeds import representatives, seed_spreads
from harness.words.conclusions import conclude


@pytest.fixture
def seeded(lab):
    """PTQ loses 300 of 10,000; QAT of five seeds loses 90, 10, 60, 80 and 70: the median one 70."""
    rows = [lab.row("fp32"), lab.row("ptq", lost=300, ratio=1.7)]
    for seed, lost in enumerate((90, 10, 60, 80, 70)):
        row = lab.row("qat", lost=lost, ratio=1.7, qat_seed=seed, skip=(f"seed{seed}",))
        name = f"qat-{seed}"
        lab.correct[name] = lab.correct[row.variant.id]
        rows.append(row.model_copy(update={"variant": row.variant.model_copy(update={"id": name, "skip": ()})}))
    return rows


class TestSpread:
    def test_mean_deviation_and_extremes(self, seeded):
        (spread,) = seed_spreads(seeded)
        drops = [0.009, 0.001, 0.006, 0.008, 0.007]
        assert spread.drop.n == 5
        assert spread.drop.mean == pytest.approx(0.0062)
        assert spread.drop.sd == pytest.approx(statistics.stdev(drops))
        assert (spread.drop.min, spread.drop.max) == pytest.approx((0.001, 0.009))
        assert spread.metric == "top-1"
        assert spread.value.mean == pytest.approx(0.9 - 0.0062)
        assert spread.variants == tuple(f"qat-{seed}" for seed in range(5))

    def test_the_median_stands_for_all(self, seeded):
        (spread,) = seed_spreads(seeded)
        assert spread.representative == "qat-4"
        assert [row.variant.id for row in representatives(seeded, [spread])][2:] == ["qat-4"]

    def test_of_an_even_number_it_is_the_lower_of_the_two_in_the_middle(self, seeded):
        # Without the seed that lost 70: 10, 60, 80, 90. The middle two are 60 and 80, and 80 is the lower top-1.
        (spread,) = seed_spreads(seeded[:-1])
        assert spread.representative == "qat-3"

    def test_one_seed_has_no_spread(self, lab):
        assert seed_spreads([lab.row("fp32"), lab.row("ptq"), lab.row("qat", lost=5)]) == ()

    def test_variants_that_differ_in_more_are_kept_apart(self, lab):
        rows = [lab.row("qat", lost=5, qat_seed=1), lab.row("qat", lost=6, qat_seed=2, per_channel=False)]
        assert seed_spreads(rows) == ()

    def test_a_seed_without_accuracy_stays_among_the_rows(self, seeded, lab):
        failed = lab.row("qat", status="failed", qat_seed=9)
        (spread,) = seed_spreads([*seeded, failed])
        assert failed in representatives([*seeded, failed], [spread])


class TestConclusion:
    def test_speaks_of_the_median_seed_and_not_of_the_best(self, seeded, lab):
        (conclusion,) = conclude(seeded, lab.correct)
        headline, *details = conclusion.text.splitlines()
        # 300 - 70 = 230 of 10,000 are won back, where the best seed would say 2.90.
        assert "QAT wins back 2.30" in headline
        assert "2.90" not in conclusion.text
        (line,) = [each for each in details if "seeds" in each]
        assert line == (
            "QAT max per-channel from 5 seeds: drop 0.62 points on average, standard deviation 0.31, 0.10 to 0.90; "
            "the conclusions use the median one, seed 4."
        )

    def test_a_lucky_seed_is_not_recommended(self, seeded, lab):
        # The best seed alone keeps its accuracy within half a point; the method does not.
        assert seeded[3].accuracy.verdict == "same"
        (conclusion,) = conclude(seeded, lab.correct)
        assert conclusion.recommended != "qat-1"
