"""More than a hundred folders as people have them: each is read truthfully, or refused with one message."""

from __future__ import annotations

import itertools
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from oracles.photos import encoded, in_parts, labelled, photo, write
from PIL import Image

from harness.data.load import load_splits
from harness.data.samples import Splits
from harness.data.settings import DatasetSpec
from harness.errors import DataError

REPOSITORY = Path(__file__).parents[2]
Disorder = Callable[[Path], None]
"""Makes a mess in a folder that holds images, for instance `train/cat`."""


def _write_bytes(name: str, content: bytes) -> Disorder:
    return lambda folder: (folder / name).write_bytes(content) and None


def _socket(folder: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    try:
        os.chdir(folder)  # the name of a socket is limited to 108 bytes
        server.bind("socket.png")
    finally:
        os.chdir(here)
        server.close()


def _not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(encoded(photo(901), "PNG"))


def _not_utf8_folder(folder: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")) / "a.png", 902)


def _image_in(name: str) -> Disorder:
    return lambda folder: write(folder / name, 903) and None


def _link(name: str, to: str) -> Disorder:
    return lambda folder: (folder / name).symlink_to(to)


def _copy_of_first(folder: Path) -> None:
    first = next(path for path in sorted(folder.rglob("*.png")) if path.is_file())
    (folder / "copy.png").write_bytes(first.read_bytes())


def _image(name: str, image: Image.Image) -> Disorder:
    return lambda folder: image.save(folder / name)


def _outside(name: str) -> Disorder:
    def make(folder: Path) -> None:
        outside = Path(str(folder).split("data")[0]) / "outside" / folder.name
        write(outside / "a.png", 904)
        (folder / name).symlink_to(outside if "." not in name else outside / "a.png")

    return make


DISORDERS: dict[str, Disorder] = {
    "nothing": lambda _folder: None,
    "macOS and Windows files": _write_bytes("Thumbs.db", b"x"),
    "dot-file that looks like an image": _write_bytes("._0.png", b"x"),
    "dot-folder with images": _image_in(".ipynb_checkpoints/a.png"),
    "__MACOSX": _image_in("__MACOSX/a.png"),
    "GIF": _write_bytes("a.gif", encoded(photo(1), "GIF")),
    "GIF named PNG": _write_bytes("a.png", encoded(photo(1), "GIF")),
    "animated PNG": _write_bytes("a.png", encoded(photo(1), "PNG", save_all=True, append_images=[photo(2)])),
    "pages": _write_bytes("a.tiff", encoded(photo(1), "TIFF", save_all=True, append_images=[photo(2)])),
    "text": _write_bytes("labels.csv", b"0.png,cat\n"),
    "archive": _write_bytes("images.zip", b"PK\3\4"),
    "no suffix": _write_bytes("image", encoded(photo(1), "PNG")),
    "upper case": _write_bytes("A.JPEG", encoded(photo(1), "JPEG")),
    "zero bytes": _write_bytes("a.png", b""),
    "truncated": _write_bytes("a.png", encoded(photo(1, (64, 64)), "PNG")[:200]),
    "truncated JPEG": _write_bytes("a.jpg", encoded(photo(1, (64, 64)), "JPEG")[:900]),
    "rubbish": _write_bytes("a.jpg", bytes(range(256)) * 4),
    "dangling link": _link("a.png", "nowhere.png"),
    "dangling link to a folder": _link("bird", "nowhere"),
    "link to itself": _link("a.png", "a.png"),
    "link to the folder itself": _link("again", "."),
    "link to the folder above": _link("up", ".."),
    "link to an image outside": _outside("linked.png"),
    "link to a folder outside": _outside("linked"),
    "pipe": lambda folder: os.mkfifo(folder / "pipe.png"),
    "socket": _socket,
    "device": _link("zero.png", "/dev/zero"),
    "folder named like an image": lambda folder: (folder / "a.png").mkdir(),
    "filled folder named like an image": _image_in("dir.png/a.png"),
    "name that is not UTF-8": _not_utf8,
    "folder that is not UTF-8": _not_utf8_folder,
    "longest name": _image_in("n" * 251 + ".png"),
    "newline in a name": _image_in("a\nb.png"),
    "control character in a name": _image_in("\x1b[31mred.png"),
    "name of another direction": _image_in("\u202egnp.png"),
    "duplicate": _copy_of_first,
    "16 bits": _image("deep.png", Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12) * 400)),
    "floating point": _image("deep.tiff", Image.fromarray(np.ones((12, 12), np.float32))),
    "grey": _image("grey.png", photo(3).convert("L")),
    "palette": _image("palette.png", photo(3).quantize(16)),
    "transparent": _image("clear.png", Image.new("RGBA", (12, 12), (1, 2, 3, 4))),
    "CMYK": _image("cmyk.jpg", photo(3).convert("CMYK")),
    "LAB": _image("lab.tiff", Image.new("LAB", (12, 12))),
    "smaller": _image("small.png", photo(3, (5, 5))),
    "larger": _image("large.png", photo(3, (40, 30))),
    "one pixel high": _image("thin.png", photo(3, (3000, 1))),
    "deep folders": _image_in("/".join("d" * 20) + "/a.png"),
    "empty folder": lambda folder: (folder / "empty").mkdir(),
    "inner train and test": lambda folder: in_parts(folder / "inner") and None,
}

LAYOUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "class of the training part": (in_parts, "train/cat"),
    "test part": (in_parts, "test"),
    "root with parts": (in_parts, "."),
    "classes without parts": (labelled, "dog"),
    "no labels": (lambda root: labelled(root, (".",), 6), "."),
}


def read(folder: Path, **args: object) -> Splits:
    spec = DatasetSpec(
        source="image_folder", location="path", path=folder, calibration_samples=1, args={"size": 12} | args
    )
    return load_splits(spec, root=folder, seed=0)


def files_below(folder: str, seen: tuple[str, ...] = ()) -> int:
    """Every entry that is no folder, links followed once; links to nothing and back up are one entry each."""
    count = 0
    for entry in os.scandir(folder):
        real = os.path.realpath(entry.path)
        if not Path(entry.path).is_dir() or real in seen:  # DirEntry.is_dir fails for a link to itself
            count += 1
        else:
            count += files_below(entry.path, (*seen, os.path.realpath(folder)) if not seen else (*seen, real))
    return count


def check(folder: Path, **args: object) -> Splits | None:
    """The samples, whose files add up; None where the folder was refused with a message of one sentence or two."""
    try:
        found = read(folder, **args)
    except DataError as error:
        refusal = error
    else:
        check_counts(found, folder)
        return found
    assert refusal.fix
    assert len(refusal.message) < 1500
    assert all(char.isprintable() for char in refusal.message), refusal.message
    return None


def check_counts(found: Splits, folder: Path) -> None:
    """Every file is counted once, and what is left out is named."""
    counts = found.reading.files
    assert counts is not None
    assert counts.read + counts.unused + counts.unreadable + counts.skipped + counts.ignored == files_below(
        str(folder), (os.path.realpath(folder),)
    )
    assert counts.read == len(found.train) + len(found.calibration) + len(found.test)
    named = " ".join(found.reading.notes)
    assert (counts.skipped > 0) == ("skipped" in named)
    assert (counts.unreadable > 0) == ("unreadable" in named)
    assert all(char.isprintable() for note in found.reading.notes for char in note)
    if found.has_labels:
        assert set(found.test.required_labels().tolist()) == set(range(found.n_classes))
        assert len(found.reading.class_names) == found.n_classes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("disorder", DISORDERS)
def test_a_disordered_folder_is_read_truthfully_or_refused(tmp_path: Path, disorder: str, layout: str) -> None:
    make, place = LAYOUTS[layout]
    root = make(tmp_path / "data")
    DISORDERS[disorder](root / place)
    strict, lenient = check(root), check(root, unreadable="skip")
    if strict is not None:
        assert lenient is not None
        assert strict.test.sha256() == lenient.test.sha256()
        assert strict.reading.files is not None
        assert strict.reading.files.unreadable == 0


@pytest.mark.parametrize("seed", range(30))
def test_several_disorders_at_once(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    make, place = LAYOUTS[generator.choice(list(LAYOUTS))]
    root = make(tmp_path / "data")
    for name in generator.sample(list(DISORDERS), 3):
        try:
            DISORDERS[name](root / place)
        except OSError:  # two of them want the same name
            continue
    check(root, resize=12, unreadable=generator.choice(["error", "skip"]), background=[0, 0, 0])


KEEPS = {"nothing", "macOS and Windows files", "dot-folder with images", "GIF", "text", "pipe", "socket", "__MACOSX"}


@pytest.mark.parametrize("disorder", sorted(KEEPS))
def test_what_is_no_image_changes_no_sample(tmp_path: Path, disorder: str) -> None:
    clean, messy = in_parts(tmp_path / "clean" / "data"), in_parts(tmp_path / "messy" / "data")
    DISORDERS[disorder](messy / "train" / "cat")
    assert read(clean).train.sha256() == read(messy).train.sha256()


@pytest.mark.parametrize("disorder", ["link to an image outside", "link to a folder outside"])
def test_links_are_followed(tmp_path: Path, disorder: str) -> None:
    root = in_parts(tmp_path / "data")
    DISORDERS[disorder](root / "train" / "cat")
    found = check(root)
    assert found is not None
    assert len(found.train) + len(found.calibration) == 7


def test_a_class_that_is_reached_twice_through_links_is_refused(tmp_path: Path) -> None:
    root = in_parts(tmp_path / "data")
    (root / "train" / "bird").symlink_to(root / "train" / "cat")
    with pytest.raises(DataError, match="are the same folder, through links"):
        read(root)


def test_different_depths_are_refused_by_name(tmp_path: Path) -> None:
    root = in_parts(tmp_path / "data")
    DISORDERS["16 bits"](root / "test" / "cat")
    with pytest.raises(DataError, match=r"different depths: 12 of 8 bits .*; 1 of 16 bits \(`test/cat/deep.png`\)"):
        read(root)


@pytest.mark.parametrize("layout", ["classes without parts", "root with parts"])
@pytest.mark.parametrize("suffix", ["gif", "heic", "AVIF"])
def test_a_class_of_pictures_that_are_not_read_does_not_vanish(tmp_path: Path, layout: str, suffix: str) -> None:
    root = LAYOUTS[layout][0](tmp_path / "data")
    for part in ("train", "test") if layout == "root with parts" else (".",):
        (root / part / "bird").mkdir()
        (root / part / "bird" / f"1.{suffix}").write_bytes(b"x")
    with pytest.raises(
        DataError, match=rf"bird` holds no image that is read, but 1 of other kinds: .*bird/1\.{suffix}"
    ):
        read(root)


def test_a_folder_of_other_files_is_noted_only(tmp_path: Path) -> None:
    root = labelled(tmp_path / "data")
    (root / "lists").mkdir()
    (root / "lists" / "labels.csv").write_text("0.png,cat\n")
    assert any("no image in folder `lists`" in note for note in read(root).reading.notes)


def test_everything_is_a_link(tmp_path: Path) -> None:
    root = in_parts(tmp_path / "data")
    linked = tmp_path / "linked"
    for part, name in itertools.product(("train", "test"), ("cat", "dog")):
        (linked / part).mkdir(parents=True, exist_ok=True)
        (linked / part / name).symlink_to(root / part / name)
    assert read(linked).test.sha256() == read(root).test.sha256()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


RIGHTS = {
    "class folder": ("train/cat", 0o000),
    "class folder that can be listed only": ("train/cat", 0o444),
    "class folder that can be entered only": ("train/cat", 0o111),
    "part": ("test", 0o000),
    "file": ("train/cat/0.png", 0o000),
    "root": (".", 0o000),
}


@pytest.mark.parametrize("case", RIGHTS)
@pytest.mark.thorough(keep=2)
def test_without_permission_nothing_vanishes(open_folder: Path, case: str) -> None:
    """Read by a user without rights: root would read everything."""
    root, warm = in_parts(open_folder / "data"), in_parts(open_folder / "warm")
    place, mode = RIGHTS[case]
    (root / place).chmod(mode)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom harness.data.settings import DatasetSpec\n"
        "from harness.data.load import load_splits\nfrom harness.errors import DataError\n"
        "def load(folder):\n"
        "    place = {'source': 'image_folder', 'location': 'path', 'path': folder}\n"
        "    spec = DatasetSpec(**place, calibration_samples=1, args={'size': 12})\n"
        "    load_splits(spec, root=Path('/'), seed=0)\n"
        f"load(Path({str(warm)!r}))  # imports all there is: the user may not read this Python\n"
        "if os.getuid() == 0:\n    os.setgroups([])\n    os.setgid(65534)\n    os.setuid(65534)\n"
        f"try:\n    load(Path({str(root)!r}))\nexcept DataError as error:\n"
        "    print('refused:', error.message)\nelse:\n    print('read')\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    finally:
        (root / place).chmod(0o755)
    assert done.stdout.startswith("refused:"), done.stdout + done.stderr
    assert "Permission denied" in done.stdout
