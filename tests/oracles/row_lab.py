"""Rows with given counts of lost and won samples and given speedups."""

import numpy as np
from oracles.comparisons import dropped, faster, interval
from oracles.single_verdicts import accuracy_verdict, latency_verdict

from harness.results import Accuracy, Latency, Row, Size, Variant
from harness.stats.intervals import paired_difference, wilson_interval

MARGIN = 0.005


class Lab:
    """Rows of one model on the same n samples, all of which FP32 gets right but the last tenth."""

    def __init__(self, n=10_000):
        self.n = n
        self.reference = np.arange(n) < n * 9 // 10
        self.correct = {}

    def row(self, method, *, lost=0, won=0, ratio=1.0, width=0.01, measured="both", status="ok", model="net", **fields):
        """`lost` samples from the front, `won` from the back; the speedup's interval is ratio * (1 ± width)."""
        quantized = {"calibrator": "max", "per_channel": True, "toolkit": "harness"} if method in {"ptq", "qat"} else {}
        variant = Variant(
            **(
                {"id": "", "model": model, "method": method, "target": "onnxruntime", "batch_size": 1}
                | quantized
                | fields
            )
        )
        variant = variant.model_copy(update={"id": self.name(variant)})
        has_figures = status in {"ok", "simulated"}
        return Row(
            variant=variant,
            status=status,
            accuracy=self.accuracy(variant, lost, won) if has_figures and measured in {"both", "accuracy"} else None,
            latency=self.latency(method, ratio, width) if status == "ok" and measured in {"both", "latency"} else None,
            size=Size(onnx_bytes=300_000, engine_bytes=307_200 if method == "fp32" else 102_400, weight_bytes=90_000),
        )

    @staticmethod
    def name(variant):
        parts = [variant.model, variant.method, variant.calibrator, variant.percentile, variant.per_channel]
        parts += [variant.weight_bits, variant.toolkit, *variant.skip]
        parts += [] if variant.target == "onnxruntime" else [variant.target]
        return "-".join(str(part) for part in parts if part is not None)

    def accuracy(self, variant, lost, won):
        right = self.reference.copy()
        right[:lost] = False
        right[self.n - won :] = True
        self.correct[variant.id] = right
        plain = Accuracy(
            top1=right.mean(), n=self.n, top1_interval=interval(*wilson_interval(int(right.sum()), self.n))
        )
        if variant.method == "fp32":
            return plain
        found = paired_difference(self.reference, right)
        return plain.model_copy(
            update={
                "comparison": dropped(
                    plain.top1,
                    found.drop,
                    found.drop_ci,
                    reference="fp32",
                    p_value=found.p_value,
                    margin=MARGIN,
                    verdict=accuracy_verdict(found.drop_ci, found.p_value, MARGIN),
                )
            }
        )

    @staticmethod
    def latency(method, ratio, width):
        milliseconds = 1.0 / ratio
        plain = Latency(
            median_ms=milliseconds,
            p90_ms=milliseconds,
            p99_ms=None,
            n=100,
            rounds=10,
            throughput_per_s=1e3 / milliseconds,
            threads=1,
            includes_transfers=False,
        )
        if method == "fp32":
            return plain
        ends = (ratio * (1 - width), ratio * (1 + width))
        compared = faster(ratio, ends, margin=0.03, verdict=latency_verdict(ends, 0.03, 0.01))
        return plain.model_copy(update={"comparison": compared, "noise_floor": 0.01})
