"""The stages that make a network: weights, ranges, quantized weights, ONNX files.

This module is imported by workers only; `catalog.py` names the functions.
"""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.fx import GraphModule

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.exporting.onnx_export import export_onnx
from harness.exporting.onnx_template import OnnxTemplate, template_of
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.histogram import load_histograms, save_histograms
from harness.quantization.ptq.steps import change_weights, changing_the_function, correct
from harness.quantization.qat.graph import Freezing, freezing_schedule, training_graph, write_back
from harness.stages.artifacts import (
    HISTOGRAMS,
    ONNX,
    STATE,
    TEMPLATE,
    WEIGHTS,
    CalibrateResult,
    Checked,
    ExportResult,
    FinetuneResult,
    QuantizeResult,
    TemplateResult,
    TrainResult,
    file_of,
)
from harness.stages.checking import Checks, check_samples, expected_of
from harness.stages.configs import (
    CalibrateConfig,
    CorrectionConfig,
    ExportConfig,
    FinetuneConfig,
    Fp16Config,
    ModelConfig,
    QuantizeConfig,
    QuantizeOnnxConfig,
    QuantizerConfig,
    TemplateConfig,
    TrainConfig,
)
from harness.stages.loading import (
    captured,
    captured_to_quantize,
    first_batches,
    load_quantized,
    load_user_weights,
    make_quantizer,
    new_model,
    prepare_with_notes,
    prepared_network,
    read_splits,
    rules_of,
    with_weights,
)
from harness.targets import get_target
from harness.toolkits import get_toolkit
from harness.toolkits.base import Batches, NetworkSource, Request
from harness.toolkits.support.skipped import skipped_modules
from harness.training.loop import fit
from harness.training.own_loop import LoopContext, TrainingData, train_with
from harness.training.settings import Recipe
from harness.training.validation import hold_out
from harness.verification.onnx_steps import check_file, check_fp16_file, check_toolkit_file
from harness.verification.quantized_steps import check_quantized_file, check_training_graph, check_written_back
from harness.verification.torch_steps import check_capture, check_prepared

CHECKPOINT = "checkpoint.safetensors"


def train(config: TrainConfig, inputs: Inputs, folder: Path, context: StageContext) -> TrainResult:
    """FP32 weights of the eager network."""
    torch.set_num_threads(context.threads)
    model = new_model(config.model)
    result = TrainResult()
    if config.weights_path is not None:
        load_user_weights(model, config)
    elif config.recipe is not None and config.data is not None:
        started = time.perf_counter()
        held = hold_out(read_splits(config.data).train, config.recipe.seed)
        if config.loop is not None:
            _train_by_own_loop(config.loop, model, TrainingData(held.train, held.validation), config.recipe, context)
        else:
            log = fit(
                model,
                held.train,
                held.validation,
                config.recipe,
                progress=context.progress,
                checkpoint=_checkpoint(context),
                note=context.note,
            )
            result = TrainResult(log=log)
        result = result.model_copy(update={"train_s": time.perf_counter() - started})
    else:
        _estimate_batch_norm(model, config.model)
    tensors = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    return result


def calibrate(config: CalibrateConfig, inputs: Inputs, folder: Path, context: StageContext) -> CalibrateResult:
    """Histograms of every activation that the target quantizes, from one pass over the calibration samples."""
    torch.set_num_threads(context.threads)
    samples = read_splits(config.data).calibration
    prepared = prepared_network(config.model, config.placement, inputs["train"].file(WEIGHTS))
    started = time.perf_counter()
    checks = _check_prepared(config.model, config.placement, prepared, inputs)
    seen = 0
    for batch in first_batches(samples, config.samples, config.batch_size):
        quantized.collect(prepared, batch)
        seen += len(batch)
        context.progress(seen, config.samples)
    save_histograms(folder / HISTOGRAMS, quantized.collected_histograms(prepared))
    return CalibrateResult(calibrate_s=time.perf_counter() - started, samples=seen, **checks.fields)


def quantize(config: QuantizeConfig, inputs: Inputs, folder: Path, context: StageContext) -> QuantizeResult:
    """PTQ: ranges from the collected histograms, then the steps that correct weights and biases.

    Data is read for those steps only.
    """
    torch.set_num_threads(context.threads)
    prepared, notes = prepare_with_notes(config.model, config.quantizer, inputs["train"].file(WEIGHTS))
    checks = _check_prepared(config.model, config.quantizer, prepared, inputs)
    histograms = load_histograms(inputs["calibrate"].file(HISTOGRAMS))
    started = time.perf_counter()
    calibrator = make_calibrator(config.calibrator, percentile=config.percentile)
    quantized.set_ranges(prepared, histograms, calibrator)
    outliers = quantized.outlier_notes(prepared, histograms, calibrator)
    notes += outliers
    passes = _Passes(config.correction, context)
    if config.correction is not None:
        notes += correct(prepared, config.quantizer.ptq_steps, passes.start)
    seconds = time.perf_counter() - started
    quantized.save_state(prepared, folder / STATE)
    for note in notes:
        context.note(note)
    if config.verbose:
        for quantizer in quantized.activation_quantizers(prepared):
            context.note(f"{quantizer.name}: {quantizer.describe()}")
    return QuantizeResult(
        quantize_s=seconds, data_passes=passes.n, notes=tuple(notes), outliers=tuple(outliers), **checks.fields
    )


def finetune(config: FinetuneConfig, inputs: Inputs, folder: Path, context: StageContext) -> FinetuneResult:
    """QAT from the PTQ state; the best epoch is kept, in the form of a PTQ state with batch norm folded."""
    torch.set_num_threads(context.threads)
    prepared = load_quantized(config.model, config.quantizer, inputs)
    observe = config.freeze_observers_after > 0
    graph = training_graph(prepared, batch_norm=config.batch_norm, learn_ranges=config.learn_amax, observe=observe)
    samples, checks = check_samples(inputs), Checks()
    checks.run(check_training_graph, prepared, graph, samples)
    freezing = Freezing(config.freeze_batch_norm_after, config.freeze_observers_after)
    started = time.perf_counter()
    held = hold_out(read_splits(config.data).train, config.validation_seed)
    log = fit(
        graph,
        held.train,
        held.validation,
        config.recipe,
        progress=context.progress,
        teacher=captured(config.model, inputs["train"].file(WEIGHTS)) if config.recipe.distillation else None,
        before_step=freezing_schedule(graph, freezing),
        checkpoint=_checkpoint(context),
        note=context.note,
    )
    write_back(graph, prepared)
    checks.run(check_written_back, graph, prepared, samples)
    quantized.save_state(prepared, folder / STATE)
    return FinetuneResult(finetune_s=time.perf_counter() - started, log=log, **checks.fields)


def write_template(config: TemplateConfig, inputs: Inputs, folder: Path, context: StageContext) -> TemplateResult:
    """The graph that all variants of one placement are exported with, in place of numbers placeholders."""
    torch.set_num_threads(context.threads)
    prepared = prepared_network(config.model, config.quantizer, inputs["train"].file(WEIGHTS))
    template = template_of(quantized.convert(prepared), config.model.input_shape)
    if template is not None:
        template.save(folder / TEMPLATE)
    return TemplateResult(found=template is not None)


def export(config: ExportConfig, inputs: Inputs, folder: Path, context: StageContext) -> ExportResult:
    """ONNX of the FP32 network, or of the quantized one in Q/DQ form."""
    torch.set_num_threads(context.threads)
    path, shape, samples, checks = folder / ONNX, config.model.input_shape, check_samples(inputs), Checks()
    if config.quantizer is None:
        graph = captured(config.model, inputs["train"].file(WEIGHTS))
        export_onnx(graph, shape, path, integer_biases=config.integer_biases)
        checks.run_file(check_file, folder, graph, path, samples)
    else:
        prepared = load_quantized(config.model, config.quantizer, inputs)
        template, biases = _template(inputs), config.integer_biases
        export_onnx(quantized.convert(prepared), shape, path, integer_biases=biases, template=template)
        checks.run_file(check_quantized_file, folder, prepared, path, samples)
    return ExportResult(**checks.fields)


def quantize_onnx(config: QuantizeOnnxConfig, inputs: Inputs, folder: Path, context: StageContext) -> ExportResult:
    """PTQ by another toolkit, from the same weights and the same calibration samples.

    Beside a model in the target's own format lies the FP32 file that it was made from.
    """
    torch.set_num_threads(context.threads)
    weights, quantizer = inputs["train"].file(WEIGHTS), config.quantizer
    graph, replaced = captured_to_quantize(config.model, weights)
    source = NetworkSource(
        onnx_path=inputs["onnx"].file(ONNX),
        input_shape=config.model.input_shape,
        make_network=lambda: with_weights(config.model, weights),
        make_graph=lambda: copy.deepcopy(graph),
        make_quantizer=lambda: make_quantizer(quantizer, graph, replaced),
    )
    request = Request(
        calibrator=config.calibrator,
        percentile=config.percentile,
        per_channel=quantizer.per_channel,
        weight_bits=quantizer.weight_bits,
        skip=skipped_modules(graph, rules_of(quantizer, graph, replaced)),
        target=quantizer.target,
    )
    batches = Batches(config.samples, 1, read_splits(config.data).calibration.inputs)
    toolkit = get_toolkit(config.toolkit)
    file = (folder / ONNX).with_suffix(toolkit.suffix)
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # some print progress bars
        toolkit.quantize(source, file, batches, request)
    seconds, checks = time.perf_counter() - started, Checks(inputs["onnx"].result(Checked).checks)
    if file.name != ONNX:
        shutil.copyfile(source.onnx_path, folder / ONNX)
    checks.run_file(check_toolkit_file, folder, file, expected_of(inputs["onnx"]), get_target(quantizer.target))
    return ExportResult(file=file.name, quantize_s=seconds, **checks.fields)


def to_fp16(config: Fp16Config, inputs: Inputs, folder: Path, context: StageContext) -> ExportResult:
    """The same ONNX file with FP16 inside, checked against the FP32 one."""
    from harness.exporting.fp16 import convert_to_fp16

    samples = next(iter(read_splits(config.data).calibration.batches(config.samples))).numpy()
    report = convert_to_fp16(file_of(inputs["onnx"]), folder / ONNX, samples)
    for node, reason in report.kept_fp32.items():
        context.note(f"`{node}` stays in FP32: {reason}")
    checks = Checks(inputs["onnx"].result(Checked).checks)
    checks.run_file(check_fp16_file, folder, folder / ONNX, expected_of(inputs["onnx"]))
    return ExportResult(**checks.fields)


def _check_prepared(model: ModelConfig, config: QuantizerConfig, prepared: GraphModule, inputs: Inputs) -> Checks:
    """The prepared network against what it was made from, and the counterparts that the model names, if any."""
    samples, checks, weights = check_samples(inputs), Checks(), inputs["train"].file(WEIGHTS)
    graph, replaced = captured_to_quantize(model, weights)
    if graph is not captured(model, weights):
        checks.run(check_capture, replaced.model, graph, samples)
    reference = change_weights(graph, changing_the_function(config.ptq_steps))[0]
    checks.run(check_prepared, reference, prepared, samples)
    return checks


def _template(inputs: Inputs) -> OnnxTemplate | None:
    artifact = inputs.get("template")
    if artifact is None or not artifact.result(TemplateResult).found:
        return None
    return OnnxTemplate.load(artifact.file(TEMPLATE))


def _checkpoint(context: StageContext) -> Path | None:
    """Where a training run that is killed goes on from."""
    return None if context.scratch is None else context.scratch / CHECKPOINT


def _train_by_own_loop(
    name: str, model: torch.nn.Module, data: TrainingData, recipe: Recipe, context: StageContext
) -> None:
    assert context.scratch is not None  # the executor gives every stage one
    folder = context.scratch / "loop"
    folder.mkdir(parents=True, exist_ok=True)
    train_with(name, model, data, LoopContext(recipe, context.threads, context.progress, context.note, folder))


def _estimate_batch_norm(model: torch.nn.Module, config: ModelConfig) -> None:
    """Give random weights plausible batch norm statistics; without them activations explode or vanish."""
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        model.train()
        model(torch.randn(8, *config.input_shape, generator=generator))
    model.eval()


class _Passes:
    """Passes over the calibration samples, counted as they are started."""

    def __init__(self, config: CorrectionConfig | None, context: StageContext) -> None:
        self._config = config
        self._context = context
        self.n = 0

    def start(self) -> Iterator[torch.Tensor]:
        """Another pass."""
        assert self._config is not None
        self.n += 1
        samples, done = read_splits(self._config.data).calibration, 0
        for batch in first_batches(samples, self._config.samples, self._config.batch_size):
            yield batch
            done += len(batch)
            self._context.progress(done, self._config.samples, f"calibration samples, pass {self.n}")
