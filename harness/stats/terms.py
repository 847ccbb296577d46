"""Types that statistics and records share."""

from __future__ import annotations

from typing import Literal

Interval = tuple[float, float]
"""Lower and upper end."""
Verdict = Literal["better", "same", "worse", "inconclusive"]
ChangeKind = Literal["difference", "ratio"]
"""How a change from an old to a new figure is expressed: `new - old`, or `new / old - 1`."""
