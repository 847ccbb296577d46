"""Recorded runs: rows whose figures go through the same statistics as real ones, in memory and as run folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from oracles.comparisons import dropped, faster, interval

from harness.comparison.snapshot import Material, Snapshot
from harness.results import (
    Accuracy,
    Agreement,
    Coverage,
    Dataset,
    Latency,
    Layer,
    Parity,
    Row,
    RunResults,
    Size,
    Split,
    StageRun,
    Variant,
)
from harness.stats.intervals import paired_difference, wilson_interval

N = 1000
FP32, PTQ, QAT = "net-fp32-onnxruntime-b1", "net-ptq-max-perchannel-onnxruntime-b1", "net-qat-onnxruntime-b1"
MACS = {"stem.conv": 100_000, "layer1.conv": 700_000, "head": 200_000}
ENVIRONMENT = {
    "architecture": "x86_64",
    "harness": "0.1.0",
    "python": "3.11.7",
    "cpu": {"model": "Intel(R) Xeon(R) Processor", "usable_cores": 2, "flags": {"avx512_vnni": True}},
    "packages": {"onnxruntime": "1.32.0", "torch": "2.13.0"},
    "git": {"commit": "a" * 40, "dirty": False},
    "load_average": [0.5, 0.4, 0.3],
    "gpus": [],
}
Flags = npt.NDArray[np.bool_]


def right(share: float = 0.9, *, lost: int = 0, won: int = 0) -> Flags:
    """The first samples are right; `lost` of them from the front are not, `won` from the end are."""
    flags = np.arange(N) < round(N * share)
    flags[:lost] = False
    flags[N - won :] = True
    return flags


@dataclass
class Recorded:
    """One run: rows with per-sample results, digests of files and keys of stages."""

    scenario: str = "tiny"
    started_at: str = "2025-01-01T12:00:00+00:00"
    environment: Mapping[str, object] = field(default_factory=lambda: ENVIRONMENT)
    test_sha256: str = "7" * 64
    calibration_sha256: str = "c" * 64
    rows: dict[str, Row] = field(default_factory=dict)
    material: dict[str, Material] = field(default_factory=dict)

    def add(
        self,
        variant_id: str,
        *,
        correct: Flags | None = None,
        speedup: float | None = 1.5,
        width: float = 0.01,
        rounds: int = 50,
        fp32_ms: float = 1.0,
        floats: Mapping[str, str] | None = None,
        float_weights: Sequence[str] = (),
        engine_bytes: int | None = None,
        sqnr_db: float = 45.0,
        agreement: float = 0.997,
        status: str = "ok",
        reason: str | None = None,
        stages: Mapping[str, str] | None = None,
        engine: str | None = None,
        stored_bytes: Mapping[str, int] | None = None,
    ) -> Recorded:
        """A row; `floats` names layers that run in float with the reason, `width` is half the speedup's interval."""
        method = variant_id.split("-")[1]
        is_quantized = method != "fp32"
        variant = Variant(id=variant_id, model="net", method=method, target="onnxruntime", batch_size=1)
        if status not in {"ok", "built"}:
            self.rows[variant_id] = Row(variant=variant, status=status, reason=reason)
            return self
        flags = right() if correct is None else correct
        layers = _layers(is_quantized, floats or {}, float_weights)
        weight_bytes = sum(MACS[layer.name] // 1000 * (1 if layer.weight_type == "int8" else 4) for layer in layers)
        self.rows[variant_id] = Row(
            variant=variant,
            status=status,
            reason=reason,
            accuracy=self._accuracy(variant_id, flags) if status == "ok" else None,
            latency=_latency(is_quantized, speedup, width, rounds, fp32_ms) if status == "ok" and speedup else None,
            size=Size(
                onnx_bytes=weight_bytes + 500,
                engine_bytes=engine_bytes if engine_bytes is not None else weight_bytes + 400,
                weight_bytes=weight_bytes,
            ),
            coverage=Coverage(
                int8_macs=sum(layer.macs for layer in layers if layer.int8) / sum(MACS.values()),
                int8_layers=f"{sum(layer.int8 for layer in layers)}/{len(layers)}",
                layers=layers,
            ),
            parity=Parity(torch_vs_engine=Agreement(top1_agreement=agreement, max_abs_error=0.1, sqnr_db=sqnr_db, n=N)),
        )
        self.material[variant_id] = Material(
            correct=flags if status == "ok" else None,
            digests={} if engine is None else {"engine": engine},
            stored_bytes=stored_bytes or {},
            stages=stages or dict.fromkeys(("train", "calibrate", "quantize", "export", "build"), "0" * 12),
        )
        return self

    def _accuracy(self, variant_id: str, flags: Flags) -> Accuracy:
        plain = Accuracy(top1=float(flags.mean()), n=N, top1_interval=interval(*wilson_interval(int(flags.sum()), N)))
        reference = self.material.get(FP32)
        if variant_id == FP32 or reference is None or reference.correct is None:
            return plain
        found = paired_difference(reference.correct, flags)
        compared = dropped(plain.top1, found.drop, found.drop_ci, p_value=found.p_value, margin=0.005)
        return plain.model_copy(update={"comparison": compared})

    @property
    def results(self) -> RunResults:
        splits = [Split(name="test", n=N, sha256=self.test_sha256)]
        splits += [Split(name="calibration", n=64, sha256=self.calibration_sha256)]
        return RunResults(
            scenario=self.scenario,
            run_id=f"{self.scenario}-run",
            started_at=self.started_at,
            wall_s=1.0,
            environment=dict(self.environment),
            datasets=(Dataset(name="fashion_mnist", source="embedded", splits=tuple(splits)),),
            rows=tuple(self.rows.values()),
            stages=tuple(
                StageRun(stage=stage, key=key, cached=False, seconds=1.0, variants=(variant_id,))
                for variant_id, material in self.material.items()
                for stage, key in material.stages.items()
            ),
        )

    def snapshot(self, name: str = "run") -> Snapshot:
        """As it is read."""
        return Snapshot(name, self.results, self.material)

    def write(self, directory: Path) -> Path:
        """As a run folder; returns it."""
        (directory / "samples").mkdir(parents=True)
        self.results.save(directory / "results.json")
        labels = np.zeros(N, np.int64)
        columns = {"label": labels} | {
            name: np.where(found.correct, labels, 1)
            for name, found in self.material.items()
            if found.correct is not None
        }
        pd.DataFrame(columns).to_parquet(directory / "samples" / "predictions.parquet", index=False)
        return directory


def recorded(**fields: object) -> Recorded:
    """FP32, and a PTQ variant that is 1.5 times as fast and right on the same samples."""
    return Recorded(**fields).add(FP32, floats=dict.fromkeys(MACS, "not quantized")).add(PTQ)  # type: ignore[arg-type]


def _layers(is_quantized: bool, floats: Mapping[str, str], float_weights: Sequence[str]) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            name=name,
            op="Conv" if name in floats else "QLinearConv",
            input_type="float" if name in floats else "uint8",
            weight_type="float" if name in floats or name in float_weights else "int8",
            output_type="float" if name in floats else "uint8",
            macs=macs,
            int8=is_quantized and name not in floats,
            reason=floats.get(name),
        )
        for name, macs in MACS.items()
    )


def _latency(is_quantized: bool, speedup: float, width: float, rounds: int, fp32_ms: float) -> Latency:
    median = fp32_ms / speedup if is_quantized else fp32_ms
    plain = Latency(
        median_ms=median,
        p90_ms=median * 1.1,
        p99_ms=None,
        n=rounds * 10,
        rounds=rounds,
        throughput_per_s=1e3 / median,
        threads=1,
        includes_transfers=False,
    )
    if not is_quantized:
        return plain
    ends = speedup * math.exp(-width), speedup * math.exp(width)
    compared = faster(speedup, ends, margin=0.03, reference=FP32)
    return plain.model_copy(update={"comparison": compared, "noise_floor": 0.01})
