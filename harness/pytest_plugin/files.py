"""Which YAML files are scenarios that the user asked for; looked at for every YAML file that pytest walks by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_KEYS = frozenset(("name", "dataset", "models", "matrix"))
_ENOUGH_KEYS = 2
"""A scenario needs three of them; one may be mistyped."""
_TOP_LEVEL_KEY = re.compile(r"^([A-Za-z_]+)\s*:", re.MULTILINE)


def is_wanted(path: Path, session: pytest.Session) -> bool:
    """A scenario on the command line, or any file that `harness_scenarios` matches."""
    if path in _configured(session.config):
        return True
    return session.isinitpath(path) and _looks_like_a_scenario(path)


def find_scenarios(patterns: list[str], config: pytest.Config) -> list[Path]:
    """The files that globs relative to the root match, sorted."""
    if absolute := next((pattern for pattern in patterns if Path(pattern).is_absolute()), None):
        raise pytest.UsageError(f"`{absolute}`: scenario globs are relative to {config.rootpath}")
    return sorted({path for pattern in patterns for path in config.rootpath.glob(pattern)})


_FOUND = pytest.StashKey[frozenset[Path]]()


def _configured(config: pytest.Config) -> frozenset[Path]:
    if _FOUND not in config.stash:
        config.stash[_FOUND] = frozenset(find_scenarios(config.getini("harness_scenarios"), config))
    return config.stash[_FOUND]


def _looks_like_a_scenario(path: Path) -> bool:
    # By its lines, not parsed: one with a syntax error is still meant as a scenario, and gets our message.
    text = path.read_text(encoding="utf-8", errors="replace")
    return len(_KEYS.intersection(_TOP_LEVEL_KEY.findall(text))) >= _ENOUGH_KEYS
