"""Every stage: its version, the function that carries it out, and what of libraries and code its results depend on."""

from __future__ import annotations

from harness.execution.graph import Stage

_STAGES = "harness.execution.stages"
_RESOURCES = "harness.execution.resource_stages"
_LOADING = "harness.execution.loading"
_CHECKING = "harness.execution.checking"
_CHECKS = (_CHECKING, "harness.verification", "harness.parity")
_CORE = (_STAGES, _LOADING, "harness.quantization", "harness.export", "harness.targets", *_CHECKS)
_QUANTIZATION = (_STAGES, _LOADING, "harness.quantization", "harness.targets", *_CHECKS)
_TORCH = ("torch", "torchao", "numpy")
ONNX_LIBRARIES = (*_TORCH, "onnx", "onnxscript", "onnx-ir")
TRAIN = Stage("train", 1, f"{_STAGES}:train", ("torch",), (_STAGES, _LOADING, "harness.training", "harness.data"))
CHECK = Stage("check", 1, f"{_CHECKING}:check", _TORCH, (*_QUANTIZATION, "harness.data"))
CALIBRATE = Stage("calibrate", 1, f"{_STAGES}:calibrate", _TORCH, _QUANTIZATION)
QUANTIZE = Stage("quantize", 1, f"{_STAGES}:quantize", _TORCH, _QUANTIZATION)
FINETUNE = Stage("finetune", 1, f"{_STAGES}:finetune", _TORCH, (*_QUANTIZATION, "harness.training"))
EXPORT = Stage("export", 1, f"{_STAGES}:export", ONNX_LIBRARIES, _CORE)
# Toolkits change torch and the loggers when they are imported: each works in a process of its own.
QUANTIZE_ONNX = Stage("quantize", 2, f"{_STAGES}:quantize_onnx", source=(*_CORE, "harness.data"), isolate=True)
TO_FP16 = Stage("export", 1, f"{_STAGES}:to_fp16", ("onnx", "onnxruntime"), (_STAGES, "harness.export", *_CHECKS))
BUILD = Stage(
    "build",
    1,
    f"{_STAGES}:build",
    ("onnx", "onnxruntime"),
    (_STAGES, "harness.targets", "harness.export", *_CHECKS),
    isolate=True,
)
PREDICT_TORCH = Stage("evaluate", 1, f"{_STAGES}:predict_torch", _TORCH, _QUANTIZATION)
PREDICT = Stage(
    "evaluate",
    1,
    f"{_STAGES}:predict_engine",
    ("onnxruntime",),
    (_STAGES, _LOADING, "harness.targets", "harness.data"),
)
MEASURE = Stage("measure", 1, f"{_STAGES}:measure_latency", isolate=True, exclusive=True)
MEMORY = Stage(
    "memory",
    1,
    f"{_RESOURCES}:measure_memory",
    ("onnxruntime", "numpy"),
    (_RESOURCES, "harness.probes", "harness.targets"),
    isolate=True,
)
ENERGY = Stage("energy", 1, f"{_RESOURCES}:measure_energy", isolate=True, exclusive=True)
LOAD = Stage("load", 1, "harness.execution.load_stage:measure_load", isolate=True, exclusive=True)
