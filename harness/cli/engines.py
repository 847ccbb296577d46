"""The commands `harness build` and `harness audit`: one engine from one ONNX file, as `trtexec` users expect."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import StageError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from harness.results import Layer, Method
    from harness.targets.base import BuildOptions, Target

_CHECK_SAMPLES = 4
_PAGE_WIDTH = 10_000
"""Of tables that go into a file or a pipe: nothing is cut off there."""
_DEFAULT_TARGET = "tensorrt-rtx"
_TRTEXEC_LEVELS = {"ampere+": "ampere_plus", "sameComputeCapability": "same_compute_capability"}

TargetName = Annotated[str, typer.Option("--target", help="Where the engine will run: a name of `harness doctor`.")]
Shapes = list[str] | None
Capability = Annotated[
    str | None,
    typer.Option("--compute-capability", help="GPU generation, for instance SM86. tensorrt-rtx builds without a GPU."),
]


def build(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    save_engine: Annotated[Path, typer.Option("--save-engine", help="File to write.", show_default=False)],
    target: TargetName = _DEFAULT_TARGET,
    fp16: Annotated[bool, typer.Option("--fp16", help="Write FP16 into the network first.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="The file has Q/DQ nodes; refuse it when it has none.")] = False,
    compute_capability: Capability = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Largest batch of a file with a dynamic batch.")] = 1,
    shapes: Annotated[Shapes, typer.Option("--shapes", help="NAME:1x3x224x224, min = opt = max.")] = None,
    min_shapes: Annotated[Shapes, typer.Option("--min-shapes", help="NAME:1x3x224x224, for each input.")] = None,
    opt_shapes: Annotated[Shapes, typer.Option("--opt-shapes", help="NAME:8x3x224x224.")] = None,
    max_shapes: Annotated[Shapes, typer.Option("--max-shapes", help="NAME:32x3x224x224.")] = None,
    workspace: Annotated[int | None, typer.Option("--workspace", min=1, help="MiB that a layer may use.")] = None,
    timing_cache: Annotated[Path | None, typer.Option("--timing-cache", help="File to read and extend.")] = None,
    optimization_level: Annotated[int | None, typer.Option("--optimization-level", min=0, max=5)] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let FP32 layers multiply in TF32.")] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Weights can be replaced later.")] = False,
    strip_weights: Annotated[bool, typer.Option("--strip-weights", help="Leave the weights out.")] = False,
    version_compatible: Annotated[bool, typer.Option("--version-compatible")] = False,
    hardware_compatibility: Annotated[
        str | None,
        typer.Option("--hardware-compatibility", help="ampere_plus or same_compute_capability; target tensorrt."),
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Inputs (.npy) that --fp16 is checked on. Default: normal random numbers.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the builder's log.")] = False,
) -> None:
    """Build one engine from an ONNX file, and say what it executes in INT8."""
    ranges = _profiles(shapes, min_shapes, opt_shapes, max_shapes)
    _check_one_kind(ranges, batch_size)
    given: dict[str, Any] = {
        **_given_shapes(target, ranges),
        "workspace_mib": workspace,
        "timing_cache": None if timing_cache is None else str(timing_cache),
        "optimization_level": optimization_level,
        "tf32": tf32 or None,
        "refit": refit or None,
        "strip_weights": strip_weights or None,
        "version_compatible": version_compatible or None,
        "hardware_compatibility": _TRTEXEC_LEVELS.get(hardware_compatibility or "", hardware_compatibility),
        "verbose": verbose or None,
    }
    chosen, options = _options(target, fp16, int8, compute_capability, batch_size, given)
    _require_file(model, "an ONNX file")
    _check_writable(save_engine, model)
    with _as_usage_error(), tempfile.TemporaryDirectory(prefix="quant-harness-") as folder:
        if int8:
            _require_quantized(model)
        source = _in_fp16(model, Path(folder), options, samples) if fp16 else model
        seconds, layers = _build(chosen, source, options, save_engine, Path(folder))
    size = save_engine.stat().st_size
    typer.echo(f"{save_engine}: {size:,} bytes, built in {seconds:.1f} s for {chosen.name}")
    _print_coverage(layers)


def audit(
    file: Annotated[Path, typer.Argument(help="Engine that the harness built, or an ONNX file.", show_default=False)],
    target: Annotated[
        str | None, typer.Option("--target", help="Where the engine runs. Default: what the file was made for.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="The ONNX file that an engine was built from.")] = None,
    compute_capability: Capability = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Largest batch of a file with a dynamic batch.")] = 1,
    shapes: Annotated[Shapes, typer.Option("--shapes", help="NAME:1x3x224x224, where more is dynamic.")] = None,
    all_layers: Annotated[bool, typer.Option("--all", help="Show pointwise kernels, too.")] = False,
) -> None:
    """Show in what precision each layer executes; an ONNX file is built for the target first."""
    from harness.targets.identify import identify

    _require_file(file, "an engine or an ONNX file")
    ranges = _profiles(shapes, None, None, None)
    _check_one_kind(ranges, batch_size)
    with _as_usage_error():
        found = identify(file, target or _DEFAULT_TARGET)
        name = target or found.target
        layers: Sequence[Layer]
        if found.is_engine:
            layers = _audit_engine(file, name, onnx or found.source)
        else:
            given = _given_shapes(name, ranges)
            chosen, options = _options(name, False, False, compute_capability, batch_size, given)
            with tempfile.TemporaryDirectory(prefix="quant-harness-") as folder:
                engine = chosen.build(file, Path(folder), options)
                layers = chosen.audit(engine.path, file)
    typer.echo(f"{file.name} {'is an engine of' if found.is_engine else 'was built for'} {name}")
    _print_layers(layers, all_layers=all_layers)
    _print_coverage(layers)


def _options(
    name: str, fp16: bool, int8: bool, capability: str | None, batch_size: int, given: Mapping[str, Any]
) -> tuple[Target, BuildOptions]:
    from pydantic import ValidationError

    from harness.results import Variant
    from harness.runs.availability import checked
    from harness.targets import get_target

    target = get_target(name)
    availability = checked(target)
    if not availability.usable:
        raise UsageError(f"target {name}: {availability.detail}", fix=availability.fix)
    method: Method = "ptq" if int8 else "fp16" if fp16 else "fp32"
    variant = Variant(
        id=name,
        model=name,
        method=method,
        weight_bits=8 if int8 else None,
        activation_bits=8 if int8 else None,
        target=name,
        compute_capability=capability,
        batch_size=batch_size,
    )
    refusal = target.refusal(variant) or (
        target.refusal(variant.model_copy(update={"method": "fp16"})) if fp16 else None
    )
    if refusal:
        raise UsageError(refusal)
    options = target.build_options(variant, threads=1)
    wanted = {key: value for key, value in given.items() if value is not None and value not in ((), {})}
    if capability is not None:
        wanted["compute_capability"] = capability
    for key in wanted.keys() - set(type(options).model_fields):
        raise UsageError(f"target {name} has no option {_flag(key)}", fix=f"leave {_flag(key)} out")
    try:
        return target, target.options_from(options.model_dump() | wanted)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{_flag(str(first['loc'][0]))}: {first['msg']}") from None


def _flag(key: str) -> str:
    names = {"workspace_mib": "workspace", "shape_profiles": "shapes", "input_shapes": "shapes"}
    return "--" + names.get(key, key).replace("_", "-")


def _profiles(fixed: Shapes, least: Shapes, best: Shapes, most: Shapes) -> tuple[dict[str, Any], ...]:
    """One profile from the flags; trtexec's rule: `--shapes` is all three, and a missing one takes its neighbour's."""
    every, low, mid, high = (_shapes(each) for each in (fixed, least, best, most))
    names = dict.fromkeys([*every, *low, *mid, *high])
    if not names:
        return ()
    profile = {}
    for name in names:
        optimal = mid.get(name) or every.get(name) or high.get(name) or low[name]
        profile[name] = {"min": low.get(name, optimal), "opt": optimal, "max": high.get(name, optimal)}
    return (profile,)


def _given_shapes(target: str, ranges: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sizes of inputs, as the target takes them: it is built for one size, or for ranges."""
    from harness.targets import get_target

    if "shape_profiles" in get_target(target).options_type.model_fields:
        return {"shape_profiles": ranges}
    return {"input_shapes": {key: each["opt"] for profile in ranges for key, each in profile.items()}}


def _check_one_kind(ranges: Sequence[object], batch_size: int) -> None:
    if ranges and batch_size > 1:
        raise UsageError("--batch-size has no effect beside shapes, which hold the batch", fix="leave --batch-size out")


def _shapes(texts: Shapes) -> dict[str, tuple[int, ...]]:
    found = {}
    for text in [part for each in texts or () for part in each.split(",")]:
        parts = re.fullmatch(r"(.+):(\d+(?:x\d+)*)", text)
        if parts is None:
            raise UsageError(f"`{text}` is not a shape", fix="write NAME:1x3x224x224")
        found[parts[1]] = tuple(int(size) for size in parts[2].split("x"))
    return found


def _in_fp16(model: Path, folder: Path, options: BuildOptions, samples: Path | None) -> Path:
    from harness.exporting.fp16 import convert_to_fp16, is_fp16

    if is_fp16(model):
        typer.echo(f"{model.name} holds FP16 weights already")
        return model
    path = folder / model.name
    report = convert_to_fp16(model, path, _samples(model, options, samples))
    for node, reason in report.kept_fp32.items():
        typer.echo(f"{node} stays in FP32: {reason}")
    typer.echo(f"FP16 changes the outputs by {report.error:.2%} (root mean square, {report.samples} samples)")
    return path


def _samples(model: Path, options: BuildOptions, file: Path | None) -> npt.NDArray[np.float32]:
    import numpy as np

    from harness.exporting.onnx_file import check_operators, load_onnx, name_nodes
    from harness.targets.tensorrt.checks import network_inputs, profiles
    from harness.targets.tensorrt.options import TensorRtBuildOptions

    loaded = load_onnx(model)
    name_nodes(loaded)
    check_operators(loaded, model.name)
    (value, *others) = network_inputs(loaded)
    if others:
        raise UsageError("--fp16 is checked on networks with one input", fix="convert the network before building it")
    fixed = tuple(max(0, each.dim_value) for each in value.type.tensor_type.shape.dim)
    if file is not None:
        return _read_samples(file, fixed)
    known = TensorRtBuildOptions.model_validate(
        {"batch_profiles": ((1, 1, 1),)} | options.model_dump(include={"shape_profiles"})
    )
    ranges = profiles(loaded, known, model.name)
    shape = ranges[0][value.name].opt if ranges else fixed
    return np.random.default_rng(0).standard_normal((_CHECK_SAMPLES, *shape[1:]), dtype=np.float32)


def _read_samples(file: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Samples from a file; `shape` is the input's, 0 where it is dynamic."""
    import numpy as np

    try:
        samples = np.asarray(np.load(file, allow_pickle=False), np.float32)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}", fix="save an array with numpy.save") from error
    fits = samples.ndim == len(shape) and all(
        wanted in (0, size) for wanted, size in zip(shape[1:], samples.shape[1:], strict=True)
    )
    if not fits or not len(samples):
        shown = "x".join(str(size or "?") for size in ("N", *shape[1:]))
        raise UsageError(
            f"{file.name} holds an array {'x'.join(map(str, samples.shape))}; the network takes {shown}",
            fix="save inputs as the network takes them",
        )
    return samples


def _require_file(path: Path, what: str) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder", fix=f"give {what}")
    if not path.is_file():
        raise UsageError(f"there is no file {path}", fix=f"give {what}")


def _check_writable(save_engine: Path, model: Path) -> None:
    """Before minutes of building, whether the result can be written."""
    if save_engine.resolve() == model.resolve():
        raise UsageError(f"{save_engine} is the network itself", fix="give --save-engine another file")
    if save_engine.is_dir():
        raise UsageError(f"{save_engine} is a folder", fix="give --save-engine a file")
    try:
        save_engine.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {save_engine}: {error.strerror}", fix="give --save-engine another file"
        ) from None


def _require_quantized(path: Path) -> None:
    import onnx

    try:
        nodes = onnx.load(path, load_external_data=False).graph.node
    except Exception:  # the target says better what is wrong with the file
        return
    if not any(node.op_type == "DequantizeLinear" for node in nodes):
        raise UsageError(
            f"--int8: {path.name} has no Q/DQ nodes",
            fix="quantize it first (`harness run` with `method: ptq` or `qat`), or leave --int8 out",
        )


def _build(
    target: Target, source: Path, options: BuildOptions, save_engine: Path, folder: Path
) -> tuple[float, Sequence[Layer]]:
    import shutil
    import time

    from harness.targets.base import AUDIT_SUFFIX
    from harness.targets.tensorrt.process import BUILD_LOG

    started = time.perf_counter()
    try:
        engine = target.build(source, folder, options)
    finally:
        log = folder / BUILD_LOG
        if log.is_file():
            typer.echo(log.read_text(encoding="utf-8"))
    seconds = time.perf_counter() - started
    layers = target.audit(engine.path, source)
    shutil.copyfile(engine.path, save_engine)
    record = engine.path.with_suffix(AUDIT_SUFFIX)
    if record.is_file():
        shutil.copyfile(record, save_engine.with_suffix(AUDIT_SUFFIX))
    return seconds, layers


def _audit_engine(file: Path, target: str, onnx: Path | None) -> Sequence[Layer]:
    from harness.targets import get_target
    from harness.targets.engine_record import EngineRecord, sha256

    record = EngineRecord.load(file)
    if record is not None:
        if record.sha256 not in (None, sha256(file)):
            raise UsageError(
                f"{file.name} is not the engine that its `.audit.json` describes: its checksum differs",
                fix="build the engine again; if it is another one, remove that file and give --onnx",
            )
        return record.layers
    if onnx is None:
        raise UsageError(
            f"{file.name} has no `.audit.json` beside it, which `harness build` writes",
            fix="give the ONNX file it was built from with --onnx"
            + (", on a machine with the GPU" if get_target(target).needs_gpu else ""),
        )
    return get_target(target).audit(file, onnx)


def _print_layers(layers: Sequence[Layer], *, all_layers: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    providers = any(layer.provider for layer in layers)
    places = ("provider",) if providers else ()
    for column in ("layer", "kernel", *places, "input", "weight", "output", "MACs", "INT8", "why not"):
        table.add_column(column, no_wrap=True)
    for layer in layers:
        if all_layers or layer.weight_type is not None:
            table.add_row(
                layer.name,
                layer.op,
                *((layer.provider or "",) if providers else ()),
                layer.input_type,
                layer.weight_type or "",
                layer.output_type,
                f"{layer.macs:,}" if layer.macs else "",
                "yes" if layer.int8 else "no",
                layer.reason or "",
            )
    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(markup=False, width=_PAGE_WIDTH)
    console.print(table)


def _print_coverage(layers: Sequence[Layer]) -> None:
    from harness.metrics.coverage import coverage_of

    coverage = coverage_of(layers)
    if coverage is None:
        typer.echo("no convolution or matrix product in the engine")
        return
    typer.echo(f"INT8: {coverage.int8_macs:.1%} of the multiply-accumulates, {coverage.int8_layers} layers")
    float_layers = [layer for layer in layers if layer.weight_type is not None and not layer.int8]
    for reason in dict.fromkeys(layer.reason for layer in float_layers):
        names = [layer.name for layer in float_layers if layer.reason == reason]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        typer.echo(f"  {shown}: {reason}")


@contextmanager
def _as_usage_error() -> Iterator[None]:
    """A file that cannot be built is bad input here: nothing else was going on."""
    try:
        yield
    except StageError as error:
        raise UsageError(error.message, fix=error.fix) from error
