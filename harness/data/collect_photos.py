"""Collect photos that packages ship into one folder for the data source `image_folder`.

    apt-get download mate-backgrounds lomiri-wallpapers-20.04
    pip download --no-deps foolbox==3.3.4
    python -m harness.data.collect_photos --into "$HARNESS_DATA/photos" *.deb foolbox-3.3.4-py3-none-any.whl

Packages are unpacked, not installed. scikit-learn's two photos are added where it is installed. Drawings and patterns
are left out: a network for photos is sure of nothing there, so that any change of a bit changes its choice.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.data.folder import image_files

DRAWINGS = frozenset({"abstract", "desktop"})
"""Folders of mate-backgrounds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the folder; prints how many photos it holds."""
    parser = argparse.ArgumentParser(prog="python -m harness.data.collect_photos")
    parser.add_argument("--into", type=Path, required=True, help="folder for the photos")
    parser.add_argument("packages", type=Path, nargs="+", help=".deb and .whl files")
    options = parser.parse_args(arguments)
    options.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for package in options.packages:
            unpack_package(package, Path(folder) / package.stem)
        for photo in (*chosen(Path(folder)), *scikit_learn_photos()):
            shutil.copyfile(photo, options.into / photo.name)
    print(f"{len(image_files(options.into))} photos in {options.into}")  # noqa: T201  # a command's answer
    return 0


def unpack_package(package: Path, folder: Path) -> None:
    """Unpack a wheel, or a Debian package with `dpkg-deb`."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as file:
            file.extractall(folder)
    else:
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)  # noqa: S603, S607


def chosen(folder: Path) -> list[Path]:
    """The photos below `folder`; of foolbox only those of ImageNet."""
    files = [file for file in image_files(folder) if not DRAWINGS & set(file.relative_to(folder).parts)]
    return [file for file in files if "foolbox" not in file.parts or file.name.startswith("imagenet_")]


def scikit_learn_photos() -> Iterator[Path]:
    """`china.jpg` and `flower.jpg`, where scikit-learn is installed; it is not imported."""
    spec = importlib.util.find_spec("sklearn")
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from image_files(Path(location) / "datasets" / "images")


if __name__ == "__main__":
    raise SystemExit(main())
