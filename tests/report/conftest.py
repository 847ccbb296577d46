"""Made-up runs whose figures go through the same statistics as real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from oracles.comparisons import faster, interval, lost_by

from harness.results import (
    Accuracy,
    Agreement,
    Cost,
    Coverage,
    Dataset,
    Gate,
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
from harness.stats.clusters import estimate_ratio
from harness.stats.intervals import paired_difference, wilson_interval
from harness.stats.verdict import latency_verdict
from harness.verdicts.accuracy import judge_accuracy
from harness.words.conclusions import conclude

MARGIN, BAND, NOISE = 0.005, 0.03, 0.011
CALIBRATORS = (("max", None), ("percentile", 99.99), ("entropy", None), ("mse", None))


@dataclass
class Bench:
    """Makes the rows of one model; `lost` is the share of FP32's right answers that a variant loses."""

    model: str
    n: int = 10_000
    top1: float = 0.912
    fp32_ms: float = 0.52
    target: str = "onnxruntime"
    correct: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(len(self.model))
        self.right = self.rng.random(self.n) < self.top1
        self.fp32_rounds = self.fp32_ms * np.exp(self.rng.normal(0, 0.02, 30))

    def row(
        self,
        method: str = "fp32",
        *,
        calibrator: str | None = None,
        percentile: float | None = None,
        per_channel: bool | None = None,
        bits: tuple[int, int] = (8, 8),
        lost: float = 0.0,
        won: float = 0.0,
        ratio: float | None = 1.0,
        status: str = "ok",
        has_accuracy: bool = True,
    ) -> Row:
        quantized = method in {"ptq", "qat"}
        parts = [self.model, method, *filter(None, [calibrator and f"{calibrator}{percentile or ''}"])]
        if quantized:
            parts += ["perchannel" if per_channel else "pertensor"]
        if bits != (8, 8):
            parts += [f"w{bits[0]}a{bits[1]}"]
        variant = Variant(
            id="-".join([*parts, self.target, "b1"]),
            model=self.model,
            method=method,
            toolkit="harness" if quantized else None,
            calibrator=calibrator,
            percentile=percentile,
            per_channel=per_channel if quantized else None,
            weight_bits=bits[0] if quantized else None,
            activation_bits=bits[1] if quantized else None,
            target=self.target,
            batch_size=1,
        )
        is_run = status == "ok"
        return Row(
            variant=variant,
            status=status,
            accuracy=self.accuracy(variant, lost, won) if has_accuracy and status in {"ok", "simulated"} else None,
            latency=self.latency(method, ratio) if is_run and ratio else None,
            size=self.size(quantized) if is_run else None,
            coverage=self.coverage(quantized) if is_run else None,
            parity=Parity(
                torch_vs_onnx=Agreement(top1_agreement=1.0, max_abs_error=2.4e-6, sqnr_db=118.4, n=self.n),
                onnx_vs_engine=Agreement(top1_agreement=0.9993, max_abs_error=0.031, sqnr_db=41.2, n=self.n),
            )
            if is_run
            else None,
            cost=Cost(train_s=88.2, calibrate_s=1.9 if quantized else None, export_s=3.1, build_s=0.08, data_passes=1)
            if is_run
            else None,
            files={"onnx": f"models/{variant.id}.onnx", "predictions": "samples/predictions.parquet"} if is_run else {},
        )

    def accuracy(self, variant: Variant, lost: float, won: float) -> Accuracy:
        right = self.right.copy()
        if variant.method != "fp32":
            right[self.rng.permutation(np.flatnonzero(self.right))[: round(lost * self.n)]] = False
            right[self.rng.permutation(np.flatnonzero(~self.right))[: round(won * self.n)]] = True
        self.correct[variant.id] = right
        top1 = Accuracy(top1=right.mean(), n=self.n, top1_interval=interval(*wilson_interval(int(right.sum()), self.n)))
        if variant.method == "fp32":
            return top1
        difference = paired_difference(self.right, right)
        reference = f"{self.model}-fp32-{self.target}-b1"
        compared = lost_by(top1.top1, difference, MARGIN, reference=reference)
        return top1.model_copy(update={"comparison": compared, "agreement": 1 - 1.3 * (lost + won)})

    def latency(self, method: str, ratio: float) -> Latency:
        rounds = self.fp32_rounds / ratio * np.exp(self.rng.normal(0, 0.01, 30))
        median = float(np.median(rounds))
        plain = Latency(
            median_ms=median,
            p90_ms=median * 1.06,
            p99_ms=median * 1.21 if median < 0.4 else None,
            n=900 if median < 0.4 else 240,
            rounds=30,
            throughput_per_s=1e3 / median,
            threads=1,
            includes_transfers=True,
        )
        if method == "fp32":
            return plain
        # Thirty processes of one round each.
        found = estimate_ratio([[np.array([np.log(a / b)]) for a, b in zip(self.fp32_rounds, rounds, strict=True)]])
        ends = found.interval(0.95)
        reference = f"{self.model}-fp32-{self.target}-b1"
        verdict = latency_verdict(ends, BAND, NOISE)
        compared = faster(found.ratio, ends, reference=reference, margin=BAND, verdict=verdict)
        return plain.model_copy(update={"comparison": compared, "noise_floor": NOISE})

    def size(self, is_quantized: bool) -> Size:
        if is_quantized:
            return Size(onnx_bytes=352_114, engine_bytes=92_004, weight_bytes=81_930)
        return Size(onnx_bytes=318_700, engine_bytes=317_220, weight_bytes=312_440)

    def coverage(self, is_quantized: bool) -> Coverage:
        layers = tuple(
            Layer(
                name=f"layer{index}/conv",
                op="QLinearConv" if is_quantized else "Conv",
                input_type="uint8" if is_quantized else "float32",
                weight_type="int8" if is_quantized else "float32",
                output_type="uint8" if is_quantized else "float32",
                macs=1_000_000,
                int8=is_quantized,
            )
            for index in range(8)
        )
        pool = Layer(
            name="pool",
            op="ReduceMean",
            input_type="float32",
            weight_type=None,
            output_type="float32",
            macs=0,
            int8=False,
            reason="ONNX Runtime has no integer kernel for it" if is_quantized else None,
        )
        return Coverage(
            int8_macs=1.0 if is_quantized else 0.0, int8_layers="8/8" if is_quantized else "0/8", layers=(*layers, pool)
        )


def quickstart_rows(bench: Bench) -> list[Row]:
    ptq = [
        bench.row(
            "ptq",
            calibrator=calibrator,
            percentile=percentile,
            per_channel=per_channel,
            lost=0.0031 + 0.0006 * index,
            won=0.0029 + (0.0002 if per_channel else 0.0),
            ratio=1.70 + 0.015 * index + (0.0 if per_channel else 0.01),
        )
        for index, (calibrator, percentile) in enumerate(CALIBRATORS)
        for per_channel in (True, False)
    ]
    qat = [
        bench.row("qat", calibrator="max", per_channel=per_channel, lost=0.006, won=0.0064, ratio=1.71)
        for per_channel in (True, False)
    ]
    return [bench.row(), *ptq, *qat]


def make_results(rows: list[Row], correct: dict[str, np.ndarray], **fields: object) -> RunResults:
    defaults: dict[str, object] = {
        "scenario": "quickstart",
        "question": "Does INT8 keep the accuracy of two small networks on this CPU, and does it need QAT?",
        "run_id": "quickstart-20250101-120000",
        "started_at": "2025-01-01T12:00:00+00:00",
        "wall_s": 214.3,
        "environment": {
            "cpu": {"model": "AMD EPYC 9B14", "cores": 2, "flags": {"avx2": True, "avx512_vnni": True}},
            "python": "3.11.9",
            "packages": {"torch": "2.13.0", "onnxruntime": "1.32.0"},
            "git": {"commit": "0123abc", "dirty": False},
            "governor": None,
        },
        "datasets": (
            Dataset(
                name="fashion_mnist",
                source="system: /usr/share/datasets/fashion-mnist",
                splits=(
                    Split(
                        name="train",
                        n=59_488,
                        sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    ),
                    Split(
                        name="calibration",
                        n=512,
                        sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    ),
                    Split(
                        name="test", n=10_000, sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
                    ),
                ),
            ),
        ),
        "stages": (
            StageRun(stage="train", key="8d3f" * 16, cached=True, seconds=0.1, variants=("a", "b", "c")),
            StageRun(stage="calibrate", key="51ab" * 16, cached=False, seconds=1.93, variants=("a", "b")),
            StageRun(stage="finetune", key="77ce" * 16, cached=False, seconds=71.4, variants=("c",)),
        ),
        "gates": (Gate(variant="resnet-ptq", metric="drop", limit="<= 0.01", value=0.0004, verdict="pass"),),
        "calibration_samples": {"resnet": 512, "mobilenet": 512},
    }
    rows = judge_accuracy(rows, confidence=0.95, correction="holm")
    return RunResults(rows=tuple(rows), conclusions=conclude(rows, correct), **(defaults | fields))


@pytest.fixture(scope="session")
def quickstart() -> RunResults:
    """Two models, each with FP32, eight PTQ and two QAT rows; nothing is lost anywhere."""
    benches = [Bench("resnet"), Bench("mobilenet", top1=0.917, fp32_ms=0.31)]
    rows = [row for bench in benches for row in quickstart_rows(bench)]
    return make_results(rows, {key: right for bench in benches for key, right in bench.correct.items()})


@pytest.fixture(scope="session")
def lossy() -> RunResults:
    """PTQ loses, QAT wins back, simulated bits, and rows without figures."""
    bench = Bench("mobilenet", top1=0.917)
    rows = [
        bench.row(),
        bench.row("ptq", calibrator="percentile", percentile=99.0, per_channel=False, lost=0.031, won=0.004, ratio=1.8),
        bench.row(
            "qat", calibrator="percentile", percentile=99.0, per_channel=False, lost=0.009, won=0.0075, ratio=1.8
        ),
        bench.row("ptq", calibrator="max", per_channel=True, bits=(4, 8), lost=0.062, won=0.005, status="simulated"),
        bench.row("qat", calibrator="max", per_channel=True, bits=(4, 8), lost=0.014, won=0.009, status="simulated"),
        bench.row("ptq", calibrator="mse", per_channel=True, status="failed").model_copy(
            update={"reason": "calibrate: the process was killed (out of memory)"}
        ),
        bench.row("fp16", status="unavailable").model_copy(
            update={"reason": "ONNX Runtime on this CPU has no FP16 convolution"}
        ),
    ]
    return make_results(rows, bench.correct, scenario="where_qat_pays", gates=())


@pytest.fixture(scope="session")
def latency_only() -> RunResults:
    """Random weights: no accuracy anywhere."""
    bench = Bench("resnet18", fp32_ms=41.0)
    rows = [
        bench.row(has_accuracy=False),
        bench.row("ptq", calibrator="max", per_channel=True, ratio=3.3, has_accuracy=False),
        bench.row("ptq", calibrator="max", per_channel=False, ratio=3.2, has_accuracy=False),
    ]
    return make_results(rows, {}, scenario="resnet18_latency", question=None, datasets=(), gates=(), stages=())
