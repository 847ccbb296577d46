"""ONNX of one network, quantized or not, checked against the network before it is there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from harness.errors import UsageError
from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.capture.eager import inference_copy
from harness.quantization.capture.graph import capture
from harness.quantization.network import QuantizedNetwork
from harness.targets import get_target
from harness.verification.figures import N_SAMPLES
from harness.verification.onnx_steps import check_file
from harness.verification.quantized_steps import check_quantized_file
from harness.verification.torch_steps import check_capture

DEFAULT_TARGET = "onnxruntime"


def export(
    network: nn.Module,
    path: Path | str,
    *,
    samples: torch.Tensor | None = None,
    input_shape: Sequence[int] | None = None,
    target: str | None = None,
    check: bool = True,
) -> Path:
    """Write a network as one ONNX file (opset 21, dynamic batch), and return its path.

    Args:
        network: what `quantize` returns, which becomes a file in Q/DQ form with int8 weights; or any FP32 network.
        path: the file, which is replaced.
        samples: inputs (N, C, H, W) that the file is checked on. Default: some that the network was calibrated on,
            else normal random numbers.
        input_shape: (C, H, W); needed for an FP32 network without `samples`.
        target: where an FP32 network will run, default `onnxruntime`; a quantized one knows its target.
        check: whether to compare the file's outputs with the network's; for a quantized network, layer by layer.

    Raises UsageError for arguments that make no sense, ModelError for a network that cannot be captured, and StageError
    for one that cannot be exported or for a file that computes something else; no file is written then.
    """
    path = Path(path)
    shape = _shape(network, samples, input_shape)
    inputs = _inputs(network, samples, shape).numpy()
    if isinstance(network, QuantizedNetwork):
        if target not in (None, network.target):
            raise UsageError(f"the network is quantized for {network.target}", fix="leave `target` out")
        network.require_calibrated("export")
    biases = get_target(_target(network, target)).integer_biases
    with tempfile.TemporaryDirectory(prefix="quant-harness-") as folder:
        file = Path(folder) / "network.onnx"
        if isinstance(network, QuantizedNetwork):
            export_onnx(quantized.convert(network.prepared), shape, file, integer_biases=biases)
            if check:
                check_quantized_file(network.prepared, file, inputs)
        else:
            eager = inference_copy(network)
            graph = capture(eager, shape)
            export_onnx(graph, shape, file, integer_biases=biases)
            if check:
                check_capture(eager, graph, inputs)
                check_file(graph, file, inputs)
        _place(file, path)
    return path


def _target(network: nn.Module, given: str | None) -> str:
    return network.target if isinstance(network, QuantizedNetwork) else given or DEFAULT_TARGET


def _shape(network: nn.Module, samples: torch.Tensor | None, input_shape: Sequence[int] | None) -> tuple[int, ...]:
    if not isinstance(network, nn.Module):
        raise UsageError(f"{type(network).__name__} is not a torch.nn.Module", fix="give the network itself")
    given = {
        "input_shape": None if input_shape is None else tuple(input_shape),
        "samples": None if samples is None else tuple(samples.shape[1:]),
        "the network": network.input_shape if isinstance(network, QuantizedNetwork) else None,
    }
    known = {name: shape for name, shape in given.items() if shape is not None}
    if not known:
        raise UsageError(
            "the size of the inputs is not known", fix="give `input_shape=(C, H, W)`, or `samples` (N, C, H, W)"
        )
    if len(set(known.values())) > 1:
        shown = ", ".join(f"{name} {shape}" for name, shape in known.items())
        raise UsageError(f"the sizes of the inputs differ: {shown}", fix="give one of them, (C, H, W)")
    return next(iter(known.values()))


def _inputs(network: nn.Module, samples: torch.Tensor | None, shape: tuple[int, ...]) -> torch.Tensor:
    if samples is None and isinstance(network, QuantizedNetwork) and network.origin is not None:
        samples = network.origin.samples
    if samples is None:
        return torch.randn(N_SAMPLES, *shape, generator=torch.Generator().manual_seed(0))
    if not len(samples):
        raise UsageError("`samples` is empty", fix="give at least one input, or leave it out")
    return samples[torch.arange(N_SAMPLES) % len(samples)].detach().cpu().to(torch.float32)


def _place(file: Path, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", fix="give another path") from None
