"""The table at the end of `pytest -m gpu`: one line for each test, and why."""

from types import SimpleNamespace

from targets.conftest import table


def report(name: str, longrepr: object = None) -> SimpleNamespace:
    return SimpleNamespace(nodeid=f"tests/targets/test_x.py::{name}", longrepr=longrepr)


def test_it_has_the_machine_and_every_outcome() -> None:
    stats = {
        "passed": [report("good")],
        "failed": [report("bad", "code\nE   assert 1 | 2 == 4\nE   more")],
        "skipped": [report("absent", ("file", 3, "Skipped: no NVIDIA GPU here"))],
    }
    lines = list(table(stats))
    assert lines[0].startswith("GPU: ")
    assert "torch " in lines[1]
    assert lines[-6:] == [
        "| --- | --- | --- |",
        "| test_x.py::absent | skip | no NVIDIA GPU here |",
        "| test_x.py::bad | FAIL | assert 1 \\| 2 == 4 |",
        "| test_x.py::good | pass |  |",
        "",
        "1 pass, 1 FAIL, 1 skip",
    ]
