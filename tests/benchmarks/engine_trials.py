"""How often equal engines of "different targets" are told apart: false alarms of the choice across targets.

    python tests/benchmarks/engine_trials.py --trials 60
    python tests/benchmarks/engine_trials.py --trials 60 --kind openvino

One engine file takes part under several names, as FP32 and PTQ rows of two targets, beside the FP32 row of the
reference target and its twin, as `harness run` times two targets. With `--kind openvino` the file is OpenVINO's while
the reference, whose twin tells the noise, is ONNX Runtime's. An alarm is any speedup between equal engines with the
verdict `better` or `worse`, or a decision `best` between them.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from harness.results import Accuracy, Latency, Row, Variant
from harness.scenario import Judgement, Measurement
from harness.targets import get_target
from harness.timing.request import EngineFile, TimingRequest, run_process
from harness.timing.samples import AA_CONTROL, Timings
from harness.timing.sequential import measure
from harness.timing.settings import TimingPlan
from harness.verdicts.choice import Contest, decide, n_comparisons
from harness.verdicts.latency import JudgedSpeedup, is_clear, judge_latency, judge_speedup, speedups

ROOT = Path(__file__).parents[2]
SHAPE = (1, 28, 28)
REFERENCE = "reference"
OWN = {"a-fp32": "a-fp32", "a-ptq": "a-fp32", "b-fp32": "b-fp32", "b-ptq": "b-fp32"}
"""The rows that share one file, by their own FP32 row."""
KINDS = ("onnxruntime", "openvino")


def make_engines(folder: Path, kind: str) -> dict[str, EngineFile]:
    """`resnet8` in FP32 with random weights, once for ONNX Runtime and once for `kind`."""
    from harness.exporting.onnx_export import export_onnx
    from harness.quantization.capture.graph import capture
    from harness.training.factory import build_model

    model = build_model("models/resnet.py:resnet8", {}, root=ROOT, seed=0, input_shape=SHAPE, n_classes=10).eval()
    export_onnx(capture(model, SHAPE), SHAPE, folder / "model.onnx", integer_biases=False)
    built = {name: _build(name, folder) for name in {"onnxruntime", kind}}
    return {REFERENCE: built["onnxruntime"], **dict.fromkeys(OWN, built[kind])}


def _build(name: str, folder: Path) -> EngineFile:
    target = get_target(name)
    options = target.build_options(_variant("net", "fp32", name), 1)
    (folder / name).mkdir()
    engine = target.build(folder / "model.onnx", folder / name, options)
    return EngineFile(target=name, path=engine.path, options=options.model_dump(mode="json"))


def _variant(name: str, method: str, target: str) -> Variant:
    return Variant.model_validate({"id": name, "model": "net", "method": method, "target": target, "batch_size": 1})


def one_trial(engines: dict[str, EngineFile], plan: TimingPlan, seed: int) -> dict:
    """Measure, judge all speedups, decide."""
    settings, analyses = Judgement(), len(plan.analyses)
    sessions = {**engines, AA_CONTROL: engines[REFERENCE]}
    comparisons = len(speedups(engines, REFERENCE, OWN))

    def process(build: int, number: int, limit_s: float):
        return run_process(
            TimingRequest(
                sessions=sessions,
                batch_shape=(1, *SHAPE),
                plan=plan,
                build=build,
                process=number,
                seed=seed,
                limit_s=limit_s,
            )
        )

    started = time.perf_counter()
    timings = measure(
        process,
        plan,
        is_clear=lambda so_far: is_clear(
            so_far,
            REFERENCE,
            confidence=settings.confidence,
            margin=settings.latency_margin,
            analyses=analyses,
            comparisons=comparisons,
            own_references=OWN,
        ),
    )
    seconds = time.perf_counter() - started
    rows = judge_latency([_row(name, timings, analyses) for name in engines], confidence=settings.confidence)
    contest = Contest(tuple(rows), timings, REFERENCE, settings.latency_margin, settings.confidence, analyses)
    decision = decide(contest, n_comparisons(contest))
    words = {row.variant.id: row.latency.verdict for row in rows if row.latency and row.latency.verdict}
    if engines[REFERENCE] == engines["a-fp32"]:
        words |= {f"{row.variant.id} overall": row.latency.across.verdict for row in rows if row.latency.across}
    # Whether the other file is faster than the reference's is no alarm; which of its names is, would be.
    names_first = decision.ranking is not None and decision.ranking.fastest.variant.id in OWN
    alarms = [name for name, word in words.items() if word in ("better", "worse")]
    if decision.verdict == "best" and (names_first or engines[REFERENCE] == engines["a-fp32"]):
        alarms.append("best")
    return {
        "seed": seed,
        "seconds": round(seconds, 2),
        "processes": len(timings.blocks),
        "words": words,
        "decision": decision.verdict,
        "alarms": alarms,
    }


def _row(name: str, timings: Timings, analyses: int) -> Row:
    """Every row keeps its accuracy, so that time alone decides."""
    settings = Judgement()
    target, _, method = name.rpartition("-")
    latency = {
        "median_ms": 1.0,
        "p90_ms": None,
        "p99_ms": None,
        "n": 1,
        "rounds": timings.n_rounds,
        "throughput_per_s": 1e3,
        "threads": 1,
        "includes_transfers": False,
    }
    judge = {"confidence": settings.confidence, "margin": settings.latency_margin, "analyses": analyses}
    own = OWN.get(name, REFERENCE)
    if own != name:
        latency |= _timed(judge_speedup(timings, own, name, aa_control_of=REFERENCE, **judge), own)
    if name != REFERENCE:
        latency["across"] = _timed(judge_speedup(timings, REFERENCE, name, **judge), REFERENCE)
    interval = {"low": 0.88, "high": 0.92, "confidence": settings.confidence}
    kept = {"value": 0.9, "reference_value": 0.9, "difference": 0.0, "is_non_inferior": True}
    accuracy = Accuracy.model_validate({"top1": 0.9, "n": 1000, "top1_interval": interval, "comparison": kept})
    variant = _variant(name, method if target else "fp32", target or REFERENCE)
    return Row(variant=variant, status="ok", accuracy=accuracy, latency=Latency.model_validate(latency))


def _timed(found: JudgedSpeedup, reference: str) -> dict[str, object]:
    compared = {
        "reference": reference,
        "value": found.estimate.ratio,
        "reference_value": 1.0,
        "kind": "ratio",
        "difference": found.estimate.ratio - 1,
        "p_value": found.own_verdict.p_value,
    }
    return {"comparison": compared, "own_verdict": found.own_verdict.verdict}


def main() -> None:
    """Run the trials, one line of JSON each, then their summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--kind", choices=KINDS, default="onnxruntime", help="whose engine has several names")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds per trial")
    arguments = parser.parse_args()
    trials = []
    with tempfile.TemporaryDirectory() as folder:
        engines = make_engines(Path(folder), arguments.kind)
        for seed in range(arguments.trials):
            trials.append(one_trial(engines, default_plan(arguments.budget), seed))
            sys.stdout.write(json.dumps(trials[-1]) + "\n")
            sys.stdout.flush()
    alarming = sum(bool(trial["alarms"]) for trial in trials)
    sys.stdout.write(f"{alarming} of {len(trials)} trials with a false alarm\n")


def default_plan(budget_s: float) -> TimingPlan:
    """As a scenario has it."""
    settings = Measurement()
    return TimingPlan(
        warmup_s=settings.warmup_s,
        round_s=settings.round_s,
        rounds_per_process=settings.rounds_per_process,
        min_processes=settings.min_processes,
        max_processes=settings.max_processes,
        budget_s=budget_s,
    )


if __name__ == "__main__":
    main()
