"""Hundreds of damaged ONNX files: `harness build` and `harness audit` refuse them or build them, and never crash.

Every file is tried in a process of its own: what crashes there natively would take the tests with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import onnx
import pytest
from onnx import ModelProto, TensorProto
from oracles.bad_files import make
from oracles.mutations import broken_bytes

REPOSITORY = Path(__file__).parents[2]
FEW, MANY = 8, 312
BATCH = 26
LONGEST_S = 600.0
RUNNER = """
import json, sys
sys.path.insert(0, "tests")
from oracles.command_line import harness
for line in sys.stdin:
    command = json.loads(line)
    ended = harness(*command)
    print(json.dumps([ended.code, ended.err]), file=sys.__stdout__, flush=True)
"""


def _field(content: bytes, random: Random) -> bytes:
    """One field of the graph changed as an exporter could get it wrong, or an attacker right."""
    model = onnx.load_from_string(content)
    graph = model.graph
    edits = (_other_type, _shape, _operator, _input, _data, _opset, _duplicate, _external, _empty_name, _no_output)
    random.choice(edits)(model, random)
    assert graph is model.graph
    return model.SerializeToString()


def _other_type(model: ModelProto, random: Random) -> None:
    random.choice([*model.graph.initializer]).data_type = random.choice((0, 2, 7, 8, 10, 99, -1))


def _shape(model: ModelProto, random: Random) -> None:
    tensor = random.choice([*model.graph.initializer])
    tensor.dims[:] = random.choice(([], [0], [-1], [2**40], [2**62, 2**62], [1, 1, 1, 1, 1, 1, 1, 1]))


def _operator(model: ModelProto, random: Random) -> None:
    random.choice([*model.graph.node]).op_type = random.choice(("Loop", "If", "Gemm", "Reshape", "", "x" * 10_000))


def _input(model: ModelProto, random: Random) -> None:
    node = random.choice([*model.graph.node])
    node.input[:] = random.choice(([], ["nothing"], [""] * 50, [node.output[0]]))


def _data(model: ModelProto, random: Random) -> None:
    tensor = random.choice([*model.graph.initializer])
    tensor.raw_data = random.choice((b"", b"\0", tensor.raw_data[:-1], tensor.raw_data * 3, b"\xff" * 64))


def _opset(model: ModelProto, random: Random) -> None:
    model.opset_import[0].version = random.choice((-1, 0, 1, 7, 99, 2**40))


def _duplicate(model: ModelProto, random: Random) -> None:
    model.graph.node.append(random.choice([*model.graph.node]))


def _external(model: ModelProto, random: Random) -> None:
    tensor = random.choice([*model.graph.initializer])
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    place = random.choice(("../../../../etc/passwd", "/dev/zero", "missing.bin", ""))
    tensor.external_data.add(key="location", value=place)
    tensor.external_data.add(key="length", value=random.choice(("-1", "99999999999", "x")))


def _empty_name(model: ModelProto, random: Random) -> None:
    model.graph.input[0].name = random.choice(("", "a\0b", "x" * 10_000))


def _no_output(model: ModelProto, random: Random) -> None:
    del model.graph.output[:]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("sound")
    return [make(kind, folder).read_bytes() for kind in ("good", "uint8")]


def mutant(number: int, sound: list[bytes]) -> bytes:
    random = Random(number)
    content = sound[number % len(sound)]
    if number % 3 == 0:
        return _field(content, random)
    return content[: random.randrange(len(content))] if number % 3 == 1 else broken_bytes(content, random)


def faults(numbers: range, sound: list[bytes], folder: Path) -> list[str]:
    """What went wrong with the files of these numbers: a crash, a hang, or an exit code other than 0 and 2."""
    import json

    commands = []
    for number in numbers:
        path = folder / f"{number}.onnx"
        path.write_bytes(mutant(number, sound))
        build = ["build", path, "--target", "onnxruntime", "--save-engine", folder / "e.engine"]
        commands.append([str(each) for each in (build if number % 2 else ["audit", path, "--target", "onnxruntime"])])
    lines = "".join(json.dumps(command) + "\n" for command in commands)
    ended = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=lines,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        cwd=REPOSITORY,
        check=False,
    )
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    wrong = [
        f"{command[0]} {command[1]}: {code} {said[:300]}"
        for command, (code, said) in zip(commands, found, strict=False)
        if code not in (0, 2) or "Traceback" in said or (code == 2 and not said.startswith("harness: "))
    ]
    if len(found) < len(commands):
        wrong.append(f"{commands[len(found)]}: the process ended with {ended.returncode}: {ended.stderr[-300:]}")
    return wrong


def test_damaged_networks_are_refused_or_built(sound: list[bytes], tmp_path: Path) -> None:
    assert faults(range(FEW), sound, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("start", range(FEW, FEW + MANY, BATCH))
def test_hundreds_of_damaged_networks_are_refused_or_built(sound: list[bytes], tmp_path: Path, start: int) -> None:
    assert faults(range(start, start + BATCH), sound, tmp_path) == []
