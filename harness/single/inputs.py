"""What an ONNX file is run on before it is trusted: FP16 against FP32, and an engine against its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import UsageError
from harness.exporting.fp16 import convert_to_fp16, is_fp16
from harness.exporting.onnx_file import check_operators, load_onnx, name_nodes
from harness.results import StepCheck
from harness.targets.tensorrt.checks import network_inputs, profiles
from harness.targets.tensorrt.options import TensorRtBuildOptions
from harness.verification.figures import N_SAMPLES, SIZES, batches
from harness.verification.onnx_steps import ExpectedOutputs, check_engine_outputs, file_run

if TYPE_CHECKING:
    from harness.single.request import BuildRequest, Floats, Spelling, Tell


def in_fp16(request: BuildRequest, folder: Path, tell: Tell, spell: Spelling) -> Path:
    """The file with FP16 inside, written into `folder`; the file itself where it holds FP16 already."""
    model = request.model
    if is_fp16(model):
        tell(f"{model.name} holds FP16 weights already")
        return model
    path = folder / model.name
    report = convert_to_fp16(model, path, _samples(request, f"{spell('fp16')} is checked on"))
    for node, reason in report.kept_fp32.items():
        tell(f"{node} stays in FP32: {reason}")
    tell(f"FP16 changes the outputs by {report.error:.2%} (root mean square, {report.samples} samples)")
    return path


def check_of(request: BuildRequest, engine: Path, source: Path) -> StepCheck | None:
    """The engine's outputs against those of its file; None where it cannot run here. StageError where they differ."""
    target, options = request.target, request.options
    if target.cannot_run(options) is not None:
        return None
    given = _samples(request, "engines are checked on")
    samples = given[np.arange(N_SAMPLES) % len(given)]
    fixed = _fixed_batch(source)
    sizes = target.checked_batches(options) if fixed is None else (fixed,)
    run = file_run(source)
    outputs = [run(batch) for batch in batches(samples)] if tuple(sizes) == SIZES else []
    return check_engine_outputs(target.open(engine, options), source, ExpectedOutputs(samples, outputs), sizes, target)


def _fixed_batch(path: Path) -> int | None:
    """The only batch size that a file takes, where it has one."""
    size: int = network_inputs(load_onnx(path))[0].type.tensor_type.shape.dim[0].dim_value
    return size or None


def _samples(request: BuildRequest, what: str) -> Floats:
    """The samples of a request, or random ones of the size that the network takes."""
    loaded = load_onnx(request.model)
    name_nodes(loaded)
    check_operators(loaded, request.model.name)
    (value, *others) = network_inputs(loaded)
    if others:
        raise UsageError(f"{what} networks with one input", fix="convert the network before building it")
    fixed = tuple(max(0, each.dim_value) for each in value.type.tensor_type.shape.dim)
    if request.samples is not None:
        return _fitting(request.samples, request.samples_name, fixed)
    shape = _profile_shape(loaded, value.name, request) or fixed
    return random_samples(shape[1:])


def random_samples(shape: tuple[int, ...]) -> Floats:
    """Random inputs that a network tells apart, shape (N_SAMPLES, *shape).

    Images of independent pixels all look alike to a trained network: its outputs hardly vary, and rounding decides how.
    So images are fields of colour, from few and large ones to many, each image brighter or darker as a whole.
    """
    draw = np.random.default_rng(0)
    if len(shape) != 3:
        return draw.standard_normal((N_SAMPLES, *shape), dtype=np.float32)
    channels, height, width = shape
    images = []
    for index in range(N_SAMPLES):
        fields = 2 + 3 * index
        coarse = draw.standard_normal((channels, fields, fields)) + draw.standard_normal()
        rows, columns = (np.arange(size) * fields // size for size in (height, width))
        images.append(coarse[:, rows][:, :, columns])
    return np.stack(images).astype(np.float32)


def _profile_shape(loaded: Any, name: str, request: BuildRequest) -> tuple[int, ...] | None:
    """The size that the build options give to an input, where they do."""
    given = request.options.model_dump(include={"shape_profiles", "input_shapes"})
    if name in given.get("input_shapes", {}):
        return tuple(given["input_shapes"][name])
    known = TensorRtBuildOptions.model_validate(
        {"batch_profiles": ((1, 1, 1),), "shape_profiles": given.get("shape_profiles", ())}
    )
    ranges = profiles(loaded, known, request.model.name)
    return ranges[0][name].opt if ranges else None


def _fitting(samples: Floats, name: str, shape: tuple[int, ...]) -> Floats:
    """Samples that the network takes; `shape` is its input's, 0 where it is dynamic."""
    fits = samples.ndim == len(shape) and all(
        wanted in (0, size) for wanted, size in zip(shape[1:], samples.shape[1:], strict=True)
    )
    if not fits or not len(samples):
        shown = "x".join(str(size or "?") for size in ("N", *shape[1:]))
        raise UsageError(
            f"{name} holds an array {'x'.join(map(str, samples.shape))}; the network takes {shown}",
            fix="save inputs as the network takes them",
        )
    return samples
