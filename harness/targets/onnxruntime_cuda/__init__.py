"""Target `onnxruntime-cuda`: ONNX Runtime on an NVIDIA GPU, through its CUDA execution provider.

The provider multiplies in FP32, TF32 and FP16 only. It has kernels for QuantizeLinear and DequantizeLinear, but none
for an integer convolution, so a quantized network computes there on dequantized values: the audit says so per layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness.results import Layer, Variant
from harness.results.variant import OWN_TOOLKIT
from harness.targets.base import (
    Availability,
    BuildOptions,
    Engine,
    FloatType,
    Placement,
    Session,
    Target,
    refuse_bf16,
    refuse_wide_activations,
)
from harness.targets.onnxruntime.installed import installed_build
from harness.targets.settings import TargetOptions
from harness.targets.tensorrt.gpu import find_gpu

_INSTALL = "pip install --force-reinstall --no-deps onnxruntime-gpu"
"""Over the CPU build, which it contains. Without `--force-reinstall` pip may find that nothing is to be done."""


class OnnxRuntimeCudaSettings(TargetOptions):
    """How networks run on the target `onnxruntime-cuda`."""

    tf32: bool = False
    """Let FP32 layers multiply in TF32, which keeps 10 of 23 bits. ONNX Runtime's own default is true."""


class OnnxRuntimeCudaOptions(BuildOptions):
    """Options of one session."""

    tf32: bool = False
    quantize_biases: bool = False
    """Let ONNX Runtime quantize biases by itself, as the users of other toolkits' files would. The CUDA provider has no
    DequantizeLinear for int32, so they would be dequantized on the CPU."""


class OnnxRuntimeCuda(Target):
    """TensorRT's number format and placement: its Q/DQ files compute the same values here, without its INT8 kernels."""

    name: ClassVar[str] = "onnxruntime-cuda"
    options_type: ClassVar[type[BuildOptions]] = OnnxRuntimeCudaOptions
    scenario_options: ClassVar[type[TargetOptions]] = OnnxRuntimeCudaSettings
    needs_gpu: ClassVar[bool] = True

    @property
    def modules(self) -> tuple[str, ...]:
        """ONNX Runtime itself."""
        return ("onnxruntime",)

    def availability(self) -> Availability:
        """Usable where ONNX Runtime's GPU build is installed and there is a CUDA device."""
        found = installed_build()
        if found is None:
            return Availability(False, "the package `onnxruntime-gpu` is not installed", _INSTALL)
        if found.cuda is None:
            return Availability(False, f"{found} is the build without CUDA", _INSTALL)
        gpu = find_gpu()
        if gpu is None:
            return Availability(
                False,
                f"{found} is installed, but there is no CUDA device here",
                "use a machine with an NVIDIA GPU and its driver",
            )
        return Availability(True, f"{found}; {gpu.name}, {gpu.compute_capability}")

    def refusal(self, variant: Variant) -> str | None:
        """FP32, FP16 and 8-bit Q/DQ files all run; BF16 is not written into files."""
        return refuse_bf16(variant) or refuse_wide_activations(variant, "ONNX Runtime's CUDA provider has kernels for")

    def placement(self) -> Placement:
        """TensorRT's, which has the fewest conversions."""
        from harness.targets.tensorrt.quantizer import FORMAT, TensorRTQuantizer

        return Placement(FORMAT, TensorRTQuantizer)

    def float_type(self, variant: Variant, settings: TargetOptions) -> FloatType:
        """FP16 for `method: fp16`; what is dequantized computes in FP32."""
        return "fp16" if variant.method == "fp16" else "fp32"

    def build_options(
        self, variant: Variant, threads: int, settings: TargetOptions | None = None
    ) -> OnnxRuntimeCudaOptions:
        """The scenario's options, and the GPU that the kernels are chosen for."""
        gpu, installed = find_gpu(), installed_build()
        return OnnxRuntimeCudaOptions(
            threads=threads,
            batch_size=variant.batch_size,
            machine=f"{installed} on {gpu.name if gpu else 'no GPU'}",
            tf32=isinstance(settings, OnnxRuntimeCudaSettings) and settings.tf32,
            quantize_biases=variant.toolkit not in (None, OWN_TOOLKIT) and not variant.skip,
        )

    def build(self, onnx_path: Path, directory: Path, options: BuildOptions) -> Engine:
        """Run the file once on the GPU, and write down what ran where."""
        from harness.targets.onnxruntime_cuda.session import build, cuda_device

        return build(onnx_path, directory, _narrowed(options), cuda_device(tf32=_narrowed(options).tf32))

    def load_library(self) -> None:
        """ONNX Runtime, without the CUDA libraries, which the first session loads."""
        import harness.targets.onnxruntime_cuda.session  # noqa: F401

    def open(self, path: Path, options: BuildOptions) -> Session:
        """Load the file on the GPU, with the optimizations that it was built with."""
        from harness.targets.onnxruntime_cuda.session import cuda_device, open_session

        return open_session(path, _narrowed(options), cuda_device(tf32=_narrowed(options).tf32))

    def audit(self, path: Path, onnx_path: Path) -> tuple[Layer, ...]:
        """From the profile of one inference that `build` wrote beside the engine."""
        from harness.targets.onnxruntime_cuda.audit import audit_engine

        return audit_engine(path, onnx_path)


def _narrowed(options: BuildOptions) -> OnnxRuntimeCudaOptions:
    return OnnxRuntimeCudaOptions.model_validate(options.model_dump())


TARGET = OnnxRuntimeCuda()
