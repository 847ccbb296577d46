"""Importing NNCF without its telemetry: it reports use to a web service unless the user has turned that off."""

from __future__ import annotations

import logging
import sys
from typing import Any


def import_nncf() -> Any:
    """The package `nncf`, which finds no `openvino_telemetry` in this process, and is quiet."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # importing it then fails
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
