"""Whether a variant can run on this machine, before anything is planned."""

from __future__ import annotations

from harness.quantization.toolkits import DEFAULT, get_toolkit
from harness.results import Variant
from harness.targets import get_target
from harness.targets.base import Availability


def unavailable_reason(variant: Variant) -> str | None:
    """Why the variant's target or toolkit cannot do it here, with the fix; None when they can."""
    target = get_target(variant.target)
    own_toolkit = variant.toolkit in (None, DEFAULT)
    toolkit = None if own_toolkit else get_toolkit(str(variant.toolkit))
    return (
        _missing(target.availability())
        or target.refusal(variant)
        or (toolkit and (_missing(toolkit.availability()) or toolkit.refusal(variant)))
        or None
    )


def _missing(availability: Availability) -> str | None:
    if availability.usable:
        return None
    return f"{availability.detail}; fix: {availability.fix}" if availability.fix else availability.detail
