"""Choosing variants on the command line."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

from harness.errors import UsageError, unknown_name
from harness.results import Variant
from harness.results.variant import current_toolkit_name


def selector(expressions: Sequence[str] | None) -> Callable[[Variant], bool] | None:
    """Whether a variant fits every expression; None for none."""
    if not expressions:
        return None
    return lambda variant: all(matches(expression, variant) for expression in expressions)


def matches(expression: str, variant: Variant, *, where: str = "--select") -> bool:
    """Whether a variant fits: `AXIS=VALUE[,VALUE]`, or a glob on its id (a text without wildcards may be any part).

    Raises UsageError for an unknown axis; `where` is what the expression was given to.
    """
    axis, separator, values = expression.partition("=")
    if not separator:
        pattern = expression if any(sign in expression for sign in "*?[") else f"*{expression}*"
        return fnmatch.fnmatchcase(variant.id, pattern)
    axes = set(Variant.model_fields) - {"id"}
    if axis not in axes:
        message, fix = unknown_name(f"axis in {where}", axis, axes)
        raise UsageError(message, fix=fix)
    wanted = {value.strip().lower() for value in values.split(",")}
    if axis == "toolkit":
        wanted = {str(current_toolkit_name(value)) for value in wanted}
    return _text(getattr(variant, axis)) in wanted


def _text(value: object) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value).lower()
