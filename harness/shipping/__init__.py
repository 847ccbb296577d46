"""From a row of a run to a folder that goes to production and needs no harness."""

from __future__ import annotations

from harness.shipping.folder import Shipped, ship

__all__ = ["Shipped", "ship"]
