"""`harness build` and `harness audit`: what they print, and how they fail."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from oracles.networks import INPUT_SHAPE, captured
from oracles.onnx_files import float_network, qdq_network, save

from harness.cli.engines import _profiles
from harness.errors import UsageError
from harness.exporting.onnx_export import export_onnx
from harness.machine.hardware import has_bf16
from harness.targets import get_target
from harness.targets.engine_record import EngineRecord, sha256


def harness(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def rtx() -> None:
    availability = get_target("tensorrt-rtx").availability()
    if not availability.usable:
        pytest.skip(f"{availability.detail}; {availability.fix}")


def test_the_tutorials_command(rtx: None, tmp_path: Path):
    """`trtexec --int8 --fp16 --onnx=… --saveEngine=…`."""
    model, engine = qdq_network(tmp_path / "q.onnx"), tmp_path / "out" / "q.engine"
    done = harness("build", model, "--int8", "--fp16", "--save-engine", engine, "--compute-capability", "SM86")
    assert done.returncode == 0, done.stderr
    assert f"{engine.stat().st_size:,} bytes" in done.stdout
    assert "INT8: 100.0% of the multiply-accumulates, 2/2 layers" in done.stdout

    audited = harness("audit", engine)
    assert audited.returncode == 0, audited.stderr
    rows = [line.split() for line in audited.stdout.splitlines() if line.startswith(("conv1", "conv2"))]
    assert [(row[0], row[2], row[3], row[6]) for row in rows] == [
        ("conv1", "Int8", "Int8", "yes"),
        ("conv2", "Int8", "Int8", "yes"),
    ]


def test_a_fall_back_to_float_is_printed_with_its_reason(rtx: None, tmp_path: Path):
    model = qdq_network(tmp_path / "q.onnx")
    done = harness("build", model, "--int8", "--fp16", "--save-engine", tmp_path / "e", "--compute-capability", "SM75")
    assert done.returncode == 0, done.stderr
    assert "INT8: 0.0%" in done.stdout
    assert "conv1, conv2: left in FP16: TensorRT-RTX has no INT8 kernels for SM75" in done.stdout


def test_an_onnx_file_is_built_to_be_audited(tmp_path: Path):
    done = harness("audit", float_network(tmp_path / "f.onnx"), "--target", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert "INT8: 0.0% of the multiply-accumulates, 0/2 layers" in done.stdout
    # Nothing is cut off in a pipe.
    (row,) = [line.split(maxsplit=7) for line in done.stdout.splitlines() if line.startswith("conv2")]
    assert row[7].strip() == "the ONNX file is not quantized"


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{float}", "--int8"], "has no Q/DQ nodes"),
        (["{uint8}"], "node `conv1/Quantize` is asymmetric (uint8"),
        (["{empty}"], "is empty"),
        (["{truncated}"], "is damaged or not an ONNX file"),
        (["{missing}"], "there is no file"),
        (["{float}", "--compute-capability", "SM90"], "cannot build for SM90"),
        (["{float}", "--shapes", "images:1x32x16x16"], "float.onnx has no input `images`"),
        (["{float}", "--shapes", "input:1x3x16x16"], "`input` is ?x32x16x16, which 1x3x16x16 does not fit"),
        (["{float}", "--hardware-compatibility", "ampere+"], "takes no notice of hardware compatibility"),
        (["{float}", "--hardware-compatibility", "all"], "--hardware-compatibility"),
        (["{float}", "--shapes", "input:1x32x16x16", "--batch-size", "4"], "--batch-size has no effect beside shapes"),
        (["{float}", "--shapes", "1x3"], "`1x3` is not a shape"),
        (["{float}", "--target", "tensorrtx"], "unknown target `tensorrtx`"),
        (["{float}", "--target", "onnxruntime", "--workspace", "64"], "target onnxruntime has no option --workspace"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_exits_with_2_and_one_message(rtx: None, tmp_path: Path, arguments: list[str], words: str):
    (tmp_path / "empty.onnx").touch()
    whole = qdq_network(tmp_path / "q.onnx").read_bytes()
    (tmp_path / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    places = {
        "float": float_network(tmp_path / "float.onnx"),
        "uint8": qdq_network(tmp_path / "uint8.onnx", activation_type=np.uint8, zero_point=128),
        "empty": tmp_path / "empty.onnx",
        "truncated": tmp_path / "truncated.onnx",
        "missing": tmp_path / "missing.onnx",
    }
    done = harness("build", *(each.format(**places) for each in arguments), "--save-engine", tmp_path / "e.engine")
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "e.engine").exists()


def test_a_target_that_is_not_installed_says_how_to_install_it(tmp_path: Path):
    target = get_target("tensorrt")
    if target.availability().usable:
        pytest.skip("TensorRT is installed here")
    done = harness("build", tmp_path / "m.onnx", "--target", "tensorrt", "--save-engine", tmp_path / "e")
    assert done.returncode == 2
    assert "target tensorrt: " in done.stderr
    assert "fix: " in done.stderr


def test_a_network_is_not_overwritten_by_its_engine(rtx: None, tmp_path: Path):
    model = float_network(tmp_path / "f.onnx")
    before = model.read_bytes()
    done = harness("build", model, "--save-engine", model)
    assert done.returncode == 2
    assert "is the network itself" in done.stderr
    assert model.read_bytes() == before


def test_the_log_of_a_failed_build_is_printed_too(rtx: None, tmp_path: Path):
    node = helper.make_node("Det", ["input"], ["output"], name="determinant")
    model = save(tmp_path / "d.onnx", [node], [])
    done = harness("build", model, "--verbose", "--save-engine", tmp_path / "e.engine")
    assert done.returncode == 2
    assert "VERBOSE: " in done.stdout


def test_the_audit_of_another_engine_is_not_taken_for_this_ones(tmp_path: Path):
    engine = tmp_path / "e.engine"
    engine.write_bytes(b"built")
    EngineRecord(builder="tensorrt 10", sha256=sha256(engine), engine_layers=()).save(engine)
    assert harness("audit", engine).returncode == 0
    engine.write_bytes(b"by trtexec")
    done = harness("audit", engine)
    assert done.returncode == 2
    assert "its checksum differs" in done.stderr


def test_a_shape_for_the_audit_of_a_file_whose_size_is_dynamic(rtx: None, tmp_path: Path):
    model = onnx.load(float_network(tmp_path / "f.onnx"))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "f.onnx")
    refused = harness("audit", tmp_path / "f.onnx")
    assert refused.returncode == 2
    assert "--shapes input:1x32x1x16" in refused.stderr
    done = harness("audit", tmp_path / "f.onnx", "--shapes", "input:1x32x24x16")
    assert done.returncode == 0, done.stderr
    assert "0/2 layers" in done.stdout


def test_fp16_of_a_file_that_lists_its_constants_among_its_inputs(rtx: None, tmp_path: Path):
    """As exporters did before IR version 4."""
    model = onnx.load(float_network(tmp_path / "f.onnx", batch=8))
    model.graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in model.graph.initializer
    )
    onnx.save(model, tmp_path / "f.onnx")
    done = harness("build", tmp_path / "f.onnx", "--fp16", "--save-engine", tmp_path / "e.engine")
    assert done.returncode == 0, done.stderr
    assert "left in FP16" in done.stdout


def test_an_engine_without_its_record(tmp_path: Path):
    (tmp_path / "e.engine").write_bytes(b"x")
    done = harness("audit", tmp_path / "e.engine")
    assert done.returncode == 2
    assert "has no `.audit.json` beside it" in done.stderr


class TestShapes:
    def test_one_shape_is_all_three(self):
        (profile,) = _profiles(1, ["x:2x3"])
        assert profile == {"x": {"min": (2, 3), "opt": (2, 3), "max": (2, 3)}}

    def test_a_missing_one_is_the_optimum(self):
        (profile,) = _profiles(1, None, ["x:1x3"], ["x:4x3"])
        assert profile == {"x": {"min": (1, 3), "opt": (4, 3), "max": (4, 3)}}

    def test_several_inputs_in_one_flag_as_trtexec_writes_them(self):
        (profile,) = _profiles(1, ["a:1x3,b:1x4"])
        assert profile["b"]["max"] == (1, 4)

    def test_none(self):
        assert _profiles(1, None) == ()

    def test_no_shape(self):
        with pytest.raises(UsageError, match="is not a shape"):
            _profiles(1, ["x:1xN"])


class TestOpenVino:
    """The switches that only OpenVINO has."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("openvino")

    def test_bf16_runs_in_bf16(self, tmp_path: Path):
        if not has_bf16():
            pytest.skip("this CPU has no BF16")
        export_onnx(captured("residual"), INPUT_SHAPE, tmp_path / "m.onnx", integer_biases=False)
        build = ("build", tmp_path / "m.onnx", "--target", "openvino")
        assert harness(*build, "--bf16", "--save-engine", tmp_path / "e.zip").returncode == 0
        shown = harness("audit", tmp_path / "e.zip").stdout
        assert "bfloat16" in shown
        assert harness(*build, "--save-engine", tmp_path / "f.zip").returncode == 0
        assert "bfloat16" not in harness("audit", tmp_path / "f.zip").stdout

    def test_threads_and_streams_are_in_the_engine(self, tmp_path: Path):
        export_onnx(captured("residual"), INPUT_SHAPE, tmp_path / "m.onnx", integer_biases=False)
        arguments = ("--threads", "2", "--streams", "2", "--save-engine", tmp_path / "e.zip")
        assert harness("build", tmp_path / "m.onnx", "--target", "openvino", *arguments).returncode == 0
        options = json.loads(zipfile.ZipFile(tmp_path / "e.zip").read("options.json"))
        assert (options["threads"], options["streams"]) == (2, 2)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--target", "openvino", "--device", "NPUX"), "finds no NPUX on this machine"),
            (("--target", "onnxruntime", "--bf16"), "no BF16 kernels"),
            (("--target", "onnxruntime", "--device", "CPU"), "target onnxruntime has no option --device"),
            (("--target", "openvino", "--bf16", "--fp16"), "--fp16 and --bf16 are two precisions"),
        ],
    )
    def test_what_cannot_be(self, tmp_path: Path, arguments: tuple[str, ...], words: str):
        export_onnx(captured("residual"), INPUT_SHAPE, tmp_path / "m.onnx", integer_biases=False)
        done = harness("build", tmp_path / "m.onnx", *arguments, "--save-engine", tmp_path / "e.zip")
        assert done.returncode == 2
        assert words in " ".join(done.stderr.split())
