"""The entry point of the command `harness`; `python -m harness` is the same."""

from __future__ import annotations

import sys

from harness.boundary import run_guarded


def main() -> None:
    """Run the command line and exit; even what fails while it is imported ends in one message."""
    sys.exit(run_guarded(_command_line))


def _command_line() -> object:
    from harness.cli import app

    return app(standalone_mode=False)


if __name__ == "__main__":
    main()
