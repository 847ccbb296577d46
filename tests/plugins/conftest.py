"""Projects with plug-ins, and packages that register some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package of one module that registers entry points, as pip leaves it; the folder it lies in."""

    def put(package: str, code: str, *, version: str = "1.0", **points: str) -> Path:
        folder = tmp_path / "site-packages" / package
        info = folder / f"{package}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}.py").write_text(code, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [f"[harness.{group}]\n{line}\n" for group, line in points.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(folder)
        return folder

    return put
