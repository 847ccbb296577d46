"""Made-up runs whose figures go through the same statistics as real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from oracles.comparisons import faster, interval, lost_by
from oracles.single_verdicts import latency_verdict

from harness.results import (
    Accuracy,
    Agreement,
    CalibratedTensor,
    Calibration,
    ChosenRanges,
    ClassAccuracy,
    Confusion,
    Cost,
    Coverage,
    Dataset,
    Gate,
    Latency,
    Layer,
    LayerParity,
    Network,
    Operator,
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
                time_ms=(0.004 if is_quantized else 0.008) * (index + 1),
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


CLASSES = ("shirt", "coat", "dress")


@pytest.fixture(scope="session")
def rich(quickstart) -> RunResults:
    """The quickstart with all that explains its rows: layers, classes, distributions, histograms and files."""
    rows = tuple(explained(row) for row in quickstart.rows)
    resnet = [row.variant.id for row in rows if row.variant.model == "resnet"]
    gates = (
        Gate(variant=resnet[1], metric="accuracy.drop", limit="at most 0.01", value=0.0004, verdict="pass"),
        Gate(variant=resnet[2], metric="latency.speedup", limit="at least 2", value=1.7, verdict="fail"),
    )
    return quickstart.model_copy(
        update={"rows": rows, "calibrations": (calibration(rows),), "networks": (chain(),), "gates": gates}
    )


@pytest.fixture(scope="session")
def many(rich) -> RunResults:
    """The same rows at ten batch sizes: 220 variants."""
    rows = [(row, row.variant, n) for n in range(1, 11) for row in rich.rows]
    copies = (
        row.model_copy(update={"variant": variant.model_copy(update={"id": f"{n}-{variant.id}", "batch_size": n})})
        for row, variant, n in rows
    )
    return rich.model_copy(update={"rows": tuple(copies)})


def explained(row: Row) -> Row:
    is_fp32 = row.variant.method == "fp32"
    median = row.latency.median_ms
    latency = row.latency.model_copy(
        update={"distribution_ms": tuple(median * share for share in (0.9, 0.97, 1.0, 1.03, 1.2))}
    )
    accuracy = row.accuracy.model_copy(update={"classes": classes(is_fp32), "confusions": confusions(is_fp32)})
    cost = row.cost.model_copy(update={"quantize_s": 0.4, "finetune_s": 64.0 if row.variant.method == "qat" else None})
    parity = row.parity if is_fp32 else row.parity.model_copy(update={"layers": tuple(map(noisy, range(3)))})
    files = {"onnx": f"models/{row.variant.id}.onnx", "engine": "engines/a b.onnx", "log": "logs/a.txt"}
    parts = {"latency": latency, "accuracy": accuracy, "cost": cost, "parity": parity, "files": files}
    return row.model_copy(update=parts)


def classes(is_fp32: bool) -> tuple[ClassAccuracy, ...]:
    lost = (0.01, 0.04, -0.02)
    return tuple(
        ClassAccuracy(
            label=label,
            name=name,
            n=1000,
            recall=0.9 - lost[label],
            interval=interval(0.85, 0.95),
            comparison=None
            if is_fp32
            else lost_by(0.9 - lost[label], paired_difference(*flags(lost[label])), MARGIN, reference="fp32"),
        )
        for label, name in enumerate(CLASSES)
    )


def flags(lost: float) -> tuple[np.ndarray, np.ndarray]:
    """What was right before and after, for 1,000 samples."""
    place = np.arange(1000)
    return place < 900, place < 900 - round(1000 * lost)


def confusions(is_fp32: bool) -> tuple[Confusion, ...]:
    often = 21 if is_fp32 else 30
    return (Confusion(label=1, predicted=0, n=often), Confusion(label=0, predicted=2, n=4))


def noisy(number: int) -> LayerParity:
    return LayerParity(
        step="onnx_quantized → engine",
        layer=f"layer{number}/conv",
        op="Conv",
        tensor=f"t{number}",
        kind="quantized",
        sqnr_db=31.0 - 4 * number,
        accumulated_sqnr_db=28.0 - 4 * number,
        largest_steps=0.5,
        noise_steps2=0.08,
        is_fault=False,
        n_channels=8,
    )


def calibration(rows: tuple[Row, ...]) -> Calibration:
    def ids(method: str, calibrator: str) -> tuple[str, ...]:
        variants = [row.variant for row in rows if row.variant.model == "resnet"]
        return tuple(each.id for each in variants if (each.method, each.calibrator) == (method, calibrator))

    return Calibration(
        model="resnet",
        place="onnxruntime",
        tensors=(CalibratedTensor(name="relu", n=962, minimum=0.0, maximum=6.2, counts=(900, 60, 0, 1)),),
        ranges=(
            ChosenRanges(variants=ids("ptq", "max"), amax={"relu": 6.2}),
            ChosenRanges(variants=ids("ptq", "mse"), amax={"relu": 4.1}),
            ChosenRanges(variants=ids("qat", "max"), amax={"relu": 5.0}),
        ),
    )


def chain() -> Network:
    names = [*(f"layer{number}/conv" for number in range(8)), "pool"]
    return Network(
        model="resnet",
        operators=tuple(
            Operator(name=name, op="Conv", inputs=(place - 1,) if place else ()) for place, name in enumerate(names)
        ),
    )
