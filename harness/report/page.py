"""The parts that every page has: style, scripts with the policy that allows these alone, and the charts' data."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from harness.report.charts import Chart, Chooser
from harness.report.tables import order_of
from harness.text import visible

TEMPLATES = Path(__file__).parent / "templates"
VENDOR = Path(__file__).parent / "vendor"
_SCRIPTS = (VENDOR / "datatables.min.js", VENDOR / "echarts.min.js", TEMPLATES / "report.js")
_LICENCES = {
    "DataTables": ("LICENSE-datatables.txt",),
    "Apache ECharts, with zrender and parts of d3": (
        *("NOTICE-echarts.txt", "LICENSE-echarts.txt"),
        *("LICENSE-zrender.txt", "LICENSE-d3.txt"),
    ),
}


def environment() -> Environment:
    """For the templates of this package: HTML is escaped, and no character acts instead of being seen."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # what is marked as safe is our own
    )
    found.filters["order"] = order_of
    return found


def page_parts(charts: Sequence[Chart], choosers: Sequence[Chooser] = ()) -> dict[str, Any]:
    """What a template needs beside its own content."""
    scripts = [_own(path) for path in _SCRIPTS]
    return {
        "style": _own(TEMPLATES / "report.css"),
        "policy": _policy(scripts),
        "scripts": scripts,
        "data": _data(charts, choosers),
        "licences": [
            (name, "\n".join((VENDOR / file).read_text(encoding="utf-8") for file in files))
            for name, files in _LICENCES.items()
        ],
    }


@cache
def _own(path: Path) -> Markup:
    """A file of this package, put into the page as it is."""
    return Markup(path.read_text(encoding="utf-8"))  # noqa: S704


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and no script runs but these."""
    sums = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in sums)
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _data(charts: Sequence[Chart], choosers: Sequence[Chooser]) -> Markup:
    """Everything that the script draws, as JSON that no text in it can end."""
    parts = [part for chooser in choosers for part in chooser.parts]
    plain = {
        "charts": {chart.key: {"option": chart.option} for chart in charts}
        | {part.key: {"option": part.option, "views": part.views} for part in parts if part.option is not None},
        "tables": {part.key: part.views for part in parts if part.option is None},
        "choosers": {
            each.key: {"parts": [part.key for part in each.parts], "choices": [choice.views for choice in each.choices]}
            for each in choosers
        },
    }
    text = json.dumps(_printable(plain), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))  # noqa: S704


def _printable(value: Any) -> Any:
    """Six digits of every number; no character that acts instead of being seen."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _printable(item) for name, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value
