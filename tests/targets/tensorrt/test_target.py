"""What the two targets say of themselves, and what a scenario may ask of them."""

from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.results import Variant
from harness.scenario import expand, load_scenario
from harness.targets import get_target
from harness.targets.tensorrt.gpu import TensorRtGpu
from harness.targets.tensorrt.options import TensorRtRtxSettings, TensorRtSettings

HEAD = "name: a\ndataset: {source: d}\nmodels: {r: {factory: 'a.b:f'}}\n"
TARGETS = [get_target("tensorrt"), get_target("tensorrt-rtx")]


def variant(method: str, target: str = "tensorrt-rtx", **changes) -> Variant:
    return Variant.model_validate(
        {"id": "v", "model": "m", "method": method, "target": target, "batch_size": 4} | changes
    )


def load(folder: Path, text: str):
    (folder / "s.yaml").write_text(HEAD + text)
    return load_scenario(folder / "s.yaml")


class TestScenario:
    def test_each_capability_is_a_row_and_has_its_own_fp32_row(self, tmp_path: Path):
        scenario = load(
            tmp_path,
            "targets: {tensorrt-rtx: {compute_capabilities: [SM86, SM89]}}\n"
            "matrix: {method: [ptq], calibrator: max, target: [onnxruntime, tensorrt-rtx]}\n",
        )
        assert [each.id for each in expand(scenario)] == [
            "r-fp32-onnxruntime-b1",
            "r-ptq-max-perchannel-onnxruntime-b1",
            "r-fp32-tensorrt-rtx-sm86-b1",
            "r-ptq-max-perchannel-tensorrt-rtx-sm86-b1",
            "r-fp32-tensorrt-rtx-sm89-b1",
            "r-ptq-max-perchannel-tensorrt-rtx-sm89-b1",
        ]

    def test_without_capabilities_there_is_one_portable_row(self, tmp_path: Path):
        (only,) = expand(load(tmp_path, "matrix: {method: fp32, target: tensorrt-rtx}\n"))
        assert only.compute_capability is None

    @pytest.mark.parametrize(
        ("options", "place", "words"),
        [
            ("tensorrt-rtx: {compute_capabilities: [SM90]}", "4:49", "found the text `SM90`"),
            ("tensorrt: {compute_capabilities: [SM86]}", "4:22", "unknown key `compute_capabilities`"),
            ("tensorrt: {workspace: 64}", "4:22", "did you mean `workspace_mib`"),
            ("tensorrt: {optimization_level: 6}", "4:42", "at most 5"),
            ("tensorrt: {batch_profiles: [[4, 2, 8]]}", "4:39", "min 4, opt 2 and max 8 are not in order"),
            ("onnxruntime: {refit: true}", "4:25", "`refit` belongs to `targets.tensorrt`"),
        ],
    )
    def test_wrong_options_are_told_with_their_place(self, tmp_path: Path, options: str, place: str, words: str):
        with pytest.raises(ScenarioError) as caught:
            load(tmp_path, f"targets: {{{options}}}\n")
        assert f"s.yaml:{place}: " in str(caught.value)
        assert words in str(caught.value)


class TestFloatType:
    @pytest.mark.parametrize(
        ("method", "high_precision", "expected"),
        [
            ("fp32", "fp16", "fp32"),
            ("fp16", "fp32", "fp16"),
            ("ptq", "fp16", "fp16"),
            ("qat", "fp32", "fp32"),
        ],
    )
    def test_it_follows_the_method_and_the_option(self, method: str, high_precision: str, expected: str):
        settings = TensorRtRtxSettings.model_validate({"high_precision": high_precision})
        assert get_target("tensorrt-rtx").float_type(variant(method), settings) == expected

    def test_onnxruntime_computes_in_fp32(self):
        target = get_target("onnxruntime")
        assert target.float_type(variant("ptq", "onnxruntime"), target.scenario_options()) == "fp32"


class TestBuildOptions:
    def test_a_row_gets_a_profile_for_its_batch_size(self):
        options = get_target("tensorrt-rtx").build_options(variant("fp32"), 1)
        assert options.batch_profiles == ((1, 4, 4),)

    def test_the_scenarios_options_arrive(self):
        settings = TensorRtSettings.model_validate({"workspace_mib": 256, "batch_profiles": [[1, 2, 8]], "refit": True})
        options = get_target("tensorrt").build_options(variant("qat", "tensorrt"), 1, settings)
        assert (options.workspace_mib, options.batch_profiles, options.refit) == (256, ((1, 2, 8),), True)
        assert options.expects_int8

    def test_fp32_rows_do_not_ask_for_int8_and_tf32_is_off(self):
        options = get_target("tensorrt-rtx").build_options(variant("fp32"), 1)
        assert not options.expects_int8
        assert not options.tf32

    def test_the_key_of_an_engine_holds_the_library(self):
        assert "tensorrt_rtx" in get_target("tensorrt-rtx").build_options(variant("fp32"), 1).machine


class TestWhereItRuns:
    def test_without_a_gpu_it_says_so(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("harness.targets.tensorrt.target.find_gpu", lambda: None)
        target = get_target("tensorrt-rtx")
        options = target.build_options(variant("fp32", compute_capability="SM86"), 1)
        assert target.cannot_run(options) == (
            "no NVIDIA GPU here to run the engine on (built for SM86): no accuracy and no latency"
        )

    @pytest.mark.parametrize(
        ("capability", "runs"), [("SM86", True), ("SM89", False), (None, True)], ids=["same", "other", "portable"]
    )
    def test_the_gpu_must_be_of_the_generation(self, monkeypatch: pytest.MonkeyPatch, capability: str, runs: bool):
        monkeypatch.setattr("harness.targets.tensorrt.target.find_gpu", lambda: TensorRtGpu("A10", "SM86"))
        target = get_target("tensorrt-rtx")
        reason = target.cannot_run(target.build_options(variant("fp32", compute_capability=capability), 1))
        assert (reason is None) is runs
        assert runs or "built for SM89, but the GPU here is SM86" in str(reason)

    def test_tensorrt_needs_a_gpu_to_build(self, monkeypatch: pytest.MonkeyPatch):
        from harness.targets.tensorrt.binding import Library

        monkeypatch.setattr("harness.targets.tensorrt.target.find_gpu", lambda: None)
        monkeypatch.setattr(Library, "version", lambda _: "11.4.0")
        assert not get_target("tensorrt").availability().usable
        assert get_target("tensorrt-rtx").availability().usable

    def test_a_missing_library_names_the_command(self, monkeypatch: pytest.MonkeyPatch):
        from harness.targets.tensorrt.binding import Library

        monkeypatch.setattr(Library, "version", lambda _: None)
        assert get_target("tensorrt-rtx").availability().fix == "pip install tensorrt-rtx-cu13"
        assert get_target("tensorrt").availability().fix == "pip install tensorrt"

    def test_an_engine_without_its_weights_is_not_run(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("harness.targets.tensorrt.target.find_gpu", lambda: TensorRtGpu("A10", "SM86"))
        target = get_target("tensorrt")
        settings = TensorRtSettings(strip_weights=True)
        reason = target.cannot_run(target.build_options(variant("fp32", "tensorrt"), 1, settings))
        assert "built without weights" in str(reason)
