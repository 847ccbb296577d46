"""Which variants are timed together."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from harness.engine.graph import Stage, Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done, Failed, Outcome
from harness.engine.store import Store
from harness.results import Variant
from harness.runs.latency import run_latency, timed_by_variant, timed_groups
from harness.runs.plan import VariantPlan
from harness.runs.preparation import Prepared
from harness.runs.selection import timing_reference_of
from harness.scenario import Judgement, Measurement
from harness.stages.artifacts import LatencyResult

CRASHED = Failed(reason="crashed with signal SIGSEGV", label="l", root="r", kind="crash")


class Named(BaseModel):
    """A configuration that only tells tasks apart."""

    model_config = ConfigDict(frozen=True)
    name: str


@pytest.fixture
def done(store: Store) -> Done:
    result = LatencyResult(reference="fp32", failed={}, analyses=1, watched=(), includes_transfers=False, parts_ms={})
    with store.create("0" * 64, "build") as draft:
        draft.meta.update(result.model_dump(mode="json"))
        np.save(draft.path / "x.npy", np.zeros(1))
    return Done(store.open("0" * 64), cached=False)


def plan(name: str, reference: str = "fp32", not_run: str | None = None, common: str | None = None) -> VariantPlan:
    variant = Variant(id=name, model="net", method="ptq", target="onnxruntime", batch_size=1)
    tasks = {
        kind: Task(Stage(kind, 1, "nowhere:nothing"), Named(name=name))
        for kind in ("build", "outputs", "memory", "torch_outputs")
    }
    return VariantPlan(variant, reference, timing_reference_id=common, tasks=tasks, not_run=not_run)


def names(plans: list[VariantPlan], done: Done, *failed: tuple[str, str]) -> list[list[str]]:
    outcomes: dict[str, Outcome] = {
        task.key: CRASHED if (each.variant.id, kind) in failed else done
        for each in plans
        for kind, task in each.tasks.items()
    }
    return [[each.variant.id for each in group] for group in timed_groups(plans, outcomes).values()]


def test_variants_stand_with_their_fp32_row(done: Done) -> None:
    plans = [plan("fp32"), plan("a"), plan("other", "other"), plan("b", "other"), plan("built", not_run="no GPU")]
    assert names(plans, done) == [["fp32", "a"], ["other", "b"]]


@pytest.mark.parametrize("kind", ["build", "outputs", "memory"])
def test_an_engine_that_crashed_before_does_not_take_the_others_with_it(done: Done, kind: str) -> None:
    assert names([plan("fp32"), plan("a"), plan("b")], done, ("a", kind)) == [["fp32", "b"]]


def test_what_needs_no_engine_may_fail(done: Done) -> None:
    assert names([plan("fp32"), plan("a")], done, ("a", "torch_outputs")) == [["fp32", "a"]]


def test_without_fp32_there_is_nothing_to_compare_with(done: Done) -> None:
    assert names([plan("fp32"), plan("a")], done, ("fp32", "outputs")) == []


ACROSS = (
    ("fp32", "fp32"),
    ("a", "fp32"),
    ("other", "other"),
    ("b", "other"),
)
"""Variants of two targets with their own FP32 row."""


def test_targets_that_have_a_common_reference_are_timed_together(done: Done) -> None:
    plans = [plan(name, own, common="fp32") for name, own in ACROSS]
    assert names(plans, done) == [["fp32", "a", "other", "b"]]


def test_without_the_common_reference_each_target_stands_with_its_own_fp32_row(done: Done) -> None:
    plans = [plan(name, own, common="fp32") for name, own in ACROSS]
    assert names(plans, done, ("fp32", "outputs")) == [["other", "b"]]


def variant(method: str, target: str, device: str | None = None, batch_size: int = 1, model: str = "net") -> Variant:
    name = f"{model}-{method}-{target}-{device}-{batch_size}"
    return Variant.model_validate(
        {
            "id": name,
            "model": model,
            "method": method,
            "target": target,
            "compute_capability": device,
            "batch_size": batch_size,
        }
    )


VARIANTS = [
    variant(method, target, device, batch_size, model)
    for model in ("net", "other")
    for target, device in (
        ("onnxruntime", None),
        ("openvino", None),
        ("openvino", "GPU"),
        ("tensorrt", "SM80"),
        ("tensorrt", "SM86"),
    )
    for batch_size in (1, 8)
    for method in ("fp32", "ptq")
]


@pytest.mark.parametrize("each", VARIANTS, ids=lambda each: each.id)
@pytest.mark.parametrize("given", [None, "openvino"])
def test_the_reference_is_on_the_same_kind_of_device(each: Variant, given: str | None) -> None:
    found = timing_reference_of(each, VARIANTS, given)
    assert (found.method, found.model, found.batch_size) == ("fp32", each.model, each.batch_size)
    on_cpu = each.compute_capability is None
    expected = (given or "onnxruntime", None) if on_cpu else (each.target, each.compute_capability)
    assert (found.target, found.compute_capability) == expected


class Timer:
    """Runs measuring tasks; those with a culprit among their variants fail."""

    def __init__(self, done: Done, *culprits: str) -> None:
        self.done, self.culprits = done, set(culprits)
        self.ran: list[list[str]] = []

    def measure(self, plans: Sequence[VariantPlan], reference: str, run_id: str, comparisons: int) -> Task:
        return Task(Stage("measure", 1, "nowhere:nothing"), Named(name=" ".join(each.variant.id for each in plans)))

    def run(self, tasks: Sequence[Task]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for task in tasks:
            assert isinstance(task.config, Named)
            self.ran.append(task.config.name.split())
            outcomes[task.key] = CRASHED if self.culprits & set(self.ran[-1]) else self.done
        return outcomes


def measured(done: Done, timer: Timer) -> dict[str, bool]:
    """By variant, whether it was timed."""
    plans = [plan(name, own, common="fp32") for name, own in ACROSS]
    settings = SimpleNamespace(measurement=Measurement(), verdict=Judgement())
    prepared = SimpleNamespace(resolved=settings, plans=plans, planner=timer)
    outcomes: dict[str, Outcome] = {task.key: done for each in plans for task in each.tasks.values()}
    found = run_latency(cast("Prepared", prepared), cast("LocalExecutor", timer), outcomes, "now")
    return {name: isinstance(outcome, Done) for name, outcome in timed_by_variant(found).items()}


def test_a_reference_that_fails_costs_the_rows_of_its_own_target(done: Done) -> None:
    timer = Timer(done, "fp32")
    assert measured(done, timer) == {"fp32": False, "a": False, "other": True, "b": True}
    assert timer.ran == [["fp32", "a", "other", "b"], ["fp32", "a"], ["other", "b"]]


def test_nothing_is_timed_twice_where_all_went_well(done: Done) -> None:
    timer = Timer(done)
    assert all(measured(done, timer).values())
    assert timer.ran == [["fp32", "a", "other", "b"]]
