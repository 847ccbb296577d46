import copy
from typing import Any

import pytest

from harness.comparison.environments import EnvironmentDifference, differences, machine_class, refused
from harness.results import Dataset, Latency, Row, RunResults, Split, Variant, WeightsFile

EPYC = {
    "harness": "0.2.0",
    "python": "3.11.7",
    "kernel": "6.1.0",
    "architecture": "x86_64",
    "cpu": {
        "model": "AMD EPYC 9R14 96-Core Processor",
        "usable_cores": 2,
        "flags": {"avx2": True, "avx512f": True, "avx512_vnni": True, "amx_int8": False},
        "governor": "performance",
        "clocks_mhz": {"min": 400, "max": 3700, "current": 3211},
        "quota_cores": None,
    },
    "gpus": [],
    "packages": {"onnxruntime": "1.32.0", "torch": "2.13.0"},
    "git": {"commit": "a" * 40, "dirty": False},
    "thread_variables": {},
    "load_average": [0.1, 0.2, 0.3],
}
L4 = {"name": "NVIDIA L4", "driver_version": "550.54.15", "power_limit": "72.00 W", "clocks_sm": "2040 MHz"}


def run(environment: dict[str, Any], *, test: str = "t", n: int = 1000, target: str = "onnxruntime") -> RunResults:
    variant = Variant(id="v", model="m", method="fp32", target=target, batch_size=1)
    latency = Latency(
        median_ms=1,
        p90_ms=None,
        p99_ms=None,
        n=10,
        rounds=1,
        throughput_per_s=1000,
        threads=1,
        includes_transfers=False,
    )
    splits = (Split(name="train", n=4000, sha256="r" * 64), Split(name="test", n=n, sha256=test * 64))
    return RunResults(
        scenario="s",
        run_id="r",
        started_at="2026-01-01T00:00:00+00:00",
        wall_s=1.0,
        environment=environment,
        datasets=(Dataset(name="photos", source="embedded", splits=splits),),
        rows=(Row(variant=variant, status="ok", latency=latency),),
    )


def changed(place: str, value: Any, environment: dict[str, Any] = EPYC) -> dict[str, Any]:
    """The environment with one value replaced."""
    copied = copy.deepcopy(environment)
    *folders, leaf = place.split(".")
    level: Any = copied
    for folder in folders:
        level = level[int(folder)] if folder.isdigit() else level.setdefault(folder, {})
    level[leaf] = value
    return copied


def only(found: tuple[EnvironmentDifference, ...]) -> EnvironmentDifference:
    assert len(found) == 1, found
    return found[0]


class TestSeverity:
    @pytest.mark.parametrize(
        ("place", "value"),
        [
            ("architecture", "aarch64"),
            ("cpu.model", "Intel Xeon 8488C"),
            ("cpu.usable_cores", 4),
            ("cpu.quota_cores", 1.5),
            ("cpu.flags.avx512_vnni", False),
        ],
    )
    def test_another_machine_forbids_comparing_times_but_not_accuracy(self, place: str, value: Any) -> None:
        found = differences(run(EPYC), run(changed(place, value)))
        assert only(found).what == place
        assert refused(found, "latency") == refused(found, "energy") == found
        assert refused(found, "accuracy") == ()

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            ("packages.onnxruntime", "1.33.0"),
            ("packages.nncf", "3.4.0"),
            ("python", "3.12.1"),
            ("kernel", "6.8.0"),
            ("cpu.governor", "powersave"),
            ("cpu.clocks_mhz.max", 3000),
            ("git.dirty", True),
            ("thread_variables.OMP_NUM_THREADS", "1"),
        ],
    )
    def test_what_may_explain_a_difference_warns(self, place: str, value: Any) -> None:
        found = only(differences(run(EPYC), run(changed(place, value))))
        assert (found.what, found.severity) == (place, "warn")

    def test_the_commit_is_meant_to_differ(self) -> None:
        assert only(differences(run(EPYC), run(changed("git.commit", "b" * 40)))).severity == "note"

    def test_what_changes_by_the_minute_is_no_difference(self) -> None:
        busy = changed("cpu.clocks_mhz.current", 2900, changed("load_average", [3.0, 2.0, 1.0]))
        assert differences(run(EPYC), run(busy)) == ()

    def test_the_gravest_comes_first(self) -> None:
        other = changed("cpu.model", "Xeon", changed("kernel", "6.8.0", changed("git.commit", "b" * 40)))
        assert [each.severity for each in differences(run(EPYC), run(other))] == ["refuse", "warn", "note"]

    def test_unknown_conditions_are_noted(self) -> None:
        found = only(differences(run(EPYC), run(changed("moon", "full"))))
        assert (found.severity, found.affects) == ("note", ())

    def test_changes_that_were_not_committed_warn_in_both_runs_too(self) -> None:
        dirty = changed("git.dirty", True)
        assert "the base and the new run" in only(differences(run(dirty), run(dirty))).text


class TestNotRecorded:
    def test_by_an_older_record_counts_one_step_less(self) -> None:
        older = copy.deepcopy(EPYC)
        del older["cpu"]["model"]
        assert only(differences(run(older), run(EPYC))).severity == "warn"
        del older["cpu"]["governor"]
        assert {each.what: each.severity for each in differences(run(older), run(EPYC))} == {
            "cpu.model": "warn",
            "cpu.governor": "note",
        }

    def test_is_equal_to_not_there(self) -> None:
        older = copy.deepcopy(EPYC)
        del older["cpu"]["flags"]["amx_int8"]  # not looked for; the newer run did and did not find it
        assert differences(run(older), run(EPYC)) == ()

    def test_a_package_that_is_not_installed_is_a_difference(self) -> None:
        without = copy.deepcopy(EPYC)
        del without["packages"]["torch"]
        found = only(differences(run(without), run(EPYC)))
        assert found.text.startswith("The version of torch differs: none in the base, `2.13.0` in the new run;")

    def test_nothing_at_all_may_be_recorded(self) -> None:
        assert {each.severity for each in differences(run({}), run(EPYC))} <= {"warn", "note"}


class TestGpus:
    def test_another_gpu_forbids_comparing_what_was_timed_on_it(self) -> None:
        one = run(changed("gpus", [L4]), target="tensorrt")
        other = run(changed("gpus", [L4 | {"name": "NVIDIA T4"}]), target="tensorrt")
        assert only(refused(differences(one, other), "latency")).what == "gpus.0.name"

    def test_no_gpu_is_another_gpu(self) -> None:
        found = differences(run(changed("gpus", [L4]), target="tensorrt"), run(EPYC, target="tensorrt"))
        assert "gpus.0.name" in {each.what for each in refused(found, "latency")}

    def test_does_not_matter_where_nothing_ran_on_it(self) -> None:
        found = differences(run(changed("gpus", [L4])), run(EPYC))
        assert {each.severity for each in found} == {"note"}

    def test_limits_and_driver_warn_and_clocks_of_the_moment_do_not(self) -> None:
        now = L4 | {"power_limit": "60.00 W", "driver_version": "560.1", "clocks_sm": "300 MHz"}
        found = differences(
            run(changed("gpus", [L4]), target="tensorrt"), run(changed("gpus", [now]), target="tensorrt")
        )
        assert {each.what: each.severity for each in found} == {
            "gpus.0.driver_version": "warn",
            "gpus.0.power_limit": "warn",
        }

    def test_a_target_that_is_not_installed_may_run_on_one(self) -> None:
        found = differences(run(changed("gpus", [L4]), target="elsewhere"), run(EPYC, target="elsewhere"))
        assert refused(found, "latency")


class TestData:
    def test_other_test_samples_forbid_comparing_accuracy_only(self) -> None:
        found = differences(run(EPYC), run(EPYC, test="u"))
        assert only(refused(found, "accuracy")).what == "datasets.photos.test"
        assert refused(found, "latency") == ()

    def test_so_does_another_number_of_them(self) -> None:
        text = only(differences(run(EPYC), run(EPYC, n=500))).text
        assert "1,000 samples" in text
        assert "500 samples" in text

    def test_other_training_samples_warn(self) -> None:
        other = run(EPYC)
        splits = (Split(name="train", n=10, sha256="q" * 64), other.datasets[0].splits[1])
        other = other.model_copy(update={"datasets": (Dataset(name="photos", source="embedded", splits=splits),)})
        assert only(differences(run(EPYC), other)).severity == "warn"

    def test_other_weights_files_warn(self) -> None:
        one, other = (
            run(EPYC).model_copy(update={"weights": (WeightsFile(model="m", source="m.pt", sha256=sha * 64),)})
            for sha in "ab"
        )
        assert only(differences(one, other)).what == "weights.m"

    def test_the_place_that_they_were_found_in_does_not_matter(self) -> None:
        other = run(EPYC)
        moved = other.datasets[0].model_copy(update={"source": "system: /usr/share/photos"})
        assert differences(run(EPYC), other.model_copy(update={"datasets": (moved,)})) == ()


class TestMachineClass:
    def test_names_architecture_integer_kernels_cores_and_model(self) -> None:
        assert machine_class(EPYC) == "x86_64-vnni-2core-amd-epyc-9r14"

    @pytest.mark.parametrize(
        ("model", "name"),
        [
            ("Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz", "intel-xeon-platinum-8488c"),
            ("Neoverse-N1", "neoverse-n1"),
            ("../../etc/passwd", "etc-passwd"),
            ("", "unknown"),
            ("!!", "unnamed"),
        ],
    )
    def test_models_are_safe_as_file_names(self, model: str, name: str) -> None:
        assert machine_class(changed("cpu.model", model)) == f"x86_64-vnni-2core-{name}"

    @pytest.mark.parametrize(
        ("flags", "name"),
        [
            ({"amx_int8": True, "avx512_vnni": True}, "amx"),
            ({"avx_vnni": True, "avx2": True}, "vnni"),
            ({"avx512f": True, "avx2": True}, "avx512"),
            ({"avx2": True}, "avx2"),
            ({"asimddp": True}, "dotprod"),
            ({}, "baseline"),
        ],
    )
    def test_integer_kernels(self, flags: dict[str, bool], name: str) -> None:
        assert machine_class(changed("cpu.flags", flags)).split("-")[1] == name

    def test_gpus_are_named(self) -> None:
        assert machine_class(changed("gpus", [L4])).endswith("-amd-epyc-9r14-nvidia-l4")

    def test_of_a_record_that_holds_nothing(self) -> None:
        assert machine_class({}) == "unknown-baseline-0core-unknown"
