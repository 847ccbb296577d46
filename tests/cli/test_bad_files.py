"""`harness build` and `harness audit` of what cannot be built: one message with the node and the fix, exit code 2."""

import sys
from pathlib import Path

import numpy as np
import pytest
from oracles.bad_files import make
from oracles.onnx_files import INPUT_SHAPE

from harness.cli import main
from harness.exporting.fp16 import convert_to_fp16
from harness.targets import get_target

TARGETS = ("onnxruntime", "tensorrt-rtx")
BAD = {
    "missing": "missing.onnx",
    "folder": "folder.onnx is a folder",
    "empty": "empty.onnx is empty",
    "text": "text.onnx is damaged or not an ONNX file",
    "truncated": "truncated.onnx is damaged or not an ONNX file",
    "misspelt": "node `odd` is a `Conf`, which is no ONNX operator",
    "foreign": "node `trick`",
    "loose": "loose",
    "mixed": "node `sum`",
    "opset": "asks for opset 99",
}
"""What the message names, for each kind of bad file."""


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    availability = get_target(request.param).availability()
    if not availability.usable:
        pytest.skip(f"{availability.detail}; {availability.fix}")
    return request.param


class Harness:
    """The command line, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str]:
        """Exit code and what stands on stderr."""
        self._monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return int(code or 0), self._capsys.readouterr().err

    def refused(self, *arguments: object) -> str:
        """The one message of a command that must be refused."""
        code, said = self(*arguments)
        assert code == 2, said
        first, second = said.splitlines()
        assert first.startswith("harness: ")
        assert second.startswith("  fix: ")
        return first


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Harness:
    return Harness(monkeypatch, capsys)


@pytest.mark.parametrize("kind", BAD)
def test_build_refuses_it(harness: Harness, target: str, kind: str, tmp_path: Path):
    engine = tmp_path / "out" / "e.engine"
    message = harness.refused("build", make(kind, tmp_path), "--target", target, "--save-engine", engine)
    assert BAD[kind] in message
    assert not engine.exists()


@pytest.mark.parametrize("kind", BAD)
def test_audit_refuses_it(harness: Harness, target: str, kind: str, tmp_path: Path):
    assert BAD[kind] in harness.refused("audit", make(kind, tmp_path), "--target", target)


class TestWhatOneTargetTakesAndAnotherDoesNot:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("uint8", "node `conv1/Quantize` is asymmetric (uint8 with zero point 128)"),
            ("dynamic", "input `input` has the dynamic shape ?x32x?x16, and no profile says which sizes to build for"),
        ],
    )
    def test_symmetric_int8_and_known_shapes(self, harness: Harness, tmp_path: Path, kind: str, words: str):
        path, engine = make(kind, tmp_path), tmp_path / "e.engine"
        if get_target("tensorrt-rtx").availability().usable:
            assert words in harness.refused("build", path, "--save-engine", engine)
        assert harness("build", path, "--target", "onnxruntime", "--save-engine", engine) == (0, "")

    def test_capabilities_are_those_of_the_builder(self, harness: Harness, target: str, tmp_path: Path):
        path = make("good", tmp_path)
        wrong = ["--target", target, "--compute-capability", "SM90"]
        words = {"onnxruntime": "has no option --compute-capability", "tensorrt-rtx": "cannot build for SM90"}[target]
        assert words in harness.refused("build", path, *wrong, "--save-engine", tmp_path / "e")
        assert words in harness.refused("audit", path, *wrong)


class TestFp16:
    @pytest.fixture(autouse=True)
    def usable(self) -> None:
        if not get_target("tensorrt-rtx").availability().usable:
            pytest.skip("tensorrt-rtx is not installed")

    @pytest.mark.parametrize("kind", ["text", "misspelt", "foreign", "mixed"])
    def test_the_conversion_names_the_node_too(self, harness: Harness, kind: str, tmp_path: Path):
        command = ["build", make(kind, tmp_path), "--fp16", "--save-engine", tmp_path / "e.engine"]
        assert BAD[kind] in harness.refused(*command)

    def test_a_file_that_is_fp16_already_is_built_as_it_is(self, harness: Harness, tmp_path: Path):
        convert_to_fp16(make("good", tmp_path), tmp_path / "h.onnx", np.zeros((1, *INPUT_SHAPE), np.float32))
        command = ["build", tmp_path / "h.onnx", "--fp16", "--compute-capability", "SM86"]
        assert harness(*command, "--save-engine", tmp_path / "e.engine") == (0, "")
        assert (tmp_path / "e.engine").is_file()

    @pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 32), (0, 32, 16, 16)], ids=str)
    def test_samples_of_another_shape(self, harness: Harness, shape: tuple[int, ...], tmp_path: Path):
        np.save(tmp_path / "s.npy", np.zeros(shape, np.float32))
        command = ["build", make("good", tmp_path), "--fp16", "--samples", tmp_path / "s.npy"]
        assert "the network takes Nx32x16x16" in harness.refused(*command, "--save-engine", tmp_path / "e.engine")


def test_an_engine_with_a_damaged_record(harness: Harness, tmp_path: Path):
    (tmp_path / "e.engine").write_bytes(b"x")
    (tmp_path / "e.audit.json").write_text('{"builder": ')
    assert "e.audit.json is damaged" in harness.refused("audit", tmp_path / "e.engine")
