"""Options of the plugin, on the command line and in the ini file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from harness.paths import expanded

_ISOLATIONS = ("process", "none")


@dataclass(frozen=True)
class Settings:
    """How the scenarios of this session are run."""

    out: Path | None
    """Folder for the report; None leaves it among pytest's temporary folders."""
    store: Path | None
    strict: bool
    download: bool
    isolation: Literal["process", "none"]
    history: bool
    """Whether to append the runs to the history."""
    latency: bool
    """Whether to measure it."""


def add_options(parser: pytest.Parser) -> None:
    """The group `quantization scenarios` of `pytest --help`."""
    group = parser.getgroup("harness", "quantization scenarios")
    group.addoption(
        "--harness-out", metavar="DIR", help="Write report, models and samples there; a run in it is replaced."
    )
    group.addoption(
        "--harness-store", metavar="DIR", help="Artifact store. Default: $HARNESS_STORE, else the user's cache."
    )
    group.addoption("--harness-strict", action="store_true", help="An inconclusive gate fails.")
    group.addoption("--harness-history", action="store_true", help="Append the runs to the history.")
    group.addoption("--harness-download", action="store_true", help="Allow data sets to be fetched from the network.")
    group.addoption(
        "--harness-isolation",
        choices=_ISOLATIONS,
        help="`process`: stages run in processes of their own (default); `none`: in this one, for debuggers.",
    )
    parser.addini("harness_scenarios", "Globs of scenario files to collect, relative to the root.", "args", default=[])
    parser.addini("harness_out", "As --harness-out, relative to the root.", "string", default="")
    parser.addini("harness_store", "As --harness-store, relative to the root.", "string", default="")
    parser.addini("harness_strict", "As --harness-strict.", "bool", default=False)
    parser.addini("harness_history", "As --harness-history.", "bool", default=False)
    parser.addini("harness_download", "As --harness-download.", "bool", default=False)
    parser.addini("harness_isolation", "As --harness-isolation.", "string", default="process")


def read_settings(config: pytest.Config) -> Settings:
    """The command line before the ini file; pytest's UsageError for what cannot be meant."""
    isolation = config.getoption("harness_isolation") or config.getini("harness_isolation")
    if isolation not in _ISOLATIONS:
        raise pytest.UsageError(f"harness_isolation: unknown isolation `{isolation}`; use `process` or `none`")
    return Settings(
        out=_folder(config, "harness_out"),
        store=_folder(config, "harness_store"),
        strict=config.getoption("harness_strict") or config.getini("harness_strict"),
        download=config.getoption("harness_download") or config.getini("harness_download"),
        history=config.getoption("harness_history") or config.getini("harness_history"),
        isolation="none" if isolation == "none" else "process",
        latency=not (
            config.getoption("benchmark_disable", default=False)
            and not config.getoption("benchmark_enable", default=False)
        ),
    )


def _folder(config: pytest.Config, name: str) -> Path | None:
    """Options are relative to where pytest was started, ini values to the root."""
    if given := config.getoption(name):
        return config.invocation_params.dir / expanded(given)
    written = config.getini(name)
    return config.rootpath / expanded(written) if written else None
