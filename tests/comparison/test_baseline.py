"""Baselines: small, reviewable, and enough to judge a run without the run that they were saved from."""

import json
import math

import numpy as np
import pytest
from oracles.recorded_runs import ENVIRONMENT, FP32, PTQ, recorded, right

from harness.comparison.baseline import (
    baseline_of,
    baseline_path,
    baseline_text,
    load_baseline,
    packed_bits,
    save_baseline,
    unpacked_bits,
)
from harness.results import Agreement, Parity, ParityStep


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "tiny.json"
    save_baseline(recorded().snapshot(), path)
    return path


def test_it_lies_by_machine_class_and_scenario(tmp_path):
    path = baseline_path(tmp_path, ENVIRONMENT, "tiny")
    assert path.name == "tiny.json"
    assert path.parent.name == "x86_64-vnni-2core-intel-xeon"
    assert path.parents[1] == tmp_path


def test_the_same_run_gives_the_same_bytes(stored, tmp_path):
    again = tmp_path / "again.json"
    save_baseline(recorded(started_at="2026-02-02T12:00:00+00:00").snapshot("another name"), again)
    assert again.read_bytes() == stored.read_bytes()


def test_what_was_read_is_written_alike(stored, tmp_path):
    again = tmp_path / "again.json"
    save_baseline(load_baseline(stored), again)
    assert again.read_bytes() == stored.read_bytes()


def test_keys_are_sorted_and_what_changes_by_the_minute_is_left_out(stored):
    plain = json.loads(stored.read_text())
    assert list(plain["variants"]) == sorted([FP32, PTQ])
    assert list(plain) == sorted(plain)
    assert "load_average" not in plain["environment"]
    assert plain["environment"]["packages"] == {"onnxruntime": "1.32.0", "torch": "2.13.0"}
    text = stored.read_text()
    assert not {"started_at", "run_id", "wall_s", "files", "cost"} & {key.strip('": ') for key in text.split()}


def test_figures_are_rounded_to_six_digits(tmp_path):
    run = recorded().add(PTQ, speedup=1.23456789)
    save_baseline(run.snapshot(), tmp_path / "b.json")
    plain = json.loads((tmp_path / "b.json").read_text())
    assert plain["variants"][PTQ]["row"]["latency"]["comparison"]["value"] == 1.23457


def test_figures_without_end_are_json_and_come_back(tmp_path):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    run = recorded().add(PTQ, sqnr_db=-math.inf)
    broken = Agreement(top1_agreement=0.2, max_abs_error=math.inf, sqnr_db=-math.inf, n=10)
    run.rows[PTQ] = run.rows[PTQ].model_copy(update={"parity": Parity(torch_vs_engine=broken)})
    save_baseline(run.snapshot(), tmp_path / "b.json")
    json.loads((tmp_path / "b.json").read_text(), parse_constant=refuse)
    assert load_baseline(tmp_path / "b.json").rows[PTQ].parity.torch_vs_engine == broken


def test_intervals_and_layers_stand_on_one_line_each(stored):
    lines = [line.strip() for line in stored.read_text().splitlines()]
    assert any(line.startswith('"interval": {"confidence": 0.95, "high": 0.515075, "low": 0.485075}') for line in lines)
    assert sum(line.startswith('{"input_type"') for line in lines) == 6  # three layers of FP32, three of PTQ


def test_variants_share_their_list_of_layers():
    run = recorded()
    for number in range(20):
        run.add(f"net-ptq-{number}-onnxruntime-b1")
    baseline = baseline_of(run.snapshot())
    assert len(baseline.layers) == 2
    assert len(baseline_text(baseline)) < 50_000


def test_the_record_comes_back(stored):
    run, back = recorded(), load_baseline(stored)
    assert back.is_baseline
    assert back.results.datasets == run.results.datasets
    row, original = back.rows[PTQ], run.rows[PTQ]
    assert row.coverage == original.coverage
    assert row.size == original.size
    assert row.variant == original.variant
    assert row.latency.speedup_interval.ends == pytest.approx(original.latency.speedup_interval.ends, rel=1e-5)
    material = back.of(PTQ)
    assert material.stages == run.material[PTQ].stages
    assert np.array_equal(material.correct, right())


def test_the_steps_of_the_parity_chain_come_back(tmp_path):
    run = recorded()
    step = ParityStep(top1_agreement=0.99, max_abs_error=0.1, sqnr_db=40.0, n=64, start="torch_fp32", end="engine")
    parity = run.rows[PTQ].parity.model_copy(update={"steps": (step,)})
    run.rows[PTQ] = run.rows[PTQ].model_copy(update={"parity": parity})
    save_baseline(run.snapshot(), tmp_path / "b.json")
    assert load_baseline(tmp_path / "b.json").rows[PTQ].parity == parity


@pytest.mark.parametrize("n", [1, 7, 8, 1000])
def test_bits_come_back_whatever_their_number(n):
    flags = np.random.default_rng(n).random(n) < 0.9
    assert np.array_equal(unpacked_bits(packed_bits(flags), n), flags)


def test_ten_thousand_samples_take_less_than_a_kilobyte_and_a_half():
    flags = np.random.default_rng(0).random(10_000) < 0.92
    # 0.40 bits of entropy each are 503 bytes; base64 makes 671 of them.
    assert len(packed_bits(flags)) < 1500


@pytest.mark.parametrize("text", ["AAAA", "no base64!", packed_bits(np.ones(8, np.bool_))])
def test_damaged_bits_are_an_error(text):
    with pytest.raises(ValueError, match=r"bits|base64|padding|damaged|Only"):
        unpacked_bits(text, 100)


def test_a_list_of_layers_that_is_missing_is_an_error(stored):
    plain = json.loads(stored.read_text())
    plain["layers"] = {}
    stored.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match="there is no list of layers"):
        load_baseline(stored)
