"""Model files that end, crash, block or flood the process cost their own rows, whatever the command."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from oracles.hostile_models import HOSTILE, QUICK, HostileModel, write

ROOT = Path(__file__).parent.parent
NEVER_FAILS = "good"
IN_PLANNING = [model for model in HOSTILE if model.strikes == "planning"]
BLOCKING = {model.name for model in HOSTILE if model.hangs}
QUICK_MODELS = [model for model in HOSTILE if model.name in QUICK]
SEVERAL = [model for model in HOSTILE if model.strikes != "stage" and (not model.hangs or model.name == "endless_loop")]
"""For commands that only differ in how they report: of those that block, one."""


class Ended:
    """How a command ended."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.code, self.output = done.returncode, done.stdout + done.stderr
        assert "Traceback" not in self.output, self.output


def harness(folder: Path, *arguments: str, module: str = "harness.cli") -> Ended:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "HARNESS_STORE": str(folder / "store"),
        "COLUMNS": "400",
    }
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Ended(done)


def strays(folder: Path) -> list[str]:
    """Command lines of processes that still run with the store of this test."""
    mark = f"HARNESS_STORE={folder / 'store'}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def no_strays(folder: Path) -> bool:
    deadline = time.monotonic() + 10
    while strays(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not strays(folder)


def rows_of(file: Path) -> dict[str, list[dict[str, str]]]:
    """Rows by model."""
    rows: dict[str, list[dict[str, str]]] = {}
    for row in json.loads(file.read_text())["rows"]:
        rows.setdefault(row["variant"]["model"], []).append(row)
    return rows


def check_rows(rows: dict[str, list[dict[str, str]]], models: list[HostileModel]) -> None:
    assert {row["status"] for row in rows[NEVER_FAILS]} == {"ok"}
    for model in models:
        statuses, reasons = {row["status"] for row in rows[model.name]}, [row["reason"] for row in rows[model.name]]
        if model.strikes == "never":
            assert statuses == {"ok"}, (model.name, reasons)
        else:
            assert statuses == {"failed"}, (model.name, reasons)
            assert all(re.search(model.reason, reason) for reason in reasons), (model.name, reasons)
            assert all(len(reason) < 5_000 for reason in reasons), model.name


@pytest.mark.slow
def test_list_names_what_cannot_be_built_and_goes_on(tmp_path):
    ended = harness(tmp_path, "list", str(write(tmp_path, *QUICK_MODELS)))
    assert ended.code == 3
    assert re.search(r"exit_zero-fp32\S* +fails: importing \S+ ended the process: SystemExit\(0\)", ended.output)
    assert re.search(r"segfault-ptq\S* +fails: importing \S+: crashed with signal SIGSEGV", ended.output)
    assert re.search(r"good-fp32\S* +runs", ended.output)
    assert no_strays(tmp_path)


def test_a_scenario_without_a_usable_network_is_refused_before_anything_runs(tmp_path):
    path = write(tmp_path, QUICK_MODELS[0], good=False)
    ended = harness(tmp_path, "run", str(path))
    assert ended.code == 2
    assert re.search(
        r"hostile\.yaml:\d+:\d+: importing \S+ ended the process: SystemExit\(0\) \(line \d+\)", ended.output
    )
    assert not (tmp_path / "reports").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
class TestEveryHostileModel:
    """Together in one scenario with a good network, which must come to no harm."""

    def test_run(self, tmp_path):
        models = list(HOSTILE)
        ended = harness(tmp_path, "run", str(write(tmp_path, *models)), "--out", "out", "--no-history", "-q")
        assert ended.code == 3
        check_rows(rows_of(tmp_path / "out" / "results.json"), models)
        assert "model `exit_zero` cannot be used, its rows fail" in ended.output
        assert no_strays(tmp_path)

    def test_nightly_runs_the_other_scenarios(self, tmp_path):
        write(tmp_path, *SEVERAL, name="mixed")
        write(tmp_path, QUICK_MODELS[0], name="alone", good=False)
        ended = harness(tmp_path, "nightly", "mixed.yaml", "alone.yaml", "--out", "out", "-q")
        assert ended.code == 3
        (mixed,), (alone,) = tmp_path.glob("out/mixed-*/results.json"), tmp_path.glob("out/alone-*/results.json")
        check_rows(rows_of(mixed), SEVERAL)
        assert {row["status"] for row in rows_of(alone)[QUICK_MODELS[0].name]} == {"failed"}
        assert no_strays(tmp_path)

    def test_sensitivity_analyses_the_others(self, tmp_path):
        ended = harness(tmp_path, "sensitivity", str(write(tmp_path, *SEVERAL)), "--out", "out", "-q")
        assert ended.code == 3
        record = json.loads((tmp_path / "out" / "sensitivity.json").read_text())
        failed = {failure["variant_id"].partition("-")[0] for failure in record["failures"]}
        assert failed == {model.name for model in SEVERAL if model.strikes == "planning"}
        analysed = {analysis["variant"]["model"] for analysis in record["analyses"]}
        assert analysed == {"good", *(model.name for model in SEVERAL if model.strikes == "never")}
        assert no_strays(tmp_path)

    def test_list(self, tmp_path):
        ended = harness(tmp_path, "list", str(write(tmp_path, *SEVERAL)))
        assert ended.code == 3
        fails = set(re.findall(r"^ *(\w+)-fp32\S* +fails: ", ended.output, re.MULTILINE))
        in_forward = {"os_exit_in_forward", "generator_exit", "killed", "patches_torch"}  # nothing runs through them
        assert fails == {model.name for model in SEVERAL if model.strikes == "planning"} - in_forward
        assert no_strays(tmp_path)

    def test_pytest(self, tmp_path):
        path = write(tmp_path, *SEVERAL)
        ended = harness(tmp_path, "-p", "no:cacheprovider", "-q", str(path), module="pytest")
        assert ended.code == 1
        failed = set(re.findall(r"^FAILED \S+::(\w+)-", ended.output, re.MULTILINE))
        assert failed == {model.name for model in SEVERAL if model.strikes == "planning"}
        assert no_strays(tmp_path)
