"""The step that loses accuracy is named when it is proven, and not before."""

from __future__ import annotations

import numpy as np
import pytest

from harness.parity.chain import ChainEvidence, agreement, parity_of
from harness.results import Agreement
from harness.verdicts.parity import judge_chain

N = 1000
LABELS = np.arange(N) % 4
FP32 = "torch_fp32", "onnx_fp32"


def outputs(wrong: int = 0, n: int = N, noise: float = 0.0, start: int = 0) -> np.ndarray:
    """Logits (n, 4) that are right but for `wrong` samples from `start` on."""
    predicted = LABELS.copy()
    predicted[start : start + wrong] = (predicted[start : start + wrong] + 1) % 4
    return (np.eye(4)[predicted] * 10 + noise).astype(np.float32)[:n]


def chain(labels: np.ndarray | None = LABELS, absent=None, **representations: np.ndarray) -> ChainEvidence:
    return ChainEvidence(representations, labels, absent or {})


def full(quantized: int, file: int, engine: int, n_file: int = N) -> ChainEvidence:
    """How many samples each link gets wrong; always the same ones."""
    return chain(
        torch_fp32=outputs(),
        onnx_fp32=outputs(n=n_file),
        torch_quantized=outputs(quantized),
        onnx_quantized=outputs(file, n=n_file),
        engine=outputs(engine),
    )


def parity(evidence: ChainEvidence):
    return judge_chain(parity_of(evidence, confidence=0.95, seed=0))


class TestLosses:
    @pytest.mark.parametrize(
        ("wrong", "step"),
        [
            ((30, 30, 30), "onnx_fp32 → torch_quantized"),
            ((0, 30, 30), "torch_quantized → onnx_quantized"),
            ((0, 0, 30), "onnx_quantized → engine"),
            ((0, 0, 0), None),
            ((20, 20, 60), "onnx_quantized → engine"),  # both are proven, the second is larger
        ],
    )
    def test_the_step_with_the_largest_proven_loss_is_named(
        self, wrong: tuple[int, int, int], step: str | None
    ) -> None:
        assert parity(full(*wrong)).lossy_step == step

    def test_each_step_has_its_own_loss(self) -> None:
        steps = parity(full(20, 20, 60)).steps
        assert [step.drop for step in steps] == pytest.approx([0, 0.02, 0, 0.04])
        assert [step.top1 for step in steps] == pytest.approx([1, 0.98, 0.98, 0.94])
        assert [step.loses for step in steps] == [False, True, False, True]

    def test_a_loss_that_one_test_would_prove_is_none_among_four(self) -> None:
        """6 samples lost and none won: p = 2 / 2^6 = 0.031, below 0.05 and above 0.05 / 4."""
        alone = parity(chain(torch_fp32=outputs(), onnx_fp32=outputs(6)))
        assert alone.steps[0].comparison.p_value == pytest.approx(2 / 2**6)
        assert alone.lossy_step == "torch_fp32 → onnx_fp32"
        assert parity(full(6, 6, 6)).lossy_step is None

    def test_a_gain_is_no_loss(self) -> None:
        steps = parity(full(0, 40, 0)).steps
        assert steps[-1].drop == pytest.approx(-0.04)
        assert steps[-1].loses is False

    def test_without_labels_nothing_is_lost_and_agreement_is_known(self) -> None:
        found = parity(chain(None, torch_fp32=outputs(), onnx_fp32=outputs(100)))
        assert (found.steps[0].comparison, found.steps[0].top1, found.lossy_step) == (None, None, None)
        assert not found.steps[0].loses
        assert found.steps[0].top1_agreement == pytest.approx(0.9)


class TestLinks:
    def test_all_steps_are_judged_on_the_samples_that_every_link_has(self) -> None:
        found = parity(full(30, 30, 30, n_file=200))
        assert {step.n for step in found.steps} == {200}
        assert found.steps[1].drop == pytest.approx(30 / 200)

    def test_a_link_that_is_absent_is_passed_over(self) -> None:
        absent = {"torch_quantized": "nncf leaves none"}
        evidence = chain(absent=absent, torch_fp32=outputs(), onnx_fp32=outputs(), onnx_quantized=outputs(40))
        found = parity(evidence)
        assert [(step.start, step.end) for step in found.steps] == [FP32, ("onnx_fp32", "onnx_quantized")]
        assert found.absent == absent
        assert found.lossy_step == "onnx_fp32 → onnx_quantized"

    def test_the_fp32_file_is_not_taken_for_that_of_a_quantized_network(self) -> None:
        simulated = chain(torch_fp32=outputs(), onnx_fp32=outputs(), torch_quantized=outputs(40))
        assert parity(simulated).torch_vs_onnx is None
        assert parity(chain(torch_fp32=outputs(), onnx_fp32=outputs(1))).torch_vs_onnx is not None
        assert parity(full(0, 0, 10)).torch_vs_onnx.top1_agreement == 1.0
        assert parity(full(0, 0, 10)).onnx_vs_engine.top1_agreement == pytest.approx(0.99)

    def test_no_links_no_steps(self) -> None:
        found = parity(chain())
        assert (found.steps, found.confidence) == ((), None)


def test_sqnr_is_signal_over_squared_difference() -> None:
    """Signal 4 x 100, noise 1: 10 log10(400)."""
    reference = np.full((4, 1), 10, np.float32)
    other = reference.copy()
    other[2] += 1
    assert agreement(reference, other).sqnr_db == pytest.approx(10 * np.log10(400))
    assert agreement(reference, other).max_abs_error == 1
    assert agreement(reference, reference).sqnr_db is None


class TestNotNumbers:
    """NaN must not read as identical, and a record with it must be readable again."""

    reference = outputs(n=10)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_on_one_side_they_are_an_infinite_error(self, value: float) -> None:
        other = self.reference.copy()
        other[3, 1] = value
        found = agreement(self.reference, other)
        assert (found.max_abs_error, found.sqnr_db) == (np.inf, -np.inf)
        assert Agreement.model_validate_json(found.model_dump_json()) == found
        assert agreement(other, self.reference).sqnr_db == -np.inf

    def test_on_both_sides_they_are_no_error(self) -> None:
        both = self.reference.copy()
        both[3, 1] = -np.inf
        other = both.copy()
        other[0, 0] += 1.0
        found = agreement(both, other)
        assert found.max_abs_error == 1.0
        assert found.sqnr_db == pytest.approx(10 * np.log10(np.square(both[np.isfinite(both)]).sum()))
