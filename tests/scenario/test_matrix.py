"""From the matrix to variants: counts by arithmetic, order, ids, entries, and what is refused."""

from __future__ import annotations

import re
from itertools import product
from math import prod
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.results import Variant
from harness.scenario import Scenario, expand, variant_id
from harness.scenario.matrix import MAX_VARIANTS


def scenario(matrix: dict[str, Any] | None = None, *, models: tuple[str, ...] = ("r",), **sections: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "a",
            "dataset": {"source": "d"},
            "models": {name: {"factory": "a.b:f"} for name in models},
            "matrix": matrix or {},
            **sections,
        }
    )


def ids(matrix: dict[str, Any] | None = None, **sections: Any) -> list[str]:
    return [variant.id for variant in expand(scenario(matrix, **sections))]


class TestProduct:
    def test_the_default_is_fp32_ptq_and_qat_of_every_model(self) -> None:
        assert ids(models=("a", "b")) == [
            f"{model}-{rest}"
            for model in ("a", "b")
            for rest in (
                "fp32-onnxruntime-b1",
                "ptq-percentile99.99-perchannel-onnxruntime-b1",
                "qat-percentile99.99-perchannel-onnxruntime-b1",
            )
        ]

    def test_counts(self) -> None:
        variants = expand(
            scenario(
                {
                    "method": ["fp32", "fp16", "ptq", "qat"],
                    "calibrator": ["max", "percentile", "entropy", "mse"],
                    "percentile": [99.9, 99.99],
                    "per_channel": [True, False],
                    "weight_bits": [4, 8],
                    "skip": [[], ["stem"]],
                    "target": ["onnxruntime", "tensorrt"],
                    "batch_size": [1, 8],
                },
                models=("a", "b"),
            )
        )
        # Per model, target and batch size: fp32, fp16, and for ptq and qat each
        # (max, entropy, mse, 2 percentiles) = 5 calibrations x 2 granularities x 2 widths x 2 skip sets.
        assert len(variants) == 2 * 2 * 2 * (2 + 2 * 5 * 2 * 2 * 2)

    def test_float_methods_have_no_quantization_axes(self) -> None:
        variants = expand(scenario({"method": ["bf16", "fp32", "fp16"], "calibrator": ["max", "mse"], "skip": [["a"]]}))
        assert [variant.method for variant in variants] == ["fp32", "fp16", "bf16"]
        assert variants[-1].id == "r-bf16-onnxruntime-b1"
        for variant in variants:
            assert variant.model_dump(exclude={"id", "method"}) == {
                "model": "r",
                "toolkit": None,
                "calibrator": None,
                "percentile": None,
                "per_channel": None,
                "weight_bits": None,
                "activation_bits": None,
                "skip": (),
                "ptq_steps": (),
                "learn_amax": None,
                "batch_norm": None,
                "qat_seed": None,
                "target": "onnxruntime",
                "compute_capability": None,
                "batch_size": 1,
            }

    def test_only_the_percentile_calibrator_has_a_percentile(self) -> None:
        variants = expand(scenario({"calibrator": ["max", "percentile"], "percentile": [99, 99.9], "method": ["ptq"]}))
        assert [(v.calibrator, v.percentile) for v in variants] == [
            (None, None),
            ("max", None),
            ("percentile", 99.0),
            ("percentile", 99.9),
        ]

    def test_the_order_is_model_target_batch_size_method(self) -> None:
        variants = expand(
            scenario(
                {"method": ["qat", "fp16", "ptq", "fp32"], "batch_size": [8, 1], "target": ["z", "a"]},
                models=("n", "m"),
            )
        )
        assert [(v.model, v.target, v.batch_size, v.method) for v in variants] == list(
            product(("n", "m"), ("z", "a"), (8, 1), ("fp32", "fp16", "ptq", "qat"))
        )

    def test_only_the_harness_s_own_toolkit_has_qat_rows(self) -> None:
        assert ids({"toolkit": ["harness", "onnxruntime"], "calibrator": "max"}) == [
            "r-fp32-onnxruntime-b1",
            "r-ptq-max-perchannel-onnxruntime-b1",
            "r-ptq-onnxruntime-max-perchannel-onnxruntime-b1",
            "r-qat-max-perchannel-onnxruntime-b1",
        ]

    def test_the_earlier_name_of_the_harness_s_own_toolkit_is_still_read(self) -> None:
        matrices = ({"toolkit": [name], "calibrator": "max"} for name in ("torchao", "harness"))
        earlier, current = (expand(scenario(matrix)) for matrix in matrices)
        assert earlier == current
        assert {variant.toolkit for variant in earlier} == {None, "harness"}

    def test_learned_ranges_batch_norm_and_seeds_multiply_qat_rows_only(self) -> None:
        matrix = {
            "calibrator": "max",
            "learn_amax": [False, True],
            "batch_norm": ["folded", "live"],
            "qat_seed": [0, 7],
        }
        qat = [text.removeprefix("r-qat-max-perchannel").removesuffix("-onnxruntime-b1") for text in ids(matrix)[2:]]
        assert ids(matrix)[:2] == ["r-fp32-onnxruntime-b1", "r-ptq-max-perchannel-onnxruntime-b1"]
        assert qat == [
            "-seed0",
            "-seed7",
            "-bnlive-seed0",
            "-bnlive-seed7",
            "-learned-seed0",
            "-learned-seed7",
            "-learned-bnlive-seed0",
            "-learned-bnlive-seed7",
        ]

    def test_an_entry_about_batch_norm_excludes_qat_rows_only(self) -> None:
        matrix = {"batch_norm": ["folded", "frozen"], "exclude": {"batch_norm": "frozen"}}
        assert [(v.method, v.batch_norm) for v in expand(scenario(matrix))] == [
            ("fp32", None),
            ("ptq", None),
            ("qat", "folded"),
        ]

    def test_a_qat_axis_without_qat_is_an_error(self) -> None:
        with pytest.raises(ScenarioError, match="gives `batch_norm`, `qat_seed`, but its method is ptq"):
            expand(scenario({"include": {"method": "ptq", "batch_norm": "live", "qat_seed": 1}}))

    def test_other_toolkits_have_no_steps(self) -> None:
        steps = [[], ["bias_correction"]]
        assert ids(
            {"toolkit": ["harness", "onnxruntime"], "calibrator": "max", "method": "ptq", "ptq_steps": steps}
        ) == [
            "r-fp32-onnxruntime-b1",
            "r-ptq-max-perchannel-onnxruntime-b1",
            "r-ptq-max-perchannel-bias_correction-onnxruntime-b1",
            "r-ptq-onnxruntime-max-perchannel-onnxruntime-b1",
        ]

    def test_steps_keep_their_order_and_are_done_once(self) -> None:
        names = ["sequential_bias_correction", "batch_norm_reestimation", "sequential_bias_correction"]
        *_, variant = expand(scenario({"method": "ptq", "ptq_steps": [names]}))
        assert variant.ptq_steps == ("sequential_bias_correction", "batch_norm_reestimation")

    def test_a_plain_name_is_a_list_of_one(self) -> None:
        variants = expand(scenario({"method": ["ptq", "qat"], "ptq_steps": "bias_correction"}))
        assert [v.ptq_steps for v in variants] == [(), ("bias_correction",), ("bias_correction",)]

    def test_repeated_values_are_one(self) -> None:
        once = ids({"calibrator": ["max"], "skip": [["a", "b"]]})
        assert ids({"calibrator": ["max", "max"], "skip": [["a", "b"], ["b", "a"]]}) == once


class TestDefaultsFromQuantizationParams:
    @pytest.mark.parametrize(
        ("selective", "calibration", "expected"),
        [
            ({"calibrator_i": "max"}, {"histogram_calib_method": "mse"}, "r-ptq-max-perchannel-onnxruntime-b1"),
            ({}, {"histogram_calib_method": "mse"}, "r-ptq-mse-perchannel-onnxruntime-b1"),
            ({"per_channel": False}, {"percentile": 99.9}, "r-ptq-percentile99.9-pertensor-onnxruntime-b1"),
            ({"calibrator_i": "max", "skip_modules": ["fc"]}, {}, "r-ptq-max-perchannel-skip-fc-onnxruntime-b1"),
        ],
    )
    def test_axes_that_are_left_out(
        self, selective: dict[str, Any], calibration: dict[str, Any], expected: str
    ) -> None:
        params = {"selective_quantizer_params": selective, "calib_params": calibration}
        assert ids({"method": "ptq"}, quantization_params=params) == ["r-fp32-onnxruntime-b1", expected]

    def test_learn_amax_is_the_default_of_its_axis(self) -> None:
        params = {"selective_quantizer_params": {"calibrator_i": "max", "learn_amax": True}}
        assert ids({"method": "qat"}, quantization_params=params)[1] == "r-qat-max-perchannel-learned-onnxruntime-b1"

    def test_steps_that_are_left_out(self) -> None:
        params = {"ptq_steps": ["bias_correction"], "selective_quantizer_params": {"calibrator_i": "max"}}
        assert ids({"method": "ptq"}, quantization_params=params)[1:] == [
            "r-ptq-max-perchannel-bias_correction-onnxruntime-b1"
        ]

    def test_ptq_only_drops_qat(self) -> None:
        assert {v.method for v in expand(scenario(quantization_params={"ptq_only": True}))} == {"fp32", "ptq"}


class TestReference:
    def test_the_fp32_row_is_added_once_per_group(self) -> None:
        variants = expand(scenario({"method": ["ptq"], "calibrator": ["max", "mse"], "batch_size": [1, 8]}))
        assert [(v.batch_size, v.method) for v in variants] == [
            (1, "fp32"),
            (1, "ptq"),
            (1, "ptq"),
            (8, "fp32"),
            (8, "ptq"),
            (8, "ptq"),
        ]

    def test_it_is_added_for_included_rows_too(self) -> None:
        include = {"target": "tensorrt", "method": "ptq", "calibrator": "max"}
        assert ids({"method": "fp32", "include": include}) == [
            "r-fp32-onnxruntime-b1",
            "r-fp32-tensorrt-b1",
            "r-ptq-max-perchannel-tensorrt-b1",
        ]


class TestExclude:
    def test_an_entry_must_match_in_every_key(self) -> None:
        matrix = {"calibrator": ["max", "mse", "entropy"], "exclude": [{"method": "qat", "calibrator": ["max", "mse"]}]}
        kept = [(v.method, v.calibrator) for v in expand(scenario(matrix))]
        assert kept == [("fp32", None), ("ptq", "max"), ("ptq", "mse"), ("ptq", "entropy"), ("qat", "entropy")]

    def test_quantization_axes_never_match_fp32(self) -> None:
        # fp32 rows skip nothing, yet an entry about skip sets is not about them.
        matrix = {"method": ["fp32", "ptq"], "skip": [[], ["a"]], "exclude": {"skip": [[]]}}
        assert [(v.method, v.skip) for v in expand(scenario(matrix))] == [("fp32", ()), ("ptq", ("a",))]

    def test_a_model_can_be_left_out_altogether(self) -> None:
        assert {v.model for v in expand(scenario({"exclude": {"model": "b"}}, models=("a", "b")))} == {"a"}


class TestInclude:
    def test_axes_that_are_left_out_take_the_first_value_of_the_matrix(self) -> None:
        matrix = {
            "method": ["fp32"],
            "calibrator": ["mse", "max"],
            "per_channel": [False, True],
            "include": {"method": "ptq", "weight_bits": [4, 5]},
        }
        assert ids(matrix) == [
            "r-fp32-onnxruntime-b1",
            "r-ptq-mse-pertensor-w4a8-onnxruntime-b1",
            "r-ptq-mse-pertensor-w5a8-onnxruntime-b1",
        ]

    def test_what_exists_already_is_not_repeated(self) -> None:
        assert ids({"include": {"method": ["ptq", "qat"]}}) == ids()

    def test_it_comes_after_exclude(self) -> None:
        matrix = {"calibrator": "max", "exclude": {"method": "qat"}, "include": {"method": "qat"}}
        assert ids(matrix) == ids({"calibrator": "max"})


class TestRefusals:
    @pytest.mark.parametrize(
        ("marked", "message"),
        [
            ("§matrix: {exclude: {model: r}}", "the matrix is empty: `exclude` leaves none of its 3 variants"),
            (
                "§matrix: {method: qat}\nquantization_params: {ptq_only: true}",
                "the matrix is empty: `quantization_params.ptq_only` drops qat rows",
            ),
            (
                "§matrix: {method: qat, toolkit: modelopt}",
                "the matrix is empty: only the toolkit `harness` has qat rows",
            ),
            ("matrix: {method: §[]}", "the matrix is empty: `matrix.method` has no values"),
            ("matrix:\n  skip: §[]", "the matrix is empty: `matrix.skip` has no values"),
            ("matrix: {model: [r, §s]}", "unknown model `s`"),
            ("matrix: {exclude: [{model: r, method: ptq}, {model: §s}]}", "unknown model `s`"),
            ("matrix:\n  ptq_steps: §[]", "the matrix is empty: `matrix.ptq_steps` has no values"),
            (
                "matrix:\n  include:\n  - method: ptq\n    toolkit: onnxruntime\n    ptq_steps: §bias_correction",
                "`matrix.include[0]` gives `ptq_steps`, but its toolkit is onnxruntime",
            ),
            ("matrix: {include: {model: §s}}", "unknown model `s`"),
            ("matrix: {exclude: [{method: ptq}, §{}]}", "`matrix.exclude[1]` names no axis"),
            (
                "matrix:\n  exclude:\n  - {method: ptq}\n  - §{batch_size: [2, 4]}",
                "`matrix.exclude[1]` matches no variant: `batch_size` of the matrix is 1",
            ),
            (
                "matrix: {exclude: [§{method: fp32, calibrator: percentile}]}",
                "`matrix.exclude[0]` matches no variant: no variant has all of these together",
            ),
            (
                "matrix: {exclude: {method: §fp32}}",
                "`matrix.exclude[0]` excludes an fp32 row that others are judged against",
            ),
            (
                "matrix: {include: [§{method: qat, toolkit: modelopt}]}",
                "`matrix.include[0]` adds no variant: only the toolkit `harness` has qat rows",
            ),
            (
                "matrix: {include: [§{calibrator: mse}]}",
                "`matrix.include[0]` gives `calibrator`, but its method is fp32",
            ),
        ],
    )
    def test_at_their_place(self, refuse: Any, head: str, marked: str, message: str) -> None:
        error = refuse(f"{head}{marked}\n")
        assert error.message == message
        assert error.fix

    def test_a_matrix_without_bounds_is_refused_before_it_is_expanded(self) -> None:
        sizes = list(range(1, MAX_VARIANTS))
        with pytest.raises(ScenarioError, match=f"{3 * len(sizes) ** 2} variants, more than {MAX_VARIANTS}"):
            expand(scenario({"batch_size": sizes, "percentile": [1 + n / MAX_VARIANTS for n in sizes]}))


class TestIds:
    def test_only_what_differs_from_the_usual_is_spoken(self) -> None:
        variant = Variant(
            id="",
            model="resnet8",
            method="ptq",
            toolkit="modelopt",
            calibrator="percentile",
            percentile=99.0,
            per_channel=False,
            weight_bits=4,
            activation_bits=8,
            skip=("fc", "stem"),
            target="onnxruntime",
            batch_size=32,
        )
        assert variant_id(variant) == "resnet8-ptq-modelopt-percentile99-pertensor-w4a8-skip-fc+stem-onnxruntime-b32"

    def test_a_skip_set_of_patterns_has_a_digest_that_its_neighbours_do_not_change(self) -> None:
        def skip_ids(*sets: list[str]) -> set[str]:
            return set(ids({"method": "ptq", "skip": list(sets)}))

        alone = skip_ids(["layer*.conv1"])
        assert any(re.search(r"-skip-[0-9a-f]{6}-", text) for text in alone)
        assert alone < skip_ids(["stem"], ["layer*.conv1"])

    def test_names_that_hold_the_separator_still_have_ids_of_their_own(self) -> None:
        # `a` on `b-fp32-c` and `a-fp32-b` on `c` both read a-fp32-b-fp32-c-b1.
        found = ids({"method": "fp32", "target": ["b-fp32-c", "c"]}, models=("a", "a-fp32-b"))
        assert len(set(found)) == len(found) == 4


NAMES = st.from_regex(r"[a-z0-9_]([a-z0-9_.-]{0,4}[a-z0-9_])?", fullmatch=True)
MATRICES = st.fixed_dictionaries(
    {},
    optional={
        "method": st.lists(st.sampled_from(["fp32", "fp16", "bf16", "ptq", "qat"]), min_size=1, max_size=4),
        "toolkit": st.lists(NAMES, min_size=1, max_size=2).map(lambda names: ["harness", *names]),
        "calibrator": st.lists(st.sampled_from(["max", "percentile", "entropy", "mse"]), min_size=1, max_size=4),
        "percentile": st.lists(st.floats(0.001, 100), min_size=1, max_size=3),
        "per_channel": st.lists(st.booleans(), min_size=1, max_size=2),
        "weight_bits": st.lists(st.integers(2, 8), min_size=1, max_size=2),
        "activation_bits": st.lists(st.integers(2, 8), min_size=1, max_size=2),
        "ptq_steps": st.lists(st.lists(st.sampled_from(["bias_correction", "relu6_to_relu"]), max_size=2), min_size=1),
        "skip": st.lists(st.lists(st.text(min_size=1, max_size=6), max_size=2), min_size=1, max_size=2),
        "target": st.lists(NAMES, min_size=1, max_size=2),
        "batch_size": st.lists(st.integers(1, 64), min_size=1, max_size=2),
        "include": st.just([{"method": "ptq", "weight_bits": [3, 4]}]),
    },
)


@settings(max_examples=60, deadline=None)
@given(models=st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple), matrix=MATRICES)
def test_ids_are_unique_and_safe_and_expansion_is_deterministic(
    models: tuple[str, ...], matrix: dict[str, Any]
) -> None:
    assume(len(models) * prod(len(values) for axis, values in matrix.items() if axis != "include") <= MAX_VARIANTS)
    variants = expand(scenario(matrix, models=models))
    found = [variant.id for variant in variants]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-z0-9_][a-z0-9_.+-]*", text) for text in found)
    assert len({variant.model_copy(update={"id": ""}) for variant in variants}) == len(variants)
    assert expand(scenario(matrix, models=models)) == variants
    groups = {(v.model, v.target, v.batch_size) for v in variants if v.method != "fp32"}
    assert groups <= {(v.model, v.target, v.batch_size) for v in variants if v.method == "fp32"}


class TestReferenceTarget:
    def test_a_target_of_the_matrix_is_taken(self) -> None:
        matrix = {"target": ["onnxruntime", "openvino"]}
        assert ids(matrix, reference_target="openvino") == ids(matrix)

    def test_any_other_is_refused(self) -> None:
        with pytest.raises(ScenarioError, match=r"unknown target of the matrix `openvno`") as caught:
            ids({"target": ["onnxruntime", "openvino"]}, reference_target="openvno")
        assert caught.value.fix == "did you mean `openvino`?"
