"""One engine from one ONNX file, as `trtexec` users expect: `harness build` and `harness.build`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import UsageError
from harness.metrics.coverage import coverage_of
from harness.results import Coverage, Layer, Method, StepCheck, Variant
from harness.single.request import BuildRequest, Spelling, Tell, quoted
from harness.targets import get_target
from harness.targets.base import AUDIT_SUFFIX, BuildOptions, Session, Target

FloatPrecision = Literal["fp32", "fp16", "bf16"]

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class BuiltEngine:
    """An engine file, and what is known of it."""

    path: Path
    target: str
    options: BuildOptions
    """What it was built with."""
    weight_bytes: int
    """Bytes of weights and biases as the engine holds them."""
    layers: tuple[Layer, ...]
    """The layers as they execute; `layers[i].int8` and `.reason` say what runs on integers and why others do not."""
    build_s: float
    check: StepCheck | None = None
    """Its outputs against those of its file; None where it was not checked or cannot run here."""
    notes: tuple[str, ...] = ()
    """What the build had to say, for instance which nodes stay in FP32."""

    @property
    def coverage(self) -> Coverage | None:
        """The share of the multiply-accumulates that run in INT8; None without any convolution or matrix product."""
        return coverage_of(self.layers)

    def session(self) -> Session:
        """The loaded engine; its `run` takes a batch (N, C, H, W) of float32, its `time_runs` times inferences."""
        return get_target(self.target).open(self.path, self.options)

    def run(self, batch: Any) -> npt.NDArray[np.generic]:
        """Outputs for a batch (N, C, H, W), an array or a tensor; `session` is faster for many batches."""
        import numpy as np

        return self.session().run(np.asarray(batch, np.float32))


def build(
    onnx_path: Path | str,
    target: str,
    *,
    out: Path | str | None = None,
    batch_size: int = 1,
    fp16: bool = False,
    bf16: bool = False,
    int8: bool = False,
    compute_capability: str | None = None,
    samples: Any = None,
    check: bool = True,
    **options: Any,
) -> BuiltEngine:
    """Build one engine from an ONNX file.

    Args:
        onnx_path: what `export` wrote, or any ONNX file with one input.
        target: where the engine will run, a name of `harness doctor`.
        out: the file to write; None for one beside the ONNX file, `NAME.TARGET.engine…`.
        batch_size: the largest batch of a file with a dynamic batch.
        fp16: write FP16 into the network first.
        bf16: let what is not INT8 run in BF16, where the target has such kernels.
        int8: refuse a file that has no Q/DQ nodes.
        compute_capability: GPU generation such as `SM86`; `tensorrt-rtx` builds without a GPU.
        samples: inputs (N, C, H, W), an array or a tensor, that the engine is checked on. Default: random
            images.
        check: whether to run the engine, where it can run here, and compare its outputs with those of the file.
        options: build options of the target, for instance `threads`, or `workspace_mib` for TensorRT.

    Raises UsageError for arguments that make no sense or a target that cannot be used here, StageError, with the node
    and the fix, for a file that cannot be built or an engine that computes something else than its file.
    """
    import numpy as np

    model = Path(onnx_path)
    require_file(model, "an ONNX file")
    chosen, known = engine_options(
        target,
        floats=floats_of(fp16=fp16, bf16=bf16),
        int8=int8,
        compute_capability=compute_capability,
        batch_size=batch_size,
        given=options,
    )
    request = BuildRequest(
        model,
        chosen,
        known,
        None if out is None else Path(out),
        fp16=fp16,
        int8=int8,
        samples=None if samples is None else np.asarray(samples, np.float32),
        check=check,
    )
    return build_engine(request)


def floats_of(*, fp16: bool, bf16: bool, spell: Spelling = quoted) -> FloatPrecision:
    """The precision that two switches ask for; UsageError where they ask for two."""
    if fp16 and bf16:
        raise UsageError(f"{spell('fp16')} and {spell('bf16')} are two precisions", fix="give one of them")
    return "fp16" if fp16 else "bf16" if bf16 else "fp32"


def engine_options(
    name: str,
    *,
    floats: FloatPrecision,
    int8: bool,
    compute_capability: str | None,
    batch_size: int,
    given: Mapping[str, Any],
    spell: Spelling = quoted,
) -> tuple[Target, BuildOptions]:
    """The target of this name with its build options; UsageError for one that cannot be used or does not have them.

    `floats` is the precision of what is not INT8. `given` holds options by their names in the target's options; those
    that are None or empty count as not given.
    """
    from pydantic import ValidationError

    from harness.runs.availability import checked_availability

    target = get_target(name)
    availability = checked_availability(target)
    if not availability.usable:
        raise UsageError(f"target {name}: {availability.detail}", fix=availability.fix)
    wanted = {key: value for key, value in given.items() if value is not None and value not in ((), {})}
    method: Method = "ptq" if int8 else floats
    variant = Variant(
        id=name,
        model=name,
        method=method,
        weight_bits=8 if int8 else None,
        activation_bits=8 if int8 else None,
        target=name,
        compute_capability=compute_capability or wanted.get("device"),
        batch_size=batch_size,
    )
    of_floats = variant.model_copy(update={"method": floats})
    for asked in (variant, of_floats):
        if (refusal := target.refusal(asked)) is not None:
            raise UsageError(refusal)
    # FP16 is written into the file; BF16 is an option of the engine.
    options = target.build_options(of_floats if floats == "bf16" else variant, threads=1)
    if compute_capability is not None:
        wanted["compute_capability"] = compute_capability
    for key in wanted.keys() - set(type(options).model_fields):
        raise UsageError(f"target {name} has no option {spell(key)}", fix=f"leave {spell(key)} out")
    try:
        return target, target.options_from(options.model_dump() | wanted)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{spell(str(first['loc'][0]))}: {first['msg']}") from None


def build_engine(request: BuildRequest, *, tell: Tell | None = None, spell: Spelling = quoted) -> BuiltEngine:
    """Build, check and audit an engine, and put it where it is wanted, its audit beside it.

    `tell` gets what the build has to say as it comes, the builder's log included, also when it fails.
    """
    from harness.single.inputs import check_of, in_fp16
    from harness.targets.tensorrt.process import BUILD_LOG

    notes: list[str] = []
    say = tell or notes.append
    if request.out is not None:
        _check_writable(request.out, request.model, spell)
    with tempfile.TemporaryDirectory(prefix="quant-harness-") as name:
        folder = Path(name)
        if request.int8:
            _require_quantized(request.model, spell)
        source = in_fp16(request, folder, say, spell) if request.fp16 else request.model
        started = time.perf_counter()
        try:
            engine = request.target.build(source, folder, request.options)
        finally:
            log = folder / BUILD_LOG
            if log.is_file():
                say(log.read_text(encoding="utf-8"))
        seconds = time.perf_counter() - started
        check = check_of(request, engine.path, source) if request.check else None
        layers = request.target.audit(engine.path, source)
        out = request.out or request.model.with_name(f"{request.model.stem}.{request.target.name}.{engine.path.name}")
        shutil.copyfile(engine.path, out)
        record = engine.path.with_suffix(AUDIT_SUFFIX)
        if record.is_file():
            shutil.copyfile(record, out.with_suffix(AUDIT_SUFFIX))
    return BuiltEngine(
        out, request.target.name, request.options, engine.weight_bytes, tuple(layers), seconds, check, tuple(notes)
    )


def require_file(path: Path, what: str) -> None:
    """UsageError for a path that is no file; `what` says what it should be."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", fix=f"give {what}")
    if not path.is_file():
        raise UsageError(f"there is no file {path}", fix=f"give {what}")


def _check_writable(out: Path, model: Path, spell: Spelling) -> None:
    """Before minutes of building, whether the result can be written."""
    option = spell("save_engine")
    if out.resolve() == model.resolve():
        raise UsageError(f"{out} is the network itself", fix=f"give {option} another file")
    if out.is_dir():
        raise UsageError(f"{out} is a folder", fix=f"give {option} a file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}", fix=f"give {option} another file") from None


def _require_quantized(path: Path, spell: Spelling) -> None:
    import onnx

    try:
        nodes = onnx.load(path, load_external_data=False).graph.node
    except Exception:  # the target says better what is wrong with the file
        return
    if not any(node.op_type == "DequantizeLinear" for node in nodes):
        raise UsageError(
            f"{spell('int8')}: {path.name} has no Q/DQ nodes",
            fix=f"quantize it first (`harness run` with `method: ptq` or `qat`), or leave {spell('int8')} out",
        )
