"""From a scenario to tasks: which stages each variant needs, and which of them variants share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from harness.comparison.environments import machine_class
from harness.engine.graph import Task
from harness.engine.outcomes import Done, Outcome
from harness.machine.environment import machine
from harness.results import Representation, Variant
from harness.runs.availability import unavailable_reason
from harness.runs.network_plan import NetworkPlanner
from harness.runs.parity import LAYER_SAMPLES, Chain, absent_representations, compare_layers_task, predict_onnx_task
from harness.runs.plugins import Plugins
from harness.runs.resolve import Resolved
from harness.stages.catalog import (
    BUILD,
    ENERGY,
    EXPORT,
    LAYER_TIMES,
    LOAD,
    MEASURE,
    MEMORY,
    PEAK,
    PREDICT,
    PREDICT_TORCH,
    STREAMS,
)
from harness.stages.configs import (
    BuildConfig,
    EnergyConfig,
    ExportConfig,
    LayersConfig,
    LayerTimesConfig,
    LoadConfig,
    MeasureConfig,
    MemoryConfig,
    PeakConfig,
    PredictConfig,
    PredictTorchConfig,
    ProfiledEngine,
    StreamsConfig,
    built,
)
from harness.targets import get_target
from harness.targets.base import Target
from harness.toolkits import DEFAULT, get_toolkit
from harness.words.phrases import counted


@dataclass(frozen=True)
class VariantPlan:
    """The tasks of one variant, by what they are for; none when it is unavailable."""

    variant: Variant
    reference_id: str
    """FP32 on the same target."""
    timing_reference_id: str | None = None
    """FP32 on the reference target, where that is on the same kind of device; None: `reference_id`."""
    simulated: bool = False
    unavailable: str | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    """Keys: `train`, `check`, `calibrate`, `quantize`, `finetune`, `export`, `build`, `outputs`, `torch_outputs`,
    `memory`."""
    build: BuildConfig | None = None
    not_run: str | None = None
    """Why the engine can be built but not run on this machine."""
    broken: str | None = None
    """Why its network cannot be used at all; there are no tasks then."""
    chain: Chain = field(default_factory=Chain)
    """For comparison only: a failing representation leaves the row as it is."""

    def engine_runs(self, outcomes: Mapping[str, Outcome] | None, *others: str) -> bool:
        """Whether its engine was built and can run here, and those of `others` that it has were done.

        Without `outcomes`, before anything ran: whether that is to be expected.
        """
        if outcomes is None:
            return self.is_measured
        tasks = [self.tasks[name] for name in ("build", *others) if name in self.tasks]
        return self.is_measured and all(isinstance(outcomes.get(task.key), Done) for task in tasks)

    @property
    def is_measured(self) -> bool:
        """Whether it has an engine that runs here as it would where it is deployed."""
        return "build" in self.tasks and self.not_run is None and not self.simulated

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """Those of the row and those of its parity chain."""
        return (*self.tasks.values(), *self.chain.tasks)


class Planner:
    """Makes the tasks of every variant; equal tasks have equal keys, so sharing needs no bookkeeping."""

    def __init__(self, resolved: Resolved, plugins: Plugins | None = None) -> None:
        self._resolved = resolved
        self._plugins = plugins or Plugins()
        self._of_networks = NetworkPlanner(resolved, self._plugins)

    def plan(self, variant: Variant, reference_id: str) -> VariantPlan:
        """The tasks of one variant, or why it cannot run here."""
        target = get_target(variant.target)
        if variant.model in self._resolved.broken:
            return VariantPlan(variant, reference_id, broken=self._resolved.broken[variant.model])
        formats = self._formats(variant)
        plan = VariantPlan(variant, reference_id, simulated=not all(map(target.is_deployable, formats)))
        refusals = filter(None, map(target.refusal, formats))
        reason = unavailable_reason(variant) or self._override_refusal(variant) or next(refusals, None)
        if reason is not None:
            return replace(plan, unavailable=reason)
        is_built = all(map(target.is_buildable, formats))
        settings = self._resolved.targets[variant.target]
        widest = max(formats, key=lambda each: each.activation_bits or 0)
        options = target.build_options(widest, settings.threads, settings)
        not_run = target.cannot_run(options) if is_built else None
        tasks = self._of_networks.network(variant)
        if variant.toolkit not in (None, DEFAULT):
            tasks |= self._of_networks.other_toolkit(variant, dict(tasks), target)
        else:
            runs = is_built and not_run is None
            tasks |= self._of_networks.own_toolkit(variant, dict(tasks), target, exports=is_built, runs=runs)
        if not is_built:
            return replace(plan, tasks=tasks, chain=self._chain(variant, tasks, target))
        file = tasks["export"]
        if target.float_type(variant, settings) == "fp16":
            tasks["export"] = self._of_networks.to_fp16(variant, tasks["export"])
        own_target = self._plugins.codes(("target", [variant.target]))
        build = BuildConfig(target=variant.target, plugins=own_target, options=options.model_dump(mode="json"))
        tasks["build"] = Task(
            BUILD, build, {"onnx": tasks["export"]}, label=f"build {variant.id}", requires=(variant.target,)
        )
        if not_run is None and self._resolved.measurement.accuracy:
            config = PredictConfig(data=self._resolved.data, build=build)
            tasks["outputs"] = Task(PREDICT, config, {"build": tasks["build"]}, label=f"evaluate {variant.id}")
        if not_run is None and not plan.simulated and self._resolved.measurement.memory:
            tasks["memory"] = self._memory(variant, build, tasks["build"])
        chain = self._chain(
            variant, tasks, target, file=file if _writes_onnx(variant) else None, build=build, not_run=not_run
        )
        if not_run is not None and not plan.simulated:
            tasks.pop("torch_outputs", None)
        return replace(plan, tasks=tasks, build=build, not_run=not_run, chain=chain)

    def _chain(
        self,
        variant: Variant,
        tasks: Mapping[str, Task],
        target: Target,
        *,
        file: Task | None = None,
        build: BuildConfig | None = None,
        not_run: str | None = None,
    ) -> Chain:
        """Representations from the eager network to the engine; `file` is the ONNX file before conversion to FP16.

        None where there is no such file: of rows that are simulated, and of models in the target's own format.
        """
        settings = self._resolved.measurement
        if settings.parity == "off":
            return Chain()
        representations: dict[Representation, Task] = {}
        absent: dict[Representation, str] = {}
        if settings.accuracy:
            representations = self._representations(variant, tasks, target, file)
            absent = absent_representations(variant, representations, not_run)
        layers = None
        if settings.parity == "layers" and variant.is_quantized and file is not None and build is not None:
            layers = self._layers(variant, tasks, file, build, runs=not_run is None)
        return Chain(representations, absent, layers)

    def _representations(
        self, variant: Variant, tasks: Mapping[str, Task], target: Target, file: Task | None
    ) -> dict[Representation, Task]:
        model, network = self._resolved.networks[variant.model].config, self._of_networks.network(variant)
        is_quantized = variant.is_quantized
        fp32 = ExportConfig(model=model, quantizer=None, integer_biases=target.integer_biases)
        files: dict[Representation, Task] = {"onnx_fp32": Task(EXPORT, fp32, network, label=f"export {variant.model}")}
        if file is not None and is_quantized:
            files["onnx_quantized"] = file
        if file is not None and tasks["export"] is not file:
            files["onnx_fp16"] = tasks["export"]
        samples = self._resolved.measurement.parity_samples
        representations: dict[Representation, Task] = {
            representation: predict_onnx_task(task, self._resolved.data, samples)
            for representation, task in files.items()
        }
        representations["torch_fp32"] = self.eager(variant, samples)
        if is_quantized and "torch_outputs" in tasks:
            representations["torch_quantized"] = tasks["torch_outputs"]
        if "outputs" in tasks:
            representations["engine"] = tasks["outputs"]
        return representations

    def _layers(
        self, variant: Variant, tasks: Mapping[str, Task], file: Task, build: BuildConfig, *, runs: bool
    ) -> Task:
        is_ours = variant.toolkit in (None, DEFAULT)
        inputs = {"onnx": file, "train": tasks["train"]}
        if is_ours:
            inputs["state"] = tasks.get("finetune", tasks["quantize"])
        if runs:
            inputs["build"] = tasks["build"]
        config = LayersConfig(
            data=self._resolved.data,
            samples=LAYER_SAMPLES,
            model=self._resolved.networks[variant.model].config,
            quantizer=self._of_networks.quantizer(variant) if is_ours else None,
            build=build if runs else None,
        )
        return compare_layers_task(config, inputs, variant.id)

    def eager(self, variant: Variant, samples: int | None = None) -> Task:
        """Outputs of the eager network on the test samples, all or the first ones."""
        model = self._resolved.networks[variant.model].config
        config = PredictTorchConfig(data=self._resolved.data, model=model, samples=samples)
        label = f"evaluate torch {variant.model}"
        return Task(PREDICT_TORCH, config, {"train": self._of_networks.train(variant)}, label=label)

    def _formats(self, variant: Variant) -> list[Variant]:
        """The variant, and again with the width of every rule in place of its own."""
        formats = [variant]
        for rule in self._of_networks.rules(variant):
            if rule.weight is not None and rule.weight.num_bits is not None:
                formats.append(variant.model_copy(update={"weight_bits": rule.weight.num_bits}))
            if rule.input is not None and rule.input.num_bits is not None:
                formats.append(variant.model_copy(update={"activation_bits": rule.input.num_bits}))
        return formats

    def measure(self, plans: Sequence[VariantPlan], reference: str, run_id: str, comparisons: int) -> Task:
        """Latency of variants of one model, kind of device and batch size; `reference`, an FP32 row, is among them."""
        resolved, variant = self._resolved, plans[0].variant
        places = list(dict.fromkeys(plan.variant.place for plan in plans))
        settings = resolved.measurement
        engines = {plan.variant.id: plan.build for plan in plans if plan.build is not None}
        config = MeasureConfig(
            run_id=run_id,
            reference=reference,
            own_references={plan.variant.id: plan.reference_id for plan in plans},
            engines=engines,
            builds=settings.builds,
            input_shape=self._resolved.networks[variant.model].config.input_shape,
            batch_size=variant.batch_size,
            plan=settings.for_targets(len(places)),
            confidence=resolved.verdict.confidence,
            margin=resolved.verdict.latency_margin,
            comparisons=comparisons,
            seed=resolved.seed,
        )
        inputs = {
            built(plan.variant.id, number): self._built(plan, number)
            for plan in plans
            for number in range(settings.builds)
        }
        label = f"measure {variant.model} on {' and '.join(places)}, batch {variant.batch_size}"
        requires = tuple(dict.fromkeys(plan.variant.target for plan in plans))
        return Task(MEASURE, config, inputs, label=label, requires=requires)

    def load(self, plan: VariantPlan, run_id: str) -> Task | None:
        """The load scenarios of one variant; None when the scenario has none."""
        settings, variant = self._resolved.measurement, plan.variant
        if not settings.load or plan.build is None:
            return None
        config = LoadConfig(
            run_id=run_id,
            build=plan.build,
            data=self._resolved.data,
            batch_size=variant.batch_size,
            load={name: chosen.model_dump(mode="json") for name, chosen in settings.load.items()},
            plugins=self._plugins.codes(("load scenario", settings.load)),
            accuracy=settings.accuracy,
            seed=self._resolved.seed,
        )
        inputs = {"build": plan.tasks["build"]}
        return Task(LOAD, config, inputs, label=f"load {variant.id}", requires=(variant.target,))

    @staticmethod
    def _built(plan: VariantPlan, number: int) -> Task:
        """The variant's engine, or another build of it."""
        first = plan.tasks["build"]
        if number == 0 or plan.build is None:
            return first
        config = plan.build.model_copy(update={"repeat": number})
        return replace(first, config=config, label=f"{first.label}, build {number + 1}")

    def energy(self, plan: VariantPlan, run_id: str) -> Task:
        """Energy of one variant's inferences."""
        assert plan.build is not None
        settings = self._resolved.measurement
        config = EnergyConfig(
            run_id=run_id,
            build=plan.build,
            input_shape=self._resolved.networks[plan.variant.model].config.input_shape,
            batch_size=plan.variant.batch_size,
            busy_s=settings.energy_s,
            idle_s=settings.energy_idle_s,
        )
        inputs = {"build": plan.tasks["build"]}
        return Task(ENERGY, config, inputs, label=f"energy of {plan.variant.id}", requires=(plan.variant.target,))

    def streams(self, plan: VariantPlan, run_id: str) -> Task | None:
        """Samples per second of one variant; None where the scenario asks for no streams, or the target has none."""
        settings = self._resolved.measurement
        target = get_target(plan.variant.target)
        if not (settings.latency and settings.streams) or plan.build is None:
            return None
        if target.with_streams(target.options_from(plan.build.options), 1) is None:
            return None
        config = StreamsConfig(
            run_id=run_id,
            build=plan.build,
            input_shape=self._resolved.networks[plan.variant.model].config.input_shape,
            batch_size=plan.variant.batch_size,
            streams=tuple(sorted(set(settings.streams))),
            busy_s=settings.streams_s,
        )
        label = f"streams of {plan.variant.id}"
        return Task(STREAMS, config, {"build": plan.tasks["build"]}, label=label, requires=(plan.variant.target,))

    def layer_times(self, plans: Sequence[VariantPlan]) -> Task:
        """Times of the layers of these variants."""
        engines = {
            plan.variant.id: ProfiledEngine(
                build=plan.build,
                input_shape=self._resolved.networks[plan.variant.model].config.input_shape,
                batch_size=plan.variant.batch_size,
            )
            for plan in plans
            if plan.build is not None
        }
        config = LayerTimesConfig(machine=self._machine, engines=engines)
        inputs = {plan.variant.id: plan.tasks["build"] for plan in plans if plan.variant.id in engines}
        requires = tuple(dict.fromkeys(plan.variant.target for plan in plans))
        return Task(LAYER_TIMES, config, inputs, label="times of the engines' layers", requires=requires)

    def peak(self, threads: int) -> Task:
        """What the CPU can multiply and add with so many threads."""
        config = PeakConfig(machine=self._machine, threads=threads)
        return Task(PEAK, config, label=f"peak of the CPU, {counted(threads, 'thread')}")

    def _memory(self, variant: Variant, build: BuildConfig, built: Task) -> Task:
        config = MemoryConfig(
            build=build,
            input_shape=self._resolved.networks[variant.model].config.input_shape,
            batch_size=variant.batch_size,
            machine=self._machine,
        )
        return Task(MEMORY, config, {"build": built}, label=f"memory of {variant.id}", requires=(variant.target,))

    @cached_property
    def _machine(self) -> str:
        return machine_class(machine())

    def _override_refusal(self, variant: Variant) -> str | None:
        """Why rules keep another toolkit from quantizing the variant; what they skip, every toolkit skips."""
        if variant.toolkit in (None, DEFAULT) or not any(
            rule.input or rule.weight for rule in self._of_networks.rules(variant)
        ):
            return None
        return f"{variant.toolkit} cannot override single tensors, as `quantization_params.rules` asks; use `harness`"


def _writes_onnx(variant: Variant) -> bool:
    return variant.toolkit in (None, DEFAULT) or get_toolkit(str(variant.toolkit)).writes_onnx
