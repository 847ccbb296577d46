"""Who quantizes: toolkits that turn an FP32 network and calibration samples into a quantized model file.

The default, `harness`, is the harness's own quantizer and has stages of its own. Every other toolkit is one file in
this folder.
"""

from __future__ import annotations

import functools

from harness.errors import UsageError, unknown_name
from harness.registry import members, plugged
from harness.results.variant import OWN_TOOLKIT
from harness.toolkits.base import Toolkit

DEFAULT = OWN_TOOLKIT


@functools.cache
def toolkits() -> dict[str, Toolkit]:
    """Every toolkit by its name, except the default one."""
    return members(__name__, __path__, "TOOLKIT")


def get_toolkit(name: str) -> Toolkit:
    """The toolkit of this name; UsageError with the nearest name when there is none."""
    if (plugin := plugged("toolkit", name)) is not None:
        return plugin  # type: ignore[no-any-return]
    known = toolkits()
    if name not in known:
        message, fix = unknown_name("toolkit", name, [*known, DEFAULT])
        raise UsageError(message, fix=fix)
    return known[name]
