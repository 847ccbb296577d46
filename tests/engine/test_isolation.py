import signal

import pytest

from harness.errors import describe_exit


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-signal.SIGSEGV, "crashed with signal SIGSEGV"),
        (-signal.SIGKILL, "crashed with signal SIGKILL (most often: the system ran out of memory)"),
        (-250, "crashed with signal 250"),
        (0, "the process ended unexpectedly with exit code 0"),
        (3, "the process ended unexpectedly with exit code 3"),
    ],
)
def test_how_a_process_ended(code: int, text: str) -> None:
    assert describe_exit(code) == text
