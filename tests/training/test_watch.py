"""Which files of the user's a block of code opens."""

from pathlib import Path
from threading import Event, Thread

import pytest

from harness.training.watch import watched


def test_a_thread_that_takes_the_number_of_an_earlier_one_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("1")
    end = Event()
    earlier = Thread(target=end.wait)
    earlier.start()
    with watched() as log:
        end.set()
        earlier.join()
        reader = Thread(target=path.read_text)
        reader.start()
        reader.join()
    if reader.ident != earlier.ident:
        pytest.skip("this system gave the thread another number")
    assert log.read == {str(path)}


def test_a_thread_that_ran_before_is_not_watched(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("1")
    begin, done = Event(), Event()

    def read() -> None:
        begin.wait()
        path.read_text()
        done.set()

    Thread(target=read).start()
    with watched() as log:
        begin.set()
        done.wait()
    assert log.read == set()
