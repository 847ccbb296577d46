"""What TensorRT says while it builds and loads engines."""

from __future__ import annotations

from typing import Any

from harness.targets.tensorrt import api

_LOGGERS: dict[str, Any] = {}


def process_logger(trt: api.TensorRtModule) -> Any:
    """The one logger of this process, which keeps every message as (severity, text).

    TensorRT keeps a pointer to the first logger that it gets and ignores later ones: the first must never be freed,
    which it would be with the first of several engines.
    """
    if trt.__name__ not in _LOGGERS:
        _LOGGERS[trt.__name__] = _new_logger(trt)
    return _LOGGERS[trt.__name__]


def _new_logger(trt: api.TensorRtModule) -> Any:
    """The binding allows only subclasses of its own class."""

    class KeepingLogger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[tuple[str, str]] = []

        def log(self, severity: Any, text: str) -> None:
            self.messages.append((str(severity).rpartition(".")[2], text))

    return KeepingLogger()


def last_error(logger: Any, since: int = 0) -> str | None:
    """The last error among the messages from number `since` on, on one line."""
    found = [text for severity, text in logger.messages[since:] if "ERROR" in severity]
    return " ".join(found[-1].split()) if found else None
