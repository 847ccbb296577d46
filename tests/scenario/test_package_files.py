"""Weights inside installed packages: found without importing them, and wrong names are told apart."""

import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = "name: a\ndataset: {source: d}\nmodels: {r: {factory: 'a:f', weights: §'package:"


@pytest.fixture
def weights_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that cannot be imported, with a weights file."""
    folder = tmp_path / "site" / "some_weights"
    (folder / "files").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "files" / "net.pth").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_a_file_in_a_package_that_is_not_imported(load: Any, weights_package: Path) -> None:
    scenario = load(HEAD.replace("§", "") + "some_weights/files/net.pth'}}\n")
    assert scenario.resolve(scenario.models["r"].weights) == weights_package / "files" / "net.pth"
    assert "some_weights" not in sys.modules


def test_a_wrong_file_name_names_the_nearest(refuse: Any, weights_package: Path) -> None:
    error = refuse(HEAD + "some_weights/files/nett.pth'}}\n")
    assert error.message == "the weights file `package:some_weights/files/nett.pth` does not exist"
    assert error.fix == "did you mean `package:some_weights/files/net.pth`?"


def test_a_package_that_is_not_installed(refuse: Any) -> None:
    error = refuse(HEAD + "no_such_weights/net.pth'}}\n")
    assert error.message == "the package `no_such_weights` is not installed"


@pytest.mark.parametrize("text", ["some_weights.pth", "some weights/net.pth", "some_weights/../net.pth"])
def test_what_names_no_file_in_a_package(refuse: Any, text: str) -> None:
    error = refuse(HEAD + f"{text}'}}}}\n")
    assert error.message == f"`models.r.weights`: `package:{text}` names no file in a package"
