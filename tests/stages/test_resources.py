"""Memory and energy of an engine of known size."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from oracles.engine_stages import ENGINE, INPUT_SHAPE, engine
from oracles.example_stages import task

from harness.engine.context import StageContext
from harness.engine.graph import Task
from harness.engine.local import Isolation, LocalExecutor
from harness.engine.outcomes import Done, Failed
from harness.engine.store import Store
from harness.metrics.energy import EnergyReading, energy_per_inference
from harness.results import Energy, Memory, Variant
from harness.runs import energy as energy_run
from harness.runs.passes import measure
from harness.runs.plan import VariantPlan
from harness.stages import resources as resource_stages
from harness.stages.catalog import ENERGY, MEMORY
from harness.stages.configs import EnergyConfig, MemoryConfig

MIB = 1024**2
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")


def memory_task(mebibytes: int, machine: str = "here") -> Task:
    config = MemoryConfig(build=ENGINE, input_shape=INPUT_SHAPE, batch_size=1, machine=machine)
    return Task(MEMORY, config, {"build": engine(mebibytes)})


def measured(store: Store, task: Task, isolation: Isolation = "process") -> Memory:
    outcome = LocalExecutor(store, isolation=isolation).run([task])[task.key]
    assert isinstance(outcome, Done), outcome
    return outcome.artifact.result(Memory)


class TestMemory:
    @NEEDS_PROC
    def test_an_engine_takes_what_its_weights_take(self, store: Store) -> None:
        small, large = measured(store, memory_task(1)), measured(store, memory_task(65))
        # 64 MiB more weights. ONNX Runtime may hold a second copy, packed for its kernels, and the file while it reads.
        added = large.increase_bytes - small.increase_bytes
        assert 60 * MIB < added < 4 * 66 * MIB
        # What is not the engine's does not change with it.
        assert abs(large.baseline_bytes - small.baseline_bytes) < 8 * MIB
        assert large.peak_bytes == large.baseline_bytes + large.increase_bytes

    def test_no_torch_stands_in_the_way(self) -> None:
        script = "import sys, harness.stages.configs, harness.stages.resources; from harness.targets import "
        script += "get_target; get_target('onnxruntime').load_library(); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

    @NEEDS_PROC
    def test_without_isolation_the_process_is_a_fresh_one_too(self, store: Store) -> None:
        # This process has imported torch, which alone takes hundreds of MiB.
        assert measured(store, memory_task(1), "none").baseline_bytes < 160 * MIB

    def test_an_engine_that_refuses_its_input_is_told(self, store: Store) -> None:
        shape_that_it_does_not_take = MemoryConfig(
            build=ENGINE,
            input_shape=(3, 1, 1),
            batch_size=1,
            machine="here",
        )
        task = Task(MEMORY, shape_that_it_does_not_take, {"build": engine(1)})
        outcome = LocalExecutor(store, isolation="none").run([task])[task.key]
        assert isinstance(outcome, Failed)

    def test_it_is_read_from_the_store_on_the_same_machine_only(self) -> None:
        assert memory_task(1).key == memory_task(1).key
        assert memory_task(1).key != memory_task(1, machine="elsewhere").key


class TestPeakOfStages:
    def test_is_in_every_artifact(self, store: Store, journal: Path) -> None:
        made = task("add", journal, 1)
        outcome = LocalExecutor(store).run([made])[made.key]
        assert isinstance(outcome, Done)
        peak = outcome.artifact.peak_bytes
        assert isinstance(peak, int)
        assert MIB < peak < 1000 * MIB


class FakeClock:
    """Time passes only in inferences of 2 ms and in sleep."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def time_runs(self, batch: object, runs: int) -> list[float]:
        self.now += 0.002 * runs
        self.inferences = getattr(self, "inferences", 0) + runs
        return [2.0] * runs


class FakeCounter:
    """10 W while idle, and 0.05 J more for each inference."""

    source = "a wattmeter"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def joules(self) -> float:
        return 10 * self.clock.now + 0.05 * getattr(self.clock, "inferences", 0)


def energy_config(**fields: Any) -> EnergyConfig:
    defaults = {"run_id": "r", "build": ENGINE, "input_shape": INPUT_SHAPE, "batch_size": 1}
    return EnergyConfig(**(defaults | {"busy_s": 3.0, "idle_s": 1.0} | fields))


class TestEnergy:
    def test_of_one_inference_with_idle_power_and_without(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        inputs: Any = {"build": SimpleNamespace(result=lambda kind: kind(file="engine"), file=Path)}
        monkeypatch.setattr(resource_stages, "time", clock)
        monkeypatch.setattr(resource_stages, "open_counter", lambda _device: FakeCounter(clock))
        monkeypatch.setattr(resource_stages, "_open", lambda _build, _path: clock)
        monkeypatch.setenv("HARNESS_MEASURING_LOCK", str(tmp_path / "lock"))
        found = resource_stages.measure_energy(energy_config(), inputs, tmp_path, StageContext())
        # An inference takes 2 ms: 10 W x 0.002 s + 0.05 J = 0.07 J, of which 0.05 J are its own.
        assert found.joules_per_inference == pytest.approx(0.07)
        assert found.net_joules_per_inference == pytest.approx(0.05)
        assert found.idle_w == pytest.approx(10.0)
        assert found.mean_w == pytest.approx(35.0)  # 0.07 J in 0.002 s
        assert found.spread == pytest.approx(0.0, abs=1e-9)
        assert found.source == "a wattmeter"
        assert found.seconds is not None
        assert found.inferences is not None
        assert found.seconds >= 3.0
        assert found.seconds == pytest.approx(found.inferences * 0.002)

    def test_spread_of_the_blocks(self) -> None:
        idle = EnergyReading(joules=2.0, seconds=1.0, inferences=0)
        blocks = [EnergyReading(joules=joules, seconds=1.0, inferences=10) for joules in (9.0, 10.0, 11.0)]
        found = energy_per_inference(idle, blocks, "s")
        assert found.joules_per_inference == pytest.approx(1.0)  # 30 J / 30
        assert found.net_joules_per_inference == pytest.approx(0.8)  # (30 J - 2 W x 3 s) / 30
        assert found.spread == pytest.approx(0.2)  # (1.1 - 0.9) / 1.0

    def test_is_measured_anew_in_every_run(self) -> None:
        inputs = {"build": engine(1)}
        keys = {Task(ENERGY, energy_config(run_id=run), inputs).key for run in ("one", "two")}
        assert len(keys) == 2


class TestRunEnergy:
    """Which variants are measured, and what stands in the rows of the others."""

    @pytest.fixture
    def plan(self) -> VariantPlan:
        variant = Variant(id="v", model="m", method="fp32", target="onnxruntime", batch_size=1)
        return VariantPlan(variant, "v", tasks={"build": engine(1)}, build=ENGINE)

    @pytest.fixture
    def without_counters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(energy_run, "why_not", lambda device: f"no counters of the {device}")

    @pytest.fixture
    def run(self, store: Store, plan: VariantPlan) -> Callable[[], Any]:
        planner = SimpleNamespace(
            energy=lambda plan, nonce: Task(ENERGY, energy_config(run_id=nonce), {"build": plan.tasks["build"]})
        )
        executor = LocalExecutor(store, isolation="none")
        outcomes = executor.run([plan.tasks["build"]])
        resolved = SimpleNamespace(measurement=SimpleNamespace(energy=True))
        prepared: Any = SimpleNamespace(resolved=resolved, plans=[plan], planner=planner)
        return lambda: measure(executor, energy_run.energy_tasks(prepared, outcomes, "measurement_id"))

    def test_nothing_is_started_where_nothing_counts(
        self, run: Callable[[], Any], plan: VariantPlan, without_counters: None
    ) -> None:
        assert run() == []
        assert energy_run.energy_of(plan, None) == Energy(reason="no counters of the cpu")

    def test_a_counter_that_fails_is_a_reason_and_no_failed_row(
        self, run: Callable[[], Any], plan: VariantPlan, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(energy_run, "why_not", lambda _device: None)

        def refuse(device: str) -> None:
            raise OSError("the counter is gone")

        monkeypatch.setattr(resource_stages, "open_counter", refuse)
        ((_, outcome, ids),) = run()
        assert ids == ("v",)
        assert isinstance(outcome, Failed)
        found = energy_run.energy_of(plan, outcome)
        assert found is not None
        assert found.reason == "OSError: the counter is gone"

    def test_engines_that_cannot_run_here_have_no_section(self, plan: VariantPlan, without_counters: None) -> None:
        built = VariantPlan(plan.variant, "v", tasks=plan.tasks, build=ENGINE, not_run="no GPU")
        assert energy_run.energy_of(built, None) is None
