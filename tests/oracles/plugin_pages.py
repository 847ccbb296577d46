"""The plug-ins of `docs/plugins/`, put into a project as their pages say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

PAGES = Path(__file__).parents[2] / "docs" / "plugins"
_FILE = re.compile(r"^`(\w+\.py)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCENARIO = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NET = """\
from torch import nn


def net(size=28, n_classes=10):
    width = size // 4
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * width * width, n_classes)
    )
"""
BASE = """\
name: own
dataset: {source: fashion_mnist, location: embedded, train_samples: 64, calibration_samples: 32, test_samples: 32}
models: {net: {factory: net.py:net}}
training: {max_epochs: 2, batch_size: 16, augmentations: []}
matrix: {method: [fp32, ptq], calibrator: max}
measurement: {latency: false, memory: false, parity: "off"}
"""


class Page(NamedTuple):
    """One how-to page."""

    file: str
    code: str
    scenario: dict[str, Any]
    """What the page writes into a scenario."""


def page(name: str) -> Page:
    """The page `docs/plugins/NAME.md`."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    found = _FILE.findall(text)
    assert len(found) == 1, f"{name} shows {len(found)} files"
    return Page(*found[0], YAML(typ="safe").load(_SCENARIO.findall(text)[0]))


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both, section by section; a value of `more` replaces that of `base`."""
    both = base | more
    for key in base.keys() & more.keys():
        if isinstance(base[key], dict) and isinstance(more[key], dict) and key != "models":
            both[key] = base[key] | more[key]
    return both


def write_project(folder: Path, *names: str, **changes: Any) -> Path:
    """A project with a network of two layers and the plug-ins of some pages; its scenario file."""
    (folder / "models").mkdir(parents=True, exist_ok=True)  # marks the root
    (folder / "net.py").write_text(NET, encoding="utf-8")
    scenario = YAML(typ="safe").load(BASE)
    for name in names:
        found = page(name)
        (folder / found.file).write_text(found.code, encoding="utf-8")
        scenario = merged(scenario, found.scenario)
    path = folder / "scenario.yaml"
    YAML(typ="safe").dump(merged(scenario, changes), path)
    return path
