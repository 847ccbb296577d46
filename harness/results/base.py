"""What all records share."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["fp32", "fp16", "bf16", "ptq", "qat"]
QUANTIZING_METHODS: Final[frozenset[Method]] = frozenset({"ptq", "qat"})
BatchNormMode = Literal["folded", "frozen", "live"]
Status = Literal["ok", "built", "simulated", "unavailable", "failed"]
GateVerdict = Literal["pass", "fail", "inconclusive"]


class Record(BaseModel):
    """Base of all records: immutable, and unknown fields are errors."""

    # JSON has no infinity and no NaN; as null a file could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def plain(self, **options: Any) -> dict[str, Any]:
        """As JSON holds it, infinite figures as texts, which `model_dump` does not do; `options` are those of that."""
        values: dict[str, Any] = json.loads(self.model_dump_json(**options))
        return values
