"""What a report says about the data: how it was read, what was compared, and what is doubtful."""

from __future__ import annotations

from oracles.comparisons import interval

from harness.report import accuracy_tables, data_tables
from harness.report.render import html_text, markdown_text
from harness.results import ClassAccuracy, Dataset, FileCounts, RunResults, SharedSamples, Split


def dataset(*shared: SharedSamples) -> Dataset:
    return Dataset(
        name="image_folder",
        source="path: photos",
        splits=(Split(name="test", n=10, sha256="0" * 64),),
        class_names=("cat", "dog <b>"),
        preprocessing={"resize": "shorter side to 256, bicubic, antialiased"},
        files=FileCounts(read=20, skipped=3, ignored=1),
        shared=shared,
        notes=("3 files skipped: `.gif` is not read",),
    )


def with_data(results: RunResults, *shared: SharedSamples) -> RunResults:
    return results.model_copy(update={"datasets": (dataset(*shared),)})


def lines(results: RunResults) -> dict[str, str]:
    table = data_tables.reading_table(results)
    assert table is not None
    return {row[1]: row[2] for row in table.rows}


def test_every_step_count_and_note_has_a_line(quickstart) -> None:
    found = lines(with_data(quickstart))
    assert found["resize"] == "shorter side to 256, bicubic, antialiased"
    assert found["classes"] == "2: cat, dog <b>"
    assert found["files"] == "20 read, 3 skipped, 1 ignored"
    assert found["note"] == "3 files skipped: `.gif` is not read"


def test_disjoint_is_said_only_of_parts_that_were_compared(quickstart) -> None:
    none = SharedSamples(part="train", other="test", n=0)
    some = SharedSamples(part="calibration", other="test", n=4)
    captions = [
        data_tables.data_table(with_data(quickstart, *shared)).caption for shared in ((), (none,), (none, some))
    ]
    assert ["disjoint" in caption for caption in captions] == [False, True, False]
    assert "not checked" in captions[0]
    found = lines(with_data(quickstart, none, some))
    assert found["training and test"] == "disjoint"
    assert found["calibration and test"] == "4 calibration samples are equal to test samples"
    assert "training and calibration" not in found


def test_warnings_stand_right_below_the_decision_which_points_to_them(quickstart) -> None:
    doubtful = quickstart.model_copy(update={"warnings": ("4 training images are <i>test</i> images too",)})
    page, text = html_text(doubtful), markdown_text(doubtful)
    for found in (page, text):
        warnings, figures = found.index("Before you rely on this"), found.index("Figures behind it")
        assert found.index("1 warning below may put it in doubt") < warnings < figures
    assert "are &lt;i&gt;test&lt;/i&gt; images too" in page
    assert "Before you rely on this" not in html_text(quickstart) + markdown_text(quickstart)


def test_classes_are_called_by_name_and_by_number_only_without_one() -> None:
    found = ClassAccuracy(label=3, n=5, recall=1.0, interval=interval(0.5, 1.0))
    assert accuracy_tables.class_name(found) == "3"
    assert accuracy_tables.class_name(found.model_copy(update={"name": "dog"})) == "dog"


def test_records_of_earlier_versions_are_read(quickstart) -> None:
    old = quickstart.model_dump(mode="json")
    del old["warnings"]
    for each in old["datasets"]:
        for name in ("class_names", "preprocessing", "files", "shared", "notes"):
            del each[name]
    assert "not checked" in data_tables.data_table(RunResults.model_validate(old)).caption
