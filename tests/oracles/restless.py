"""A function for child processes that starts a process in a session of its own and waits."""

import subprocess
import sys
import time


def start_another() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    time.sleep(600)
