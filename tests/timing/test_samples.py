"""What was measured can be written, read and taken apart by build, process and round."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from harness.timing.samples import ProcessRounds, Round, Timings, load_block, save_block


@pytest.fixture
def timings():
    """Two processes; in each, two sessions take turns in two rounds, in different orders."""
    first = ProcessRounds(
        0,
        0,
        (
            Round({"a": np.array([2.0, 4.0, 90.0]), "b": np.array([1.0, 2.0])}, ("load", "waited")),
            Round({"b": np.array([3.0, 3.0]), "a": np.array([3.0, 3.0, 3.0])}),
        ),
        signals=("load", "waited"),
    )
    second = ProcessRounds(1, 1, (Round({"a": np.array([8.0]), "b": np.array([2.0])}, ("load",)),), signals=("load",))
    return Timings([first, second])


def test_a_round_counts_with_its_median(timings):
    # Medians of the first round: 4 and 1.5; an interrupted inference of 90 ms moves nothing.
    (first, second), (other_build,) = timings.log_ratios("a", "b")[0][0], timings.log_ratios("a", "b")[1][0]
    assert first == pytest.approx(math.log(4 / 1.5))
    assert second == pytest.approx(0.0)
    assert other_build == pytest.approx(math.log(4.0))


def test_counts(timings):
    assert timings.names == ("a", "b")
    assert (timings.n_rounds, timings.n_builds) == (3, 2)
    assert timings.contaminated_rounds() == {"load": 2, "waited": 1}
    assert timings.signals() == ("load", "waited")
    assert timings.samples("b").tolist() == [1.0, 2.0, 3.0, 3.0, 2.0]


def test_parquet_keeps_every_inference_the_order_of_turns_and_the_labels(timings, tmp_path):
    path = tmp_path / "latency.parquet"
    timings.to_frame().to_parquet(path, index=False)
    again = Timings.from_parquet(path)
    assert [list(each.samples_ms) for each in again.rounds] == [["a", "b"], ["b", "a"], ["a", "b"]]
    assert [each.contamination for each in again.rounds] == [("load", "waited"), (), ("load",)]
    assert [(block.build, block.process) for block in again.blocks] == [(0, 0), (1, 1)]
    for name in timings.names:
        assert again.samples(name).tolist() == timings.samples(name).tolist()


def test_parts_of_an_inference_are_medians_over_processes(timings):
    first, second = timings.blocks
    known = Timings(
        [replace(first, parts_ms={"a": {"compute": 1.0}}), replace(second, parts_ms={"a": {"compute": 3.0}})]
    )
    assert known.parts_ms() == {"a": {"compute": 2.0}}
    assert timings.parts_ms() == {}


def test_a_process_hands_over_all_it_knows(timings, tmp_path):
    block = replace(timings.blocks[0], parts_ms={"a": {"compute": 0.5}})
    save_block(block, tmp_path / "block.npz")
    again = load_block(tmp_path / "block.npz")
    assert (again.build, again.process, again.signals) == (0, 0, ("load", "waited"))
    assert again.parts_ms == {"a": {"compute": 0.5}}
    assert [each.contamination for each in again.rounds] == [("load", "waited"), ()]
    assert [list(each.samples_ms) for each in again.rounds] == [["a", "b"], ["b", "a"]]
    assert again.rounds[0].samples_ms["a"].tolist() == [2.0, 4.0, 90.0]


def test_groups_are_not_mixed(make_block):
    """Each has a twin of its own under the same name."""
    frame = Timings([make_block(fp32=[1.0, 1.0], twin=[1.0, 1.1])]).to_frame()
    both = pd.concat([frame.assign(group="b1"), frame.assign(group="b2")])
    with pytest.raises(ValueError, match="several groups"):
        Timings.from_frame(both)
    assert Timings.from_frame(both[both["group"] == "b2"]).n_rounds == 2
