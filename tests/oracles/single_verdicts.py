"""What an interval alone says: verdicts of one comparison, of which those of a run are the corrected case."""

from __future__ import annotations

from harness.stats.terms import Interval, Verdict
from harness.stats.verdict import SIGNIFICANCE, is_proven, latency_band, verdict_of


def accuracy_verdict(drop_ci: Interval, p_value: float, margin: float, significance: float = SIGNIFICANCE) -> Verdict:
    """What the interval of a loss of accuracy (reference minus variant) proves, for one comparison alone.

    The first line that fits decides, so that the four verdicts exclude each other:

    | verdict        | condition on drop_ci = (low, high)   | in words                                     |
    |----------------|--------------------------------------|----------------------------------------------|
    | `same`         | -margin < low and high < margin      | a difference, if any, is too small to matter |
    | `worse`        | low > 0 and p_value <= significance  | a loss is proven, perhaps beyond the margin  |
    | `better`       | high < 0 and p_value <= significance | a gain is proven, perhaps beyond the margin  |
    | `inconclusive` | otherwise                            | more samples are needed                      |

    A loss proven to be real and proven to be within the margin is thus `same`: the margin says what matters.
    `drop_ci` and `margin` are shares (0.005 is half a point); `margin` 0 asks for proof of any difference.
    The rows of a run are judged together by `harness.verdicts.accuracy`, of which this is the case of one row.
    """
    low, high = drop_ci
    proven = is_proven(drop_ci, p_value, significance)
    return verdict_of(
        loss=proven and low > 0, gain=proven and high < 0, below_margin=high < margin, above_margin=low > -margin
    )


def latency_verdict(speedup_ci: Interval, margin: float, noise_floor: float | None) -> Verdict:
    """What the interval of a speedup (reference time / variant time) proves, with m = 1 + margin and b = 1 + band.

    | verdict        | condition on speedup_ci = (low, high) | in words                                   |
    |----------------|---------------------------------------|--------------------------------------------|
    | `same`         | 1/m < low and high < m                | a difference, if any, is within the margin |
    | `better`       | low > b                               | faster by more than the band               |
    | `worse`        | high < 1/b                            | slower by more than the band               |
    | `inconclusive` | otherwise                             | more processes or a quieter machine needed |

    Unlike a loss of accuracy, a difference of latency must exceed the band to be proven: an interval only knows the
    noise within a session, and the A/A control shows how far equal programs differ in it. Noise is no reason to call
    two engines the same, so that verdict depends on the margin alone.
    """
    low, high = speedup_ci
    if 1 / (1 + margin) < low and high < 1 + margin:
        return "same"
    bound = 1 + latency_band(margin, noise_floor)
    if low > bound:
        return "better"
    if high < 1 / bound:
        return "worse"
    return "inconclusive"
