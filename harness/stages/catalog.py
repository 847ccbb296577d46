"""Every stage: its version, the function that carries it out, and how it is to be run.

What of our code and of libraries its results depend on is computed from the function: see
`harness/engine/source_closure.py`.
"""

from __future__ import annotations

from harness.engine.graph import Stage

_NETWORKS = "harness.stages.networks"
_ENGINES = "harness.stages.engines"
_RESOURCES = "harness.stages.resources"
_PARITY = "harness.stages.parity"
_SENSITIVITY = "harness.stages.sensitivity"
TRAIN = Stage("train", 1, f"{_NETWORKS}:train")
CHECK = Stage("check", 1, "harness.stages.checking:check")
CALIBRATE = Stage("calibrate", 1, f"{_NETWORKS}:calibrate")
QUANTIZE = Stage("quantize", 1, f"{_NETWORKS}:quantize")
FINETUNE = Stage("finetune", 1, f"{_NETWORKS}:finetune")
WRITE_TEMPLATE = Stage("export", 1, f"{_NETWORKS}:write_template")
EXPORT = Stage("export", 1, f"{_NETWORKS}:export")
# Toolkits change torch and the loggers when they are imported: each works in a process of its own.
QUANTIZE_ONNX = Stage("quantize", 2, f"{_NETWORKS}:quantize_onnx", isolate=True)
TO_FP16 = Stage("export", 1, f"{_NETWORKS}:to_fp16")
BUILD = Stage("build", 1, f"{_ENGINES}:build", isolate=True)
PREDICT_TORCH = Stage("evaluate", 1, f"{_ENGINES}:predict_torch")
PREDICT = Stage("evaluate", 1, f"{_ENGINES}:predict_engine")
MEASURE = Stage("measure", 1, "harness.stages.latency:measure_latency", isolate=True, exclusive=True)
MEMORY = Stage("memory", 1, f"{_RESOURCES}:measure_memory")
ENERGY = Stage("energy", 1, f"{_RESOURCES}:measure_energy", isolate=True, exclusive=True)
PEAK = Stage("peak", 1, "harness.stages.peak:measure_peak", isolate=True, exclusive=True)
LAYER_TIMES = Stage("layer times", 1, "harness.stages.layer_times:measure_layers", isolate=True, exclusive=True)
STREAMS = Stage("streams", 1, "harness.stages.streams:measure_streams", isolate=True, exclusive=True)
LOAD = Stage("load", 1, "harness.stages.load:measure_load", isolate=True, exclusive=True)
PREDICT_ONNX = Stage("evaluate", 1, f"{_PARITY}:predict_onnx")
LAYERS = Stage("parity", 1, f"{_PARITY}:layers")
RANK = Stage("sensitivity", 1, f"{_SENSITIVITY}:rank")
SEARCH = Stage("skip search", 1, f"{_SENSITIVITY}:search")
