"""The commands `harness build` and `harness audit`: one engine from one ONNX file, as `trtexec` users expect."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import say, table_lines
from harness.errors import StageError, UsageError
from harness.text import visible

if TYPE_CHECKING:
    from harness.results import Layer
    from harness.single.build import BuiltEngine

_PAGE_WIDTH = 10_000
"""Page width of tables that go into a file or a pipe, wide enough to cut nothing off."""
_KERNELS_WIDTH = 80
"""Columns of a terminal that has room for the names of kernels."""
_DEFAULT_TARGET = "tensorrt-rtx"
_TRTEXEC_LEVELS = {"ampere+": "ampere_plus", "sameComputeCapability": "same_compute_capability"}

TargetName = Annotated[str, typer.Option("--target", help="Where the engine will run: a name of `harness doctor`.")]
Shapes = list[str] | None
BatchSize = Annotated[int, typer.Option(min=1, help="Largest batch of a file with a dynamic batch.")]
Compatibility = Annotated[
    str | None,
    typer.Option("--hardware-compatibility", help="ampere_plus or same_compute_capability; target tensorrt."),
]
SamplesFile = Annotated[
    Path | None, typer.Option(help="Inputs (.npy) that --fp16 is checked on. Default: random images.")
]
Capability = Annotated[
    str | None,
    typer.Option("--compute-capability", help="GPU generation, for instance SM86. tensorrt-rtx builds without a GPU."),
]


def build(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    save_engine: Annotated[Path, typer.Option("--save-engine", help="File to write.", show_default=False)],
    target: TargetName = _DEFAULT_TARGET,
    fp16: Annotated[bool, typer.Option("--fp16", help="Write FP16 into the network first.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Let what is not INT8 run in BF16; target openvino.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="The file has Q/DQ nodes; refuse it when it has none.")] = False,
    compute_capability: Capability = None,
    device: Annotated[str | None, typer.Option("--device", help="CPU, GPU or NPU; target openvino.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the engine on a CPU.")] = None,
    streams: Annotated[
        int | None, typer.Option("--streams", min=1, help="Inferences side by side; target openvino.")
    ] = None,
    batch_size: BatchSize = 1,
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
    hardware_compatibility: Compatibility = None,
    samples: SamplesFile = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the builder's log.")] = False,
) -> None:
    """Build one engine from an ONNX file, and say what it executes in INT8."""
    from harness.single.build import build_engine, engine_options, floats_of, require_file
    from harness.single.request import BuildRequest, given_shapes

    ranges = _profiles(batch_size, shapes, min_shapes, opt_shapes, max_shapes)
    given: dict[str, Any] = {
        **given_shapes(target, ranges),
        "device": device,
        "threads": threads,
        "streams": streams,
        "workspace_mib": workspace,
        "timing_cache": None if timing_cache is None else str(timing_cache),
        "optimization_level": optimization_level,
        "hardware_compatibility": _TRTEXEC_LEVELS.get(hardware_compatibility or "", hardware_compatibility),
    }
    switches = {"tf32": tf32, "refit": refit, "strip_weights": strip_weights, "version_compatible": version_compatible}
    given |= {name: True for name, is_on in {**switches, "verbose": verbose}.items() if is_on}
    chosen, options = engine_options(
        target,
        floats=floats_of(fp16=fp16, bf16=bf16, spell=_flag),
        int8=int8,
        compute_capability=compute_capability,
        batch_size=batch_size,
        given=given,
        spell=_flag,
    )
    require_file(model, "an ONNX file")
    request = BuildRequest(
        model,
        chosen,
        options,
        save_engine,
        fp16=fp16,
        int8=int8,
        check=False,
        **_read_samples(samples if fp16 else None),
    )
    with _as_usage_error():
        engine = build_engine(request, tell=say, spell=_flag)
    _print_engine(engine, save_engine, chosen.name)


def audit(
    file: Annotated[Path, typer.Argument(help="Engine that the harness built, or an ONNX file.", show_default=False)],
    target: Annotated[
        str | None, typer.Option("--target", help="Where the engine runs. Default: what the file was made for.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="The ONNX file that an engine was built from.")] = None,
    compute_capability: Capability = None,
    batch_size: BatchSize = 1,
    shapes: Annotated[Shapes, typer.Option("--shapes", help="NAME:1x3x224x224, where more is dynamic.")] = None,
    all_layers: Annotated[bool, typer.Option("--all", help="Show pointwise kernels, too.")] = False,
) -> None:
    """Show in what precision each layer executes; an ONNX file is built for the target first."""
    from harness.single.audit import audit_file
    from harness.single.build import require_file

    require_file(file, "an engine or an ONNX file")
    ranges = _profiles(batch_size, shapes)
    with _as_usage_error():
        found = audit_file(
            file,
            target,
            onnx=onnx,
            compute_capability=compute_capability,
            batch_size=batch_size,
            shapes=ranges,
            spell=_flag,
        )
    say(f"{file.name} {'is an engine of' if found.is_engine else 'was built for'} {found.target}")
    _print_layers(found.layers, all_layers=all_layers)
    _print_coverage(found.layers)


def _flag(key: str) -> str:
    names = {"workspace_mib": "workspace", "shape_profiles": "shapes", "input_shapes": "shapes"}
    return "--" + names.get(key, key).replace("_", "-")


def _profiles(
    batch_size: int, fixed: Shapes, least: Shapes = None, best: Shapes = None, most: Shapes = None
) -> tuple[dict[str, Any], ...]:
    """One profile from the flags; trtexec's rule: `--shapes` is all three, and a missing one takes its neighbour's."""
    every, low, mid, high = (_shapes(each) for each in (fixed, least, best, most))
    names = dict.fromkeys([*every, *low, *mid, *high])
    if not names:
        return ()
    if batch_size > 1:
        raise UsageError("--batch-size has no effect beside shapes, which hold the batch", fix="leave --batch-size out")
    profile = {}
    for name in names:
        optimal = mid.get(name) or every.get(name) or high.get(name) or low[name]
        profile[name] = {"min": low.get(name, optimal), "opt": optimal, "max": high.get(name, optimal)}
    return (profile,)


def _shapes(texts: Shapes) -> dict[str, tuple[int, ...]]:
    found = {}
    for text in [part for each in texts or () for part in each.split(",")]:
        parts = re.fullmatch(r"(.+):(\d+(?:x\d+)*)", text)
        if parts is None:
            raise UsageError(f"`{text}` is not a shape", fix="write NAME:1x3x224x224")
        found[parts[1]] = tuple(int(size) for size in parts[2].split("x"))
    return found


def _read_samples(file: Path | None) -> dict[str, Any]:
    import numpy as np

    if file is None:
        return {}
    try:
        return {"samples": np.asarray(np.load(file, allow_pickle=False), np.float32), "samples_name": file.name}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}", fix="save an array with numpy.save") from error


def _print_engine(engine: BuiltEngine, file: Path, target: str) -> None:
    say(f"{file}: {file.stat().st_size:,} bytes, built in {engine.build_s:.1f} s for {target}")
    _print_coverage(engine.layers)


def _print_layers(layers: Sequence[Layer], *, all_layers: bool) -> None:
    """A line per layer: in a pipe with everything; on a terminal what there is room for, reasons follow below."""
    from harness.report.tables import with_types

    shown = [layer for layer in layers if all_layers or layer.weight_type is not None]
    places = ("provider",) if any(layer.provider for layer in layers) else ()
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else _PAGE_WIDTH
    types = ("types",) if is_terminal else ("input", "weight", "output")
    kernels = ("kernel",) if width >= _KERNELS_WIDTH else ()
    headings = ("layer", *kernels, *places, *types, "MACs", "INT8", *(() if is_terminal else ("why not",)))
    rows = []
    for layer in shown:
        provider = (layer.provider or "",) if places else ()
        each = (with_types(layer),) if is_terminal else (layer.input_type, layer.weight_type or "", layer.output_type)
        macs = f"{layer.macs:,}" if layer.macs else ""
        reason = () if is_terminal else (layer.reason or "",)
        kernel = (layer.op,) if kernels else ()
        row = (layer.name, *kernel, *provider, *each, macs, "yes" if layer.int8 else "no", *reason)
        rows.append(tuple(map(visible, row)))
    for line in table_lines(headings, rows, {headings.index("MACs")}, width):
        say(line)
    if is_terminal and all_layers:
        _print_reasons([layer for layer in shown if layer.weight_type is None])


def _print_coverage(layers: Sequence[Layer]) -> None:
    from harness.metrics.coverage import coverage_of

    coverage = coverage_of(layers)
    if coverage is None:
        say("no convolution or matrix product in the engine")
        return
    say(f"INT8: {coverage.int8_macs:.1%} of the multiply-accumulates, {coverage.int8_layers} layers")
    _print_reasons([layer for layer in layers if layer.weight_type is not None and not layer.int8])


def _print_reasons(float_layers: Sequence[Layer]) -> None:
    """Why layers are not integer, each reason once."""
    for reason in dict.fromkeys(layer.reason for layer in float_layers if layer.reason):
        names = [layer.name for layer in float_layers if layer.reason == reason]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        say(f"  {shown}: {reason}")


@contextmanager
def _as_usage_error() -> Iterator[None]:
    """A file that cannot be built is bad input here: nothing else was going on."""
    try:
        yield
    except StageError as error:
        raise UsageError(error.message, fix=error.fix) from error
