"""How long tasks took on this machine, kept beside the store so that a later run can say what is left."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from harness.machine.hardware import cpu, usable_cores

_FILE: Final = "times.json"
_MOST_LABELS: Final = 5_000
"""The oldest ones go."""
_TIMES: Final = TypeAdapter(dict[str, dict[str, float]])


class StageTimes:
    """Seconds of the last time that a task of this label ran on a machine like this one.

    A file that is missing, damaged or cannot be written costs the estimate and nothing else.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / _FILE
        self._machine = f"{cpu()['model']}, {usable_cores()} cores"
        self._new: dict[str, float] = {}
        self._known = self._read().get(self._machine, {})

    def seconds(self, label: str) -> float | None:
        """What the task took; None where it never ran here."""
        return self._new.get(label, self._known.get(label))

    def record(self, label: str, seconds: float) -> None:
        """Note what a task took; `save` writes it."""
        self._new[label] = seconds

    def save(self) -> None:
        """Write what was noted, beside what other runs wrote meanwhile."""
        if not self._new:
            return
        times = self._read()
        # What was written last is last in the file.
        mine = {label: taken for label, taken in times.get(self._machine, {}).items() if label not in self._new}
        times[self._machine] = dict([*mine.items(), *self._new.items()][-_MOST_LABELS:])
        with suppress(OSError):
            number, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{_FILE}.")
            try:
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    json.dump(times, file)
                Path(name).chmod(0o644)
                Path(name).replace(self._path)
            finally:
                Path(name).unlink(missing_ok=True)

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            return _TIMES.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}
