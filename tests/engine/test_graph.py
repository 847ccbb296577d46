from pathlib import Path

import pytest
from oracles.example_stages import task
from pydantic import BaseModel

from harness.engine.graph import Stage, Task, topological, unique_labels
from harness.errors import StageError

JOURNAL = Path("journal")


class TestKey:
    def test_equal_work_has_equal_keys(self) -> None:
        assert task("add", JOURNAL, 1).key == task("add", JOURNAL, 1).key

    def test_label_and_excluded_fields_do_not_matter(self) -> None:
        assert task("add", JOURNAL, 1, label="one").key == task("add", Path("elsewhere"), 1, label="two").key

    @pytest.mark.parametrize(
        "other",
        [
            task("add", JOURNAL, 2),
            task("slow_add", JOURNAL, 1),
            task("add", JOURNAL, 1, {"first": task("add", JOURNAL, 5)}),
            task("add", JOURNAL, 1, libraries=("pydantic",)),
        ],
        ids=["config", "stage", "inputs", "libraries"],
    )
    def test_whatever_can_change_the_result_changes_the_key(self, other: Task) -> None:
        assert other.key != task("add", JOURNAL, 1).key

    def test_a_change_far_upstream_changes_the_key(self) -> None:
        def chain(first: float) -> Task:
            middle = task("add", JOURNAL, 0, {"in": task("add", JOURNAL, first)})
            return task("add", JOURNAL, 0, {"in": middle})

        assert chain(1).key != chain(2).key

    def test_the_name_of_an_input_matters(self) -> None:
        one, two = task("add", JOURNAL, 1), task("add", JOURNAL, 2)
        assert task("add", JOURNAL, 0, {"a": one, "b": two}).key != task("add", JOURNAL, 0, {"a": two, "b": one}).key


class TestTask:
    def test_inputs_cannot_be_changed_so_there_are_no_cycles(self) -> None:
        inputs = {"in": task("add", JOURNAL, 1)}
        made = task("add", JOURNAL, 2, inputs)
        inputs["in"] = made
        assert made.inputs["in"] is not made
        with pytest.raises(TypeError):
            made.inputs["in"] = made  # type: ignore[index]

    def test_a_configuration_that_can_change_is_refused(self) -> None:
        class Loose(BaseModel):
            value: int = 1

        with pytest.raises(TypeError, match="frozen"):
            Task(Stage("add", 1, "oracles.example_stages:add"), Loose())


class TestStage:
    def test_a_missing_function_is_named(self) -> None:
        with pytest.raises(StageError, match=r"oracles\.example_stages:subtract"):
            Stage("subtract", 1, "oracles.example_stages:subtract").load()


class TestTopological:
    def test_inputs_come_first_and_each_key_once(self) -> None:
        base = task("add", JOURNAL, 1)
        left = task("add", JOURNAL, 2, {"in": base})
        right = task("add", JOURNAL, 3, {"in": task("add", JOURNAL, 1)})  # the same work as `base`
        end = task("add", JOURNAL, 4, {"left": left, "right": right})
        keys = [found.key for found in topological([end, left])]
        assert sorted(keys) == sorted([base.key, left.key, right.key, end.key])
        assert keys[0] == base.key
        assert keys[-1] == end.key


def test_labels_that_collide_get_the_start_of_the_key() -> None:
    one, two = task("add", JOURNAL, 1, label="train"), task("add", JOURNAL, 2, label="train")
    other = task("add", JOURNAL, 3, label="export")
    labels = unique_labels([one, two, other])
    assert labels == {one.key: f"train [{one.key[:6]}]", two.key: f"train [{two.key[:6]}]", other.key: "export"}
