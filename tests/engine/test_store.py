import hashlib
import json
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest

from harness.engine.manifest import Damaged
from harness.engine.store import Artifact, Store, default_root
from harness.errors import StageError, UsageError

KEY = "ab" * 32
OTHER = "cd" * 32


def make(store: Store, key: str = KEY, text: str = "weights") -> Artifact:
    with store.create(key, "train") as draft:
        (draft.path / "sub").mkdir()
        (draft.path / "sub" / "model.bin").write_text(text)
        (draft.path / "log.txt").write_text("fine")
        draft.meta["epochs"] = 3
    assert draft.artifact is not None
    return draft.artifact


class TestArtifact:
    def test_holds_what_the_stage_wrote(self, store: Store) -> None:
        make(store)
        found = store.get(KEY)
        assert found is not None
        assert found.file("sub/model.bin").read_text() == "weights"
        assert found.meta == {"epochs": 3}
        assert found.manifest.stage == "train"
        assert found.manifest.seconds >= 0

    def test_manifest_names_each_file_with_size_and_checksum(self, store: Store) -> None:
        path = make(store).path / "manifest.json"
        files = json.loads(path.read_text())["files"]
        assert files == {
            "log.txt": {"sha256": hashlib.sha256(b"fine").hexdigest(), "bytes": 4},
            "sub/model.bin": {"sha256": hashlib.sha256(b"weights").hexdigest(), "bytes": 7},
        }

    def test_a_file_that_it_does_not_have(self, store: Store) -> None:
        with pytest.raises(KeyError, match="has no file"):
            make(store).file("model.onnx")


class TestCreate:
    def test_nothing_is_found_before_or_when_it_failed(self, store: Store) -> None:
        assert store.get(KEY) is None
        with pytest.raises(FileExistsError), store.create(KEY, "train") as draft:
            draft.path.mkdir()  # it exists, so this raises
        assert store.get(KEY) is None
        assert not draft.path.exists()

    def test_an_existing_artifact_is_kept(self, store: Store) -> None:
        make(store, text="first")
        assert make(store, text="second").file("sub/model.bin").read_text() == "first"

    def test_or_replaced_on_request(self, store: Store) -> None:
        make(store, text="first")
        with store.create(KEY, "train", replace=True) as draft:
            (draft.path / "only.txt").write_text("second")
        found = store.get(KEY)
        assert found is not None
        assert set(found.manifest.files) == {"only.txt"}

    @pytest.mark.parametrize("meta", [float("nan"), {1, 2}, Path("here")])
    def test_results_must_be_json(self, store: Store, meta: object) -> None:
        with pytest.raises(StageError, match="JSON"), store.create(KEY, "train") as draft:
            draft.meta["loss"] = meta  # type: ignore[assignment]
        assert store.get(KEY) is None

    def test_links_are_refused(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(StageError, match="link"), store.create(KEY, "train") as draft:
            (draft.path / "weights").symlink_to(tmp_path)

    def test_the_manifest_is_the_stores(self, store: Store) -> None:
        with pytest.raises(StageError, match=r"manifest\.json"), store.create(KEY, "train") as draft:
            (draft.path / "manifest.json").write_text("{}")

    @pytest.mark.parametrize("key", ["../../escape", "short", "AB" * 32])
    def test_only_checksums_are_keys(self, store: Store, key: str) -> None:
        with pytest.raises(ValueError, match="not a sha256 key"):
            store.get(key)

    def test_a_store_that_cannot_be_written_says_how_to_get_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="HARNESS_STORE"):
            Store(tmp_path / "file" / "store").prepare()


def truncate(artifact: Artifact) -> None:
    artifact.file("sub/model.bin").write_text("wei")


def flip(artifact: Artifact) -> None:
    artifact.file("sub/model.bin").write_text("Weights")


def remove(artifact: Artifact) -> None:
    artifact.file("log.txt").unlink()


def add(artifact: Artifact) -> None:
    (artifact.path / "extra").write_text("")


def change_meta(artifact: Artifact) -> None:
    path = artifact.path / "manifest.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 4'))


def empty_manifest(artifact: Artifact) -> None:
    (artifact.path / "manifest.json").write_text("")


def remove_manifest(artifact: Artifact) -> None:
    (artifact.path / "manifest.json").unlink()


class TestDamage:
    @pytest.mark.parametrize(
        ("harm", "problem"),
        [
            (truncate, "sub/model.bin has 3 bytes instead of 7"),
            (flip, "sub/model.bin has another checksum"),
            (remove, "log.txt is missing"),
            (add, "extra does not belong to it"),
            (change_meta, "manifest.json was changed"),
            (empty_manifest, "manifest.json is not valid"),
            (remove_manifest, "manifest.json cannot be read"),
        ],
    )
    def test_is_noticed_said_and_removed(self, tmp_path: Path, harm, problem: str) -> None:
        notices: list[Damaged] = []
        store = Store(tmp_path, on_damaged=notices.append)
        artifact = make(store)
        harm(artifact)
        assert store.get(KEY) is None
        assert [notice.key for notice in notices] == [KEY]
        assert problem in str(notices[0])
        assert not artifact.path.exists()

    def test_of_an_artifact_under_another_key(self, tmp_path: Path) -> None:
        notices: list[Damaged] = []
        store = Store(tmp_path, on_damaged=notices.append)
        path = make(store).path
        wrong = path.parent.parent / OTHER[:2] / OTHER
        wrong.parent.mkdir()
        path.rename(wrong)
        assert store.get(OTHER) is None
        assert "belongs to key abababababab" in str(notices[0])

    def test_leads_to_rebuilding(self, tmp_path: Path) -> None:
        store = Store(tmp_path, on_damaged=lambda _damaged: None)
        flip(make(store))

        def rebuild(folder: Path) -> dict[str, str]:
            (folder / "new.txt").write_text("new")
            return {"state": "new"}

        artifact, created = store.get_or_create(KEY, "train", rebuild)
        assert created
        assert artifact.meta == {"state": "new"}
        assert store.get(KEY) == artifact

    def test_is_a_warning_when_nobody_listens(self, store: Store) -> None:
        flip(make(store))
        with pytest.warns(UserWarning, match="is damaged"):
            store.get(KEY)

    def test_open_says_when_an_input_is_gone(self, store: Store) -> None:
        with pytest.raises(StageError, match="not in the store"):
            store.open(KEY)


class TestGetOrCreate:
    def test_makes_once(self, store: Store) -> None:
        calls: list[Path] = []

        def count(folder: Path) -> dict[str, int]:
            calls.append(folder)
            return {"calls": len(calls)}

        first = store.get_or_create(KEY, "train", count)
        second = store.get_or_create(KEY, "train", count)
        assert (first.created, second.created) == (True, False)
        assert first.artifact == second.artifact
        third = store.get_or_create(KEY, "train", count, replace=True)
        assert third.artifact.meta == {"calls": 2}


class TestClean:
    def test_removes_what_killed_processes_left(self, store: Store) -> None:
        make(store)
        left = store.root / "v1" / "tmp" / f"{KEY}.killed"
        left.mkdir()
        (left / "half").write_text("half")
        assert store.clean() == 1
        assert not left.exists()
        assert store.get(KEY) is not None

    def test_leaves_what_is_being_made(self, store: Store) -> None:
        with store.create(KEY, "train") as draft:
            assert store.clean() == 0
            assert draft.path.exists()


class TestPrune:
    def test_goes_by_last_use(self, store: Store) -> None:
        make(store, KEY)
        unused = make(store, OTHER)
        last_month = time.time() - timedelta(days=30).total_seconds()
        for key in (KEY, OTHER):
            os.utime(store.open(key).path / "manifest.json", (last_month, last_month))
        store.get(KEY)  # using it counts
        before = store.size()
        removed = store.prune(older_than=timedelta(days=7))
        assert removed.artifacts == 1
        assert removed.bytes > len("weights") + len("fine")
        assert store.get(KEY) is not None
        assert not unused.path.exists()
        assert before.bytes - store.size().bytes == removed.bytes

    def test_leaves_what_is_in_use(self, store: Store) -> None:
        make(store)
        with store.create(KEY, "train", replace=True):
            assert store.prune(older_than=timedelta(seconds=-60)).artifacts == 0


class TestDefaultRoot:
    def test_is_what_the_variable_says(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HARNESS_STORE", str(tmp_path))
        assert default_root() == tmp_path

    def test_else_in_the_users_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("HARNESS_STORE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_root().parts[-2:] == ("quant-harness", "store")


class TestAnyDamage:
    """Whatever becomes of an artifact's bytes: it is found as it was, or noticed and removed."""

    def check(self, store: Store, path: Path, content: bytes) -> bool:
        """Whether the artifact with these bytes in one of its files was found; it must then be as it was."""
        if store.get(KEY) is None:
            make(store)
        original = path.read_bytes()
        path.write_bytes(content)
        found = store.get(KEY)
        assert found is None or (found.meta, found.manifest.stage) == ({"epochs": 3}, "train")
        assert (found is None) == (not path.exists())
        if found is not None:
            path.write_bytes(original)
        return found is not None

    def test_every_byte_of_the_manifest_with_a_flipped_bit(self, tmp_path: Path) -> None:
        notes: list[Damaged] = []
        store = Store(tmp_path, on_damaged=notes.append)
        path = make(store).path / "manifest.json"
        harmless = 0
        for position in range(len(path.read_bytes())):
            damaged = bytearray(path.read_bytes())
            if position >= len(damaged):  # made again, with a shorter time in it
                break
            damaged[position] ^= 1 << position % 8
            harmless += self.check(store, path, bytes(damaged))
            if not path.exists():
                make(store)
        assert len(notes) > 300
        assert harmless < 100  # white space, which means nothing

    @pytest.mark.parametrize(
        "text",
        [
            "NaN",
            "1e999",
            "-Infinity",
            '"\\ud800"',
            "9" * 5000,
            "[" * 3000,
            '{"a": ' * 3000,
            "null",
            '""',
            "\0",
            "\ufeff",
        ],
    )
    def test_a_value_of_the_manifest_that_became_something_else(self, tmp_path: Path, text: str) -> None:
        notes: list[Damaged] = []
        store = Store(tmp_path, on_damaged=notes.append)
        path = make(store).path / "manifest.json"
        for old in ('"epochs": 3', '"bytes": 4', '"schema_version": 1', '"stage": "train"'):
            content = path.read_text()
            assert old in content
            name = old.partition(":")[0]
            assert not self.check(store, path, content.replace(old, f"{name}: {text}", 1).encode())
            make(store)
        assert len(notes) == 4

    def test_every_bit_of_a_small_file(self, tmp_path: Path) -> None:
        notes: list[Damaged] = []
        store = Store(tmp_path, on_damaged=notes.append)
        path = make(store).file("log.txt")
        for bit in range(8 * len(b"fine")):
            damaged = bytearray(b"fine")
            damaged[bit // 8] ^= 1 << bit % 8
            assert not self.check(store, path, bytes(damaged))
            make(store)
        assert len(notes) == 32

    def test_folders_that_another_process_removes_meanwhile(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = make(store).path
        artifacts = store._layout.artifacts()
        shutil.rmtree(folder)
        monkeypatch.setattr(type(store._layout), "artifacts", lambda _: artifacts)
        assert store.size() == (1, 0)
        assert store.prune(timedelta(0)) == (0, 0)
        assert store.get(KEY) is None
        with pytest.raises(StageError, match="is not in the store"):
            store.open(KEY)
