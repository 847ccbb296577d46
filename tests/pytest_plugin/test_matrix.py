"""`@scenario_matrix`: scenarios in tests written in Python."""

import pytest
from oracles.scripted_runs import journal, write_script

FP32 = "net-fp32-onnxruntime-b1"
MAX = "net-ptq-max-perchannel-onnxruntime-b1"
MSE = "net-ptq-mse-perchannel-onnxruntime-b1"


def write_test(pytester: pytest.Pytester, body: str, decorator: str = '"scenarios/*.yaml"') -> None:
    source = f"from harness.pytest_plugin import scenario_matrix\n\n@scenario_matrix({decorator})\n{body}"
    (pytester.path / "test_it.py").write_text(source)


class TestArguments:
    def test_the_row_is_that_of_the_variant(self, scripted, run, pytester) -> None:
        write_script(scripted, latency_ms={FP32: [2.0], MAX: [1.0], MSE: [4.0]})
        write_test(
            pytester, "def test_it(row, variant):\n    assert row.variant == variant and row.latency.median_ms < 3\n"
        )
        result = run("test_it.py")
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines([f"FAILED test_it.py::test_it[[]tiny-{MSE}[]]*"])

    def test_for_the_variant_alone_nothing_is_run(self, scripted, run, pytester) -> None:
        write_test(pytester, "def test_it(variant):\n    assert variant.target == 'onnxruntime'\n")
        run("test_it.py").assert_outcomes(passed=3)
        assert journal(scripted) == []

    def test_the_run_holds_record_and_folder(self, scripted, run, pytester) -> None:
        write_test(
            pytester,
            "def test_it(harness_run):\n"
            "    assert len(harness_run.results.rows) == 3\n"
            "    assert (harness_run.directory / 'results.json').exists()\n",
        )
        run("test_it.py").assert_outcomes(passed=3)

    def test_it_shares_the_run_with_the_scenario_file(self, scripted, run, pytester) -> None:
        write_test(pytester, "def test_it(row):\n    assert row.status == 'ok'\n")
        run("scenarios/tiny.yaml", "test_it.py").assert_outcomes(passed=6)
        assert journal(scripted) == [{"scenario": "tiny", "chosen": [FP32, MAX, MSE]}]

    def test_the_test_of_an_unavailable_variant_is_skipped(self, scripted, run, pytester) -> None:
        write_script(scripted, rows={MSE: {"status": "unavailable", "reason": "no such toolkit"}})
        write_test(pytester, "def test_it(row):\n    pass\n")
        result = run("test_it.py", "-rs")
        result.assert_outcomes(passed=2, skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED [[]1[]] test_it.py:*: no such toolkit"])

    def test_that_of_a_failed_one_says_why(self, scripted, run, pytester) -> None:
        write_script(scripted, rows={MSE: {"status": "failed", "reason": "out of memory"}})
        write_test(pytester, "def test_it(row):\n    pass\n")
        result = run("test_it.py")
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines([f"*{MSE} failed: out of memory"])

    def test_it_works_on_classes(self, scripted, run, pytester) -> None:
        write_test(pytester, "class TestIt:\n    def test_a(self, row): pass\n    def test_b(self, variant): pass\n")
        run("test_it.py").assert_outcomes(passed=6)


class TestChoice:
    @pytest.mark.parametrize(
        ("select", "chosen"),
        [
            ('"method=ptq"', [MAX, MSE]),
            ('["method=ptq", "calibrator=mse"]', [MSE]),
            ('"*-fp32-*"', [FP32]),
        ],
    )
    def test_select_takes_what_the_command_line_takes(self, scripted, run, pytester, select, chosen) -> None:
        write_test(pytester, "def test_it(row): pass\n", f'"scenarios/*.yaml", select={select}')
        run("test_it.py").assert_outcomes(passed=len(chosen))
        assert journal(scripted)[0]["chosen"] == chosen

    def test_marks_choose_too(self, scripted, run, pytester) -> None:
        write_test(pytester, "def test_it(row): pass\n")
        run("test_it.py", "-m", "ptq", "-k", "max").assert_outcomes(passed=1, deselected=2)
        assert journal(scripted)[0]["chosen"] == [MAX]


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "decorator", "message"),
        [
            ("def test_it(row): pass\n", '"scenario/*.yaml"', "*`scenario/[*].yaml` matches no file in */*"),
            ("def test_it(row): pass\n", '"scenarios/*.yaml", select="metod=ptq"', "*did you mean `method`?*"),
            ("def test_it(row): pass\n", '"scenarios/*.yaml", select="qat"', "*chooses no variant*"),
            ("def test_it(): pass\n", '"scenarios/*.yaml"', "*fix: add an argument `row`*"),
        ],
    )
    def test_it_is_one_message(self, scripted, run, pytester, body, decorator, message) -> None:
        write_test(pytester, body, decorator)
        result = run("test_it.py")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([message])
        result.stdout.no_fnmatch_line("*Traceback*")
        result.stdout.no_fnmatch_line("*pytest_plugin/matrix.py*")

    def test_an_invalid_scenario_names_its_place(self, scripted, run, pytester) -> None:
        path = scripted / "scenarios" / "tiny.yaml"
        path.write_text(path.read_text().replace("seed", "sed") + "sed: 1\n")
        write_test(pytester, "def test_it(row): pass\n")
        result = run("test_it.py")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"scenarios/tiny.yaml:{len(path.read_text().splitlines())}:*`sed`*"])

    def test_a_row_without_the_decorator_says_what_is_missing(self, scripted, run, pytester) -> None:
        pytester.makepyfile(test_it="def test_it(row): pass")
        result = run("test_it.py")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*has no variant; fix: put `@scenario_matrix(FILES)` on it*"])
