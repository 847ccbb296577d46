"""Options that every target has."""

from __future__ import annotations

from harness.fields import Count, Section


class TargetOptions(Section):
    """How one target runs. A target with more options derives a section from this one."""

    threads: Count = 1
    """Threads that one inference may use."""

    @property
    def devices(self) -> tuple[str | None, ...]:
        """Kinds of device to build for, one row each; None: what the target takes by itself."""
        return (None,)
