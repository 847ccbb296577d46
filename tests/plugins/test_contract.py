"""A plug-in of every kind may be a class or an instance, and is told what it lacks."""

from __future__ import annotations

from typing import Any

import pytest

from harness.data.sources.random_images import RandomImages
from harness.load.scenarios.offline import Offline
from harness.metrics.size import SizeMetric
from harness.plugin_names import GROUPS, Kind, parse_file_name, short_name
from harness.plugins.contract import BASES, PluginError, checked_plugin
from harness.quantization.calibrators import make_calibrator
from harness.quantization.calibrators.base import Calibrator
from harness.quantization.calibrators.max import Max
from harness.quantization.calibrators.percentile import Percentile
from harness.quantization.ptq.steps.relu6_to_relu import Relu6ToRelu
from harness.registry import plugged, plugged_in
from harness.targets.onnxruntime import OnnxRuntime
from harness.toolkits.onnxruntime import OnnxRuntimeStatic

COMPLETE: dict[Kind, type] = {
    "calibrator": Max,
    "metric": SizeMetric,
    "PTQ step": Relu6ToRelu,
    "data source": RandomImages,
    "toolkit": OnnxRuntimeStatic,
    "load scenario": Offline,
    "target": OnnxRuntime,
}


def own(kind: Kind, **changes: Any) -> Any:
    """A complete plug-in's class, under a name of its own."""
    requirements = {"requirements": ("onnxruntime",)} if kind == "toolkit" else {}
    return type("Own", (COMPLETE[kind],), {"name": "own", **requirements, **changes})


def test_every_kind_has_a_contract_and_a_group() -> None:
    assert COMPLETE.keys() == BASES.keys()
    assert GROUPS.keys() - BASES.keys() == {"training loop"}


@pytest.mark.parametrize("kind", COMPLETE)
class TestEveryKind:
    def test_a_class_and_an_instance_are_the_same(self, kind: Kind) -> None:
        cls = own(kind)
        instance = cls()
        assert type(checked_plugin(kind, "own.py:Own", cls)) is cls
        assert checked_plugin(kind, "own.py:Own", instance) is instance

    def test_a_method_that_is_missing_is_named(self, kind: Kind) -> None:
        method = min(_abstract(COMPLETE[kind]))
        without = type("Own", (_base(COMPLETE[kind]),), {"name": "own"})
        with pytest.raises(PluginError, match=f"it lacks the methods? .*`{method}`") as raised:
            checked_plugin(kind, "own.py:Own", without)
        assert f"`def {method}(self" in str(raised.value.fix)

    def test_a_misspelt_method_is_guessed(self, kind: Kind) -> None:
        method = min(_abstract(COMPLETE[kind]))
        misspelt = type("Own", (_base(COMPLETE[kind]),), {"name": "own", f"{method}s": None})
        with pytest.raises(PluginError) as raised:
            checked_plugin(kind, "own.py:Own", misspelt)
        assert raised.value.fix == f"rename `{method}s` to `{method}`"

    def test_something_else_is_refused(self, kind: Kind) -> None:
        for found in (int, 3, "text", None, lambda: None):
            with pytest.raises(PluginError, match=f"is no {kind}"):
                checked_plugin(kind, "own.py:Own", found)

    def test_the_name_of_a_built_in_one_is_refused(self, kind: Kind) -> None:
        with pytest.raises(PluginError, match=f"has the name `{COMPLETE[kind].name}`.* built-in {kind}"):  # type: ignore[attr-defined]
            checked_plugin(kind, "own.py:Own", own(kind, name=COMPLETE[kind].name))  # type: ignore[attr-defined]

    @pytest.mark.parametrize("name", ["Own", "", "a b", None, 3])
    def test_a_name_must_be_usable(self, kind: Kind, name: object) -> None:
        with pytest.raises(PluginError, match="is not usable"):
            checked_plugin(kind, "own.py:Own", own(kind, name=name))


def _base(cls: type) -> type:
    return next(base for base in cls.__mro__ if getattr(base, "__abstractmethods__", None))


def _abstract(cls: type) -> frozenset[str]:
    found: frozenset[str] = _base(cls).__abstractmethods__  # type: ignore[attr-defined]
    return found


def test_an_attribute_that_is_missing_is_named() -> None:
    class Nameless(Calibrator):
        def choose(self, histogram: Any, levels: int) -> float:
            return 1.0

    with pytest.raises(PluginError, match="it lacks the attribute `name`"):
        checked_plugin("calibrator", "own.py:Nameless", Nameless)


def test_a_class_that_needs_arguments_is_refused() -> None:
    class Needy(SizeMetric):
        name = "needy"

        def __init__(self, needed: int) -> None:
            """Takes something."""

    with pytest.raises(PluginError, match=r"cannot be made: TypeError: .*'needed'"):
        checked_plugin("metric", "own.py:Needy", Needy)
    assert checked_plugin("metric", "own.py:needy", Needy(1)).name == "needy"


@pytest.mark.parametrize("end", [SystemExit, KeyError, RecursionError])
def test_a_constructor_that_raises_is_refused(end: type[BaseException]) -> None:
    def fail(self: object) -> None:
        raise end(3)

    with pytest.raises(PluginError, match=end.__name__):
        checked_plugin("metric", "own.py:Own", own("metric", __init__=fail))


def test_one_package_as_text_is_refused() -> None:
    with pytest.raises(PluginError, match=r"`distributions` of `own\.py:Own` is a text"):
        checked_plugin("toolkit", "own.py:Own", own("toolkit", distributions="onnx"))


def _of_one(network: object) -> None: ...


def _of_keywords(*, network: object, data: object, context: object) -> None: ...


class TestTrainingLoops:
    def test_a_function_of_three(self) -> None:
        def train(network: object, data: object, context: object) -> None: ...

        assert checked_plugin("training loop", "own.py:train", train) is train

    @pytest.mark.parametrize("found", [_of_one, _of_keywords])
    def test_other_parameters_are_refused(self, found: object) -> None:
        with pytest.raises(PluginError, match=r"cannot be called with \(network, data, context\)"):
            checked_plugin("training loop", "own.py:train", found)

    @pytest.mark.parametrize("found", [3, int, None])
    def test_something_else_is_refused(self, found: object) -> None:
        with pytest.raises(PluginError, match="is no function"):
            checked_plugin("training loop", "own.py:train", found)


def test_a_calibrator_takes_the_parameters_that_it_has() -> None:
    shares = type("Shares", (Percentile,), {"name": "shares"})()
    with plugged_in({("calibrator", "own.py:Shares"): shares}):
        assert make_calibrator("own.py:Shares", percentile=90.0).percentile == 90.0  # type: ignore[attr-defined]
        assert make_calibrator("own.py:Shares", percentile=None) is shares
    assert plugged("calibrator", "own.py:Shares") is None


@pytest.mark.parametrize(
    ("text", "file", "short"),
    [
        ("clip.py:Half", "clip.py", "clip.half"),
        ("../my plugins/Clip-2.py:HALF_1", "../my plugins/Clip-2.py", "clip-2.half_1"),
        ("entropy", None, "entropy"),
        ("onnxruntime-cuda", None, "onnxruntime-cuda"),
    ],
)
def test_names(text: str, file: str | None, short: str) -> None:
    parsed = parse_file_name(text)
    assert (parsed and parsed.file) == file
    assert short_name(text) == short


@pytest.mark.parametrize("text", ["clip.py", "clip.py:", "clip.py:a b", "clip:Half", "package.module:Half", ":Half"])
def test_other_forms_are_no_file_names(text: str) -> None:
    assert parse_file_name(text) is None
