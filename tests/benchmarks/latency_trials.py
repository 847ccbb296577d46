"""How often the verdict on latency is wrong: equal engines (false alarms) and an injected slow-down (power).

    python tests/benchmarks/latency_trials.py --slowdown 0 --trials 100 --budget 10
    python tests/benchmarks/latency_trials.py --slowdown 0 --trials 100 --budget 10 --load
    python tests/benchmarks/latency_trials.py --slowdown 2 --trials 60 --budget 20

Each trial measures two sessions of one engine and the twin, as `harness run` does with a scenario of two rows. The same
data are also judged by two rules in wide use:

- `pytest-benchmark`: `--benchmark-compare-fail=mean:X%`, the mean of all inferences is more than X % apart.
- `asv`: `asv compare --factor F`, Mann-Whitney's U test of the turns' means has p < 0.002 (its default), and the
  medians are more than the factor apart.
"""

import argparse
import collections
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import stats

from harness.scenario import Judgement, Measurement
from harness.stats.verdict import latency_band
from harness.targets import get_target
from harness.timing.request import EngineFile, TimingRequest, run_process
from harness.timing.samples import AA_CONTROL, Timings
from harness.timing.sequential import measure
from harness.timing.settings import TimingPlan
from harness.verdicts.latency import is_clear, judge_speedup

ROOT = Path(__file__).parents[2]
SHAPE = (1, 28, 28)
REFERENCE, OTHER = "reference", "other"
ASV_P_VALUE = 0.002
MEAN_THRESHOLDS, ASV_FACTORS = (0.01, 0.05), (1.01, 1.1)


def make_engine(folder: Path) -> EngineFile:
    """`resnet8` in FP32 with random weights."""
    from harness.exporting.onnx_export import export_onnx
    from harness.quantization.capture.graph import capture
    from harness.training.factory import build_model

    model = build_model("models/resnet.py:resnet8", {}, root=ROOT, seed=0, input_shape=SHAPE, n_classes=10).eval()
    export_onnx(capture(model, SHAPE), SHAPE, folder / "model.onnx", integer_biases=False)
    target = get_target("onnxruntime")
    options = target.options_from({})
    engine = target.build(folder / "model.onnx", folder, options)
    return EngineFile(target="onnxruntime", path=engine.path, options=options.model_dump(mode="json"))


def one_trial(engine: EngineFile, plan: TimingPlan, slowdown_percent: float, margin: float, seed: int) -> dict:
    """Measure, judge by all rules."""
    confidence, analyses = Judgement().confidence, len(plan.analyses)
    plain = engine.model_copy(update={"target": f"{engine.target}+0%"})
    slowed = engine.model_copy(update={"target": f"{engine.target}+{slowdown_percent:g}%"})
    sessions = {REFERENCE: plain, OTHER: slowed, AA_CONTROL: plain}

    def process(build: int, number: int, limit_s: float):
        order = TimingRequest(
            sessions=sessions,
            batch_shape=(1, *SHAPE),
            plan=plan,
            build=build,
            process=number,
            seed=seed,
            limit_s=limit_s,
        )
        return run_process(order, "slowed_process:main")

    started = time.perf_counter()
    timings = measure(
        process,
        plan,
        is_clear=lambda so_far: is_clear(
            so_far, REFERENCE, confidence=confidence, margin=margin, analyses=analyses, comparisons=1
        ),
    )
    seconds = time.perf_counter() - started
    judged = judge_speedup(timings, REFERENCE, OTHER, confidence=confidence, margin=margin, analyses=analyses)
    clear = judged.own_verdict.p_value <= 1 - confidence
    return {
        "seed": seed,
        "seconds": round(seconds, 2),
        "processes": len(timings.blocks),
        "rounds": timings.n_rounds,
        "contaminated": timings.contaminated_rounds(),
        "median_ms": round(float(np.median(timings.samples(REFERENCE))), 5),
        "speedup": round(judged.estimate.ratio, 5),
        "ci95": [round(end, 5) for end in judged.ci],
        "band": round(latency_band(margin, judged.noise_floor), 5),
        "harness": judged.own_verdict.verdict if clear else "inconclusive",
        **other_rules(timings),
    }


def other_rules(timings: Timings) -> dict[str, str]:
    """The words of the other tools about the same samples."""
    reference, other = timings.samples(REFERENCE), timings.samples(OTHER)
    change = other.mean() / reference.mean() - 1
    words = {f"pytest-benchmark mean:{threshold:.0%}": word(change, threshold) for threshold in MEAN_THRESHOLDS}
    turns = {name: [each.samples_ms[name].mean() for each in timings.rounds] for name in (REFERENCE, OTHER)}
    p_value = stats.mannwhitneyu(turns[REFERENCE], turns[OTHER]).pvalue
    moved = float(np.median(turns[OTHER]) / np.median(turns[REFERENCE])) - 1
    for factor in ASV_FACTORS:
        words[f"asv --factor {factor}"] = word(moved, factor - 1) if p_value < ASV_P_VALUE else "same"
    return words


def word(change: float, threshold: float) -> str:
    """Of a rule that knows no `inconclusive`."""
    return "worse" if change > threshold else "better" if change < -threshold else "same"


def burn() -> None:
    """A background load on one core, not bound to it."""
    while True:
        pass


def summary(trials: list[dict], slowdown_percent: float) -> str:
    """One line per rule, the counts of its words."""
    rules = [key for key in trials[0] if key == "harness" or " " in key]
    lines = [f"{'rule':26} {'better':>7} {'same':>7} {'worse':>7} {'inconclusive':>13}"]
    for rule in rules:
        counts = collections.Counter(trial[rule] for trial in trials)
        cells = [f"{counts[each]:>{width}}" for each, width in zip(WORDS, (7, 7, 7, 13), strict=True)]
        lines.append(f"{rule:26} {' '.join(cells)}")
    seconds, processes = ([trial[key] for trial in trials] for key in ("seconds", "processes"))
    lines.append(
        f"{len(trials)} trials, slow-down {slowdown_percent:g} %: {np.median(seconds):.1f} s each (at most "
        f"{max(seconds):.1f}), {np.median(processes):.0f} processes (at most {max(processes)}), speedup "
        f"{np.mean([trial['speedup'] for trial in trials]):.4f} on average"
    )
    return "\n".join(lines)


WORDS = ("better", "same", "worse", "inconclusive")


def main() -> None:
    """Run the trials, one line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slowdown", type=float, default=0.0, help="percent")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds per trial")
    parser.add_argument("--margin", type=float, default=Judgement().latency_margin)
    parser.add_argument("--load", action="store_true", help="keep one core busy meanwhile")
    parser.add_argument("--out", type=Path, help="file for the trials, one line of JSON each")
    arguments = parser.parse_args()
    settings = Measurement()
    plan = TimingPlan(
        warmup_s=settings.warmup_s,
        round_s=settings.round_s,
        rounds_per_process=settings.rounds_per_process,
        min_processes=settings.min_processes,
        max_processes=settings.max_processes,
        budget_s=arguments.budget,
    )
    trials = []
    load = multiprocessing.Process(target=burn, daemon=True) if arguments.load else None
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(Path(folder))
        if load is not None:
            load.start()
        for seed in range(arguments.trials):
            trials.append(one_trial(engine, plan, arguments.slowdown, arguments.margin, seed))
            if arguments.out is not None:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(trials[-1]) + "\n")
    if load is not None:
        load.kill()
    sys.stdout.write(summary(trials, arguments.slowdown) + "\n")


if __name__ == "__main__":
    main()
