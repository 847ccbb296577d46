"""Times of the nodes of an engine, from ONNX Runtime's own profile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from harness.targets.onnxruntime.predict import session_options

if TYPE_CHECKING:
    from harness.targets.base import Array

_SUFFIX = "_kernel_time"


def time_layers(path: Path, options: Mapping[str, Any], batch: Array, runs: int) -> list[dict[str, float]]:
    """Milliseconds of each named node in each inference, in a session of its own; nodes of a loop are added up."""
    with TemporaryDirectory(prefix="quant-harness-profile-") as folder:
        chosen = session_options(options)
        chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(path), chosen, providers=["CPUExecutionProvider"])
        name, held = session.get_inputs()[0].name, np.ascontiguousarray(batch)
        for _ in range(runs):
            session.run(None, {name: held})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _by_inference(events)


def _by_inference(events: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The events of nodes, which are in no order, put to the inference in whose time they began."""
    every = list(events)
    inferences = sorted(event["ts"] for event in every if event["name"] == "model_run")
    found: list[Counter[str]] = [Counter() for _ in inferences]
    for event in every:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            number = int(np.searchsorted(inferences, event["ts"], side="right")) - 1
            found[number][event["name"].removesuffix(_SUFFIX)] += event["dur"]
    return [{name: microseconds / 1e3 for name, microseconds in times.items()} for times in found]
