"""Names of variants: readable, unique, safe as file names and as pytest ids."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.plugin_names import short_name
from harness.results import Variant
from harness.results.variant import OWN_TOOLKIT

_LONGEST_READABLE_SKIP = 24


def with_ids(cells: Sequence[Variant]) -> tuple[Variant, ...]:
    """The same variants, each with an id that no other has."""
    ids = [variant_id(cell) for cell in cells]
    often = Counter(ids)
    # Names may hold the separator, so that two variants can read alike.
    unique = [
        text if often[text] == 1 else f"{text}-{_digest(cell.model_dump_json())}"
        for text, cell in zip(ids, cells, strict=True)
    ]
    return tuple(cell.model_copy(update={"id": text}) for text, cell in zip(unique, cells, strict=True))


def variant_id(variant: Variant) -> str:
    """Readable name of a variant, of `[a-z0-9_.+-]` only; unspoken are defaults.

    Those are the toolkit `harness`, 8 bits, no skips, no steps, ranges that are not learned, folded batch norm and the
    seed of the scenario.
    """
    parts: list[str] = [variant.model, variant.method]
    if variant.is_quantized:
        parts += _quantization_parts(variant)
    device = [] if variant.compute_capability is None else [variant.compute_capability.lower()]
    return "-".join([*parts, short_name(variant.target), *device, f"b{variant.batch_size}"])


def _quantization_parts(variant: Variant) -> Iterator[str]:
    if variant.toolkit != OWN_TOOLKIT:
        yield short_name(str(variant.toolkit))
    share = "" if variant.percentile is None else repr(variant.percentile).removesuffix(".0")
    yield f"{short_name(str(variant.calibrator))}{share}"
    yield "perchannel" if variant.per_channel else "pertensor"
    if (variant.weight_bits, variant.activation_bits) != (8, 8):
        yield f"w{variant.weight_bits}a{variant.activation_bits}"
    if variant.skip:
        yield _skip_part(variant.skip)
    if variant.ptq_steps:
        yield "+".join(map(short_name, variant.ptq_steps))
    if variant.learn_amax:
        yield "learned"
    if variant.batch_norm not in (None, "folded"):
        yield f"bn{variant.batch_norm}"
    if variant.qat_seed is not None:
        yield f"seed{variant.qat_seed}"


def _skip_part(skip: tuple[str, ...]) -> str:
    # A digest of the patterns, not their index: ids must mean the same when another skip set is added.
    text = "+".join(skip)
    is_readable = len(text) <= _LONGEST_READABLE_SKIP and re.fullmatch(r"[a-z0-9_.+]+", text)
    return f"skip-{text}" if is_readable else f"skip-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
