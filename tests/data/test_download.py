import functools
import http.server
import threading

import pytest

from harness.data.download import download
from harness.errors import DataError


@pytest.fixture
def server(tmp_path):
    """An HTTP server on this machine; yields its folder and address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_file_that_passes_the_check_is_written_with_its_folder(server, tmp_path):
    folder, address = server
    (folder / "data").write_bytes(b"content")
    download(f"{address}/data", tmp_path / "new" / "folder" / "data", lambda _: None)
    assert (tmp_path / "new" / "folder" / "data").read_bytes() == b"content"
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["data"]


def test_a_file_that_fails_the_check_leaves_the_old_one(server, tmp_path):
    folder, address = server
    (folder / "data").write_bytes(b"bad")
    (tmp_path / "data").write_bytes(b"old")
    with pytest.raises(DataError, match="but it is 3 bytes"):
        download(f"{address}/data", tmp_path / "data", lambda content: f"it is {len(content)} bytes")
    assert (tmp_path / "data").read_bytes() == b"old"


def test_a_file_that_is_not_there_is_an_error_with_the_address(server, tmp_path):
    _, address = server
    with pytest.raises(DataError, match=f"cannot download {address}/nothing") as error:
        download(f"{address}/nothing", tmp_path / "data", lambda _: None)
    assert "network" in (error.value.fix or "")
    assert not (tmp_path / "data").exists()


def test_a_server_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot download"):
        download("http://127.0.0.1:1/data", tmp_path / "data", lambda _: None)


def test_a_place_that_cannot_be_written_is_an_error(server, tmp_path):
    folder, address = server
    (folder / "data").write_bytes(b"content")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot write"):
        download(f"{address}/data", tmp_path / "file" / "data", lambda _: None)
