"""Every stage: its version, the function that carries it out, and how it is to be run.

What of our code and of libraries its results depend on is computed from the function: see `harness/engine/source_closure.py`.
"""

from __future__ import annotations

from harness.engine.graph import Stage

_STAGES = "harness.stages.networks"
_RESOURCES = "harness.stages.resources"
TRAIN = Stage("train", 1, f"{_STAGES}:train")
CHECK = Stage("check", 1, "harness.stages.checking:check")
CALIBRATE = Stage("calibrate", 1, f"{_STAGES}:calibrate")
QUANTIZE = Stage("quantize", 1, f"{_STAGES}:quantize")
FINETUNE = Stage("finetune", 1, f"{_STAGES}:finetune")
EXPORT = Stage("export", 1, f"{_STAGES}:export")
# Toolkits change torch and the loggers when they are imported: each works in a process of its own.
QUANTIZE_ONNX = Stage("quantize", 2, f"{_STAGES}:quantize_onnx", isolate=True)
TO_FP16 = Stage("export", 1, f"{_STAGES}:to_fp16")
BUILD = Stage("build", 1, f"{_STAGES}:build", isolate=True)
PREDICT_TORCH = Stage("evaluate", 1, f"{_STAGES}:predict_torch")
PREDICT = Stage("evaluate", 1, f"{_STAGES}:predict_engine")
MEASURE = Stage("measure", 1, f"{_STAGES}:measure_latency", isolate=True, exclusive=True)
MEMORY = Stage("memory", 1, f"{_RESOURCES}:measure_memory", isolate=True)
ENERGY = Stage("energy", 1, f"{_RESOURCES}:measure_energy", isolate=True, exclusive=True)
LOAD = Stage("load", 1, "harness.stages.load:measure_load", isolate=True, exclusive=True)
