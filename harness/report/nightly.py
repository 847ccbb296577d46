"""`nightly.md`: what a nightly run found, with figures, their direction, and links to what lies beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

from harness.figures import METRICS, find_figure
from harness.history.figures import run_record
from harness.history.latest import EARLIER_RUNS, latest_change
from harness.history.trends import Trend
from harness.report.comparison import markdown_text
from harness.report.history_words import commit, day, value_with_unit
from harness.report.markdown import escaped
from harness.report.variants import NONE
from harness.results import Row, RunResults
from harness.results.comparison import Comparison
from harness.words.decision import decision_title, decisions_of

_COLUMNS = (
    "accuracy.top1",
    "accuracy.agreement",
    "latency.speedup",
    "latency.median_ms",
    "size.weight_bytes",
    "coverage.int8_macs",
)
"""Those that are shown where a run has them; metrics of the scenario follow."""
_ARROWS = {"up": "\N{NORTH EAST ARROW}", "down": "\N{SOUTH EAST ARROW}", "level": "\N{RIGHTWARDS ARROW}"}
_LEGEND = (
    f"Arrows compare with the median of up to {EARLIER_RUNS} earlier runs on this class of machines: "
    f"{_ARROWS['level']} within the margin or the interval, {_ARROWS['up']} and {_ARROWS['down']} beyond both, with "
    "that median in brackets. An arrow is no proof: what is proven stands at the top."
)
_Series = Mapping[tuple[str, str, str], Trend]


def nightly_text(
    outcome: str,
    messages: Iterable[str],
    runs: Sequence[tuple[str, RunResults]],
    trends: Iterable[Trend],
    comparison: Comparison | None,
) -> str:
    """Markdown: the outcome, what a reader has to know, the comparison, and the figures of each scenario.

    Args:
        outcome: one line.
        messages: beside those of the comparison, the most severe first.
        runs: each with the name of its folder, which lies beside the file.
        trends: with this nightly run in them.
        comparison: with the baselines; None without any.
    """
    series = {(trend.entries[-1].run.key, trend.variant, trend.metric): trend for trend in trends}
    lines = ["# Nightly", "", f"**{escaped(outcome)}**", ""]
    lines += [f"- {escaped(message)}" for message in messages]
    lines += ["", " · ".join(_where(runs)), ""]
    if comparison is not None:
        lines += [markdown_text(comparison)]
    for folder, results in runs:
        lines += _scenario(folder, results, series)
    return "\n".join([*lines, _LEGEND, ""])


def _where(runs: Sequence[tuple[str, RunResults]]) -> Iterator[str]:
    if runs:
        record = run_record(runs[0][1])
        yield escaped(f"{day(record.started_at)} UTC")
        yield escaped(record.machine_class)
        yield escaped(commit(record))
    yield "[history](history.html)"


def _scenario(folder: str, results: RunResults, series: _Series) -> Iterator[str]:
    yield f"## {escaped(results.scenario)}"
    yield ""
    yield " · ".join(
        f"[{name}]({_link(folder, file)})"
        for name, file in (("report", "report.html"), ("as Markdown", "report.md"), ("rows as CSV", "results.csv"))
    )
    yield ""
    for found in decisions_of(results):
        yield f"- {escaped(decision_title(found))}: **{escaped(found.headline)}**"
    yield ""
    key = run_record(results).key
    headers = _headers(results, key, series)
    headings = ["Variant", *map(escaped, headers.values()), "Gates", "Files"]
    yield f"| {' | '.join(headings)} |"
    yield f"| --- | {'--: | ' * len(headers)}--- | --- |"
    for row in results.rows:
        name = escaped(row.variant.id) if row.status == "ok" else f"{escaped(row.variant.id)}: {escaped(row.status)}"
        cells = [_cell(series.get((key, row.variant.id, metric))) for metric in headers]
        yield f"| {' | '.join([name, *cells, _gates(row, results), _files(folder, row)])} |"
    yield ""


def _headers(results: RunResults, key: str, series: _Series) -> dict[str, str]:
    """Headers of the figures that any row of the run has, in the order of the columns."""
    own = {f"{METRICS}.{name}" for row in results.rows for name in row.metrics}
    followed = {metric for run, _, metric in series if run == key}
    return {
        metric: found.header
        for metric in (*_COLUMNS, *sorted(own))
        if metric in followed
        for found in [next(filter(None, (find_figure(row, metric) for row in results.rows)), None)]
        if found is not None
    }


def _cell(trend: Trend | None) -> str:
    if trend is None:
        return NONE
    value = escaped(value_with_unit(trend, trend.values[-1]))
    change = latest_change(trend)
    if change is None:
        return value
    arrow = _ARROWS[change.direction]
    if change.direction == "level":
        return f"{value} {arrow}"
    word = {True: " better", False: " worse", None: ""}[change.is_better]
    return f"{value} {arrow}{word} ({escaped(value_with_unit(trend, change.before))})"


def _gates(row: Row, results: RunResults) -> str:
    verdicts = [gate.verdict for gate in results.gates if gate.variant == row.variant.id]
    if not verdicts:
        return NONE
    failed = verdicts.count("fail")
    return f"**{failed} of {len(verdicts)} fail**" if failed else f"{verdicts.count('pass')} of {len(verdicts)} pass"


def _files(folder: str, row: Row) -> str:
    names = {"log": "log", "onnx": "ONNX", "engine": "engine"}
    return (
        ", ".join(f"[{word}]({_link(folder, row.files[name])})" for name, word in names.items() if name in row.files)
        or NONE
    )


def _link(folder: str, file: str) -> str:
    return quote(f"{folder}/{file}")
