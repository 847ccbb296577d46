"""The stage `layer times`: what each layer of each engine takes, as the engines' own profilers tell it.

It runs engines and nothing else, so it imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.engine.lock import measuring
from harness.errors import StageError, message_of
from harness.stages.artifacts import LayerTimes, LayerTimesResult, file_of
from harness.targets import get_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.stages.configs import LayerTimesConfig, ProfiledEngine

WARM_UP: Final = 5
LEAST_RUNS, MOST_RUNS = 20, 200
_BUDGET_MS: Final = 500.0
"""Of inferences of one engine, where they are not too slow for the fewest."""


def measure_layers(config: LayerTimesConfig, inputs: Inputs, folder: Path, context: StageContext) -> LayerTimesResult:
    """Each engine in turn, alone on the machine; one that fails leaves the others their times."""
    engines, missing = {}, {}
    with measuring(lambda holder: context.waiting(f"waiting for another measurement: {holder}")):
        context.working()
        for number, (name, engine) in enumerate(config.engines.items(), start=1):
            try:
                found = _times(engine, file_of(inputs[name]))
            except Exception as error:  # times of layers are no reason to lose a row
                missing[name] = message_of(error)
            else:
                if found is None:
                    missing[name] = f"{engine.build.target} does not tell the times of its layers to the harness"
                else:
                    engines[name] = found
            context.progress(number, len(config.engines), "engines")
    return LayerTimesResult(engines=engines, missing=missing)


def _times(engine: ProfiledEngine, path: Path) -> LayerTimes | None:
    for plugin in engine.build.plugins:
        plugin.load_user_code()
    target = get_target(engine.build.target)
    options = target.options_from(engine.build.options)
    batch = np.random.default_rng(0).standard_normal((engine.batch_size, *engine.input_shape), dtype=np.float32)
    first = target.time_layers(path, options, batch, WARM_UP)
    if not first:
        return None
    last_ms = sum(first[-1].values())
    runs = int(np.clip(_BUDGET_MS / max(last_ms, 1e-3), LEAST_RUNS, MOST_RUNS))
    found = target.time_layers(path, options, batch, WARM_UP + runs)
    if not found:
        raise StageError("the profiler told no layer")
    return LayerTimes(runs=runs, ms=typical(found[WARM_UP:]))


def typical(inferences: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By layer, the mean of the middle half: profilers count whole microseconds, which a median would keep."""
    from scipy.stats import trim_mean

    names = dict.fromkeys(name for each in inferences for name in each)
    return {name: float(trim_mean([each.get(name, 0.0) for each in inferences], 0.25)) for name in names}
