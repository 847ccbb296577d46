"""From records of earlier versions, whose kinds of comparisons had fields of their own, to the shape of today.

What is not as those versions wrote it is left alone, so that reading it fails with the place and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from pydantic_core import from_json

_Plain = dict[str, Any]
_TESTS = (
    *("margin", "p_value", "p_value_adjusted", "family_size", "is_non_inferior", "verdict"),
    *("non_inferiority_p_value", "non_inferiority_p_value_adjusted"),
    *("non_superiority_p_value", "non_superiority_p_value_adjusted"),
)
"""Fields of comparisons that kept their names."""
_DEFAULT_CONFIDENCE = 0.95
_LARGEST = 1e100


def upgraded_results(text: bytes | str) -> bytes | str:
    """`results.json` of any version as one of today; other text as it is."""
    plain = _of_version(text, "schema_version", 1, 2)
    if plain is None:
        return text
    confidence = _confidence(plain)
    if isinstance(plain.get("gates"), list):
        plain["gates"] = [_gate(gate, confidence) for gate in plain["gates"]]
    if plain["schema_version"] == 1 and isinstance(plain.get("rows"), list):
        plain["rows"] = [upgraded_row(row, confidence) for row in plain["rows"]]
    return json.dumps(plain | {"schema_version": 3})


def upgraded_sensitivity(text: bytes | str) -> bytes | str:
    """The same for `sensitivity.json`."""
    plain = _of_version(text, "schema_version", 1)
    if plain is None:
        return text
    if isinstance(plain.get("analyses"), list):
        plain["analyses"] = [_analysis(each) for each in plain["analyses"]]
    return json.dumps(plain | {"schema_version": 2})


def upgraded_baseline(text: bytes | str) -> bytes | str:
    """The same for baselines."""
    plain = _of_version(text, "baseline_version", 1)
    if plain is None:
        return text
    confidence = _confidence(plain)
    variants = plain.get("variants")
    for stored in variants.values() if isinstance(variants, dict) else ():
        if isinstance(stored, dict) and "row" in stored:
            stored["row"] = upgraded_row(stored["row"], confidence)
    return json.dumps(plain | {"baseline_version": 2})


def upgraded_row(row: Any, confidence: float) -> Any:
    """One row, whose intervals have this confidence."""
    if not isinstance(row, dict):
        return row
    changed = dict(row)
    for section, upgrade in (("accuracy", _accuracy), ("latency", _latency), ("parity", _parity)):
        if isinstance(row.get(section), dict):
            changed[section] = upgrade(row[section], confidence)
    if isinstance(row.get("metrics"), dict):
        changed["metrics"] = {name: _metric(value, confidence) for name, value in row["metrics"].items()}
    return changed


def _gate(old: Any, confidence: float) -> Any:
    return _intervals(old, {"interval": "interval"}, confidence) if isinstance(old, dict) else old


def _analysis(old: Any) -> Any:
    """One analysed variant, whose accuracies are at the confidence of its search."""
    if not isinstance(old, dict):
        return old
    new, search = dict(old), old.get("search")
    confidence = _confidence(search) if isinstance(search, dict) else _DEFAULT_CONFIDENCE
    if isinstance(old.get("layers"), list):
        new["layers"] = [_judged(layer, "alone", confidence) for layer in old["layers"]]
    if isinstance(search, dict):
        new["search"] = _search(search, confidence)
    return _judged(new, "quantized", confidence)


def _search(old: _Plain, confidence: float) -> _Plain:
    new = dict(old)
    ends, trials = new.pop("chosen_ci", None), old.get("trials")
    if isinstance(trials, list):
        new["trials"] = [_judged(trial, "judged", confidence) for trial in trials]
        strict = 1 - (1 - confidence) / max(len(trials), 1)
        new["chosen_interval"] = _interval(ends, strict, is_loss=True)
    return new | {"chosen": _judged(old.get("chosen"), "judged", confidence)}


def _judged(holder: Any, key: str, confidence: float) -> Any:
    """A record of the sensitivity analysis, with the accuracy that it holds under this key as a comparison."""
    if not isinstance(holder, dict) or not isinstance(holder.get(key), dict):
        return holder
    found = dict(holder[key])
    found = _compared(found | {"drop_ci95": found.pop("drop_ci", None)}, found.get("top1"), confidence)
    return holder | {key: found.get("comparison", holder[key])}


def _accuracy(old: _Plain, confidence: float) -> _Plain:
    new = _intervals(old, {f"{name}_ci95": f"{name}_interval" for name in ("top1", "top5", "agreement")}, confidence)
    new = _intervals(new, {"drop_bootstrap_ci95": "drop_bootstrap_interval"}, confidence)
    top5 = {"reference": old.get("reference")} | {
        name: new.pop(f"top5_{name}") for name in ("drop", "drop_ci95", "p_value") if f"top5_{name}" in new
    }
    new = _compared(new, old.get("top1"), confidence)
    compared = _compared(top5, old.get("top5"), confidence)
    if top5.get("drop") is not None:
        new |= {"top5_comparison": compared["comparison"]} if "comparison" in compared else {"top5_drop": top5["drop"]}
    if isinstance(old.get("classes"), list):
        new["classes"] = [_class(each, confidence) for each in old["classes"]]
    return new


def _class(old: Any, confidence: float) -> Any:
    if not isinstance(old, dict):
        return old
    return _compared(_intervals(old, {"recall_ci95": "interval"}, confidence), old.get("recall"), confidence)


def _metric(old: Any, confidence: float) -> Any:
    if not isinstance(old, dict):
        return old
    new = _intervals(old, {"ci95": "interval"}, confidence)
    return _compared(new, old.get("value"), confidence, higher_is_better=bool(old.get("higher_is_better", True)))


def _latency(old: _Plain, confidence: float) -> _Plain:
    new = _intervals(old, {f"{name}_ci95": f"{name}_interval" for name in ("median", "p90", "p99", "p999")}, confidence)
    tests = {name: new.pop(name) for name in ("reference", "margin", "p_value", "p_value_adjusted") if name in new}
    verdict, speedup, ends = (new.pop(name, None) for name in ("verdict", "speedup", "speedup_ci95"))
    if not _is_number(speedup):
        return new if speedup is None else new | {"speedup": speedup}
    comparison = tests | {
        "value": speedup,
        "reference_value": 1.0,
        "kind": "ratio",
        "difference": speedup - 1.0,
        "interval": _interval(ends, confidence, shift=-1.0),
        "verdict": verdict,
    }
    return new | {"comparison": comparison, "own_verdict": None if verdict == "inconclusive" else verdict}


def _parity(old: _Plain, confidence: float) -> _Plain:
    steps = old.get("steps")
    if not isinstance(steps, list):
        return old
    strict = 1 - (1 - _confidence(old, confidence)) / max(len(steps), 1)
    return old | {"steps": [_step(step, strict, len(steps)) for step in steps]}


def _step(old: Any, confidence: float, steps: int) -> Any:
    if not isinstance(old, dict):
        return old
    new = dict(old)
    loses, top1 = new.pop("loses", None), new.pop("top1", None)
    if not _is_number(new.get("drop")):
        return new if top1 is None else new | {"top1": top1}
    p_value = new.get("p_value")
    update = {
        "drop_ci95": new.pop("drop_ci", None),
        "reference": new.get("start"),
        "p_value_adjusted": min(1.0, p_value * steps) if _is_number(p_value) else None,
        "family_size": steps,
        "verdict": "worse" if loses else "inconclusive",
    }
    return _compared(new | update, top1, confidence)


def _compared(old: _Plain, value: Any, confidence: float, *, higher_is_better: bool = True) -> _Plain:
    """With `drop` and all that goes with it as one record."""
    new = dict(old)
    drop, ends, reference = (new.pop(name, None) for name in ("drop", "drop_ci95", "reference"))
    tests = {name: new.pop(name) for name in _TESTS if name in new}
    if not (_is_number(drop) and _is_number(value)):
        return new if drop is None else new | {"drop": drop}
    sign = -1.0 if higher_is_better else 1.0
    comparison = tests | {
        "reference": reference,
        "value": value,
        "reference_value": value - sign * drop,
        "difference": sign * drop + 0.0,
        "higher_is_better": higher_is_better,
        "interval": _interval(ends, confidence, is_loss=higher_is_better),
    }
    return new | {"comparison": comparison}


def _intervals(old: _Plain, names: Mapping[str, str], confidence: float) -> _Plain:
    return {names.get(key, key): _interval(value, confidence) if key in names else value for key, value in old.items()}


def _interval(ends: Any, confidence: float, *, shift: float = 0.0, is_loss: bool = False) -> Any:
    """Two ends with their confidence; anything else as it is. An endless one is a text in JSON.

    `is_loss`: the ends are of reference minus value, and the record has it the other way round.
    """
    if not (isinstance(ends, list) and len(ends) == 2):
        return ends
    try:
        low, high = (float(end) + shift for end in ends)
        if is_loss:
            low, high = 0.0 - high, 0.0 - low
    except (TypeError, ValueError, OverflowError):
        return ends
    return {"low": low, "high": high, "confidence": confidence}


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it may be computed with: an integer of JSON has no bound."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _confidence(plain: _Plain, otherwise: float = _DEFAULT_CONFIDENCE) -> float:
    found = plain.get("confidence")
    return found if _is_number(found) else otherwise


def _of_version(text: bytes | str, key: str, *versions: int) -> _Plain | None:
    """JSON of one of these versions; None for anything else."""
    try:
        plain = from_json(text)
    except ValueError:
        return None
    return plain if isinstance(plain, dict) and _is_number(plain.get(key)) and plain[key] in versions else None
