"""Stubs of TensorRT's bindings, published or made from what is installed, and what mypy says with them.

The bindings ship none. `tensorrt-stubs` (MIT) publishes those of TensorRT 10.13; `mypy.stubgen` makes them from the
docstrings of an installed binding. Both write some signatures that are no Python; these lose their arguments.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

API = Path(__file__).parents[2] / "harness" / "targets" / "tensorrt" / "api.py"
PUBLISHED = "HARNESS_TENSORRT_STUBS"
"""Variable with the folder that `pip install --no-deps --target FOLDER tensorrt-stubs` filled."""
_SIGNATURE = re.compile(r"^(\s*)def (\w+)\(.*?(:|: \.\.\.)\s*$")


def readable(text: str) -> str:
    """The stub with every signature that is no Python made one that takes anything."""
    lines = text.split("\n")
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            index = (error.lineno or 1) - 1
            signature = _SIGNATURE.match(lines[index])
            if signature is None or "*args" in lines[index]:
                raise
            lines[index] = "{}def {}(self, *args, **kwargs){}".format(*signature.groups())
        else:
            return "\n".join(lines)


def published(source: Path, folder: Path) -> Path:
    """The published stubs of `tensorrt`, readable."""
    for path in [*source.glob("tensorrt/*.pyi"), *source.glob("tensorrt_bindings/*.pyi")]:
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = readable(path.read_text(encoding="utf-8"))
        # Defined there, but not in their `__all__`; the bindings do have it.
        copy.write_text(re.sub(r"^(__all__.*?= \[)", r"\1'__version__', ", text, flags=re.MULTILINE), encoding="utf-8")
    return folder


def of_installed(module: str, folder: Path) -> Path:
    """Stubs of an installed binding, for instance `tensorrt_rtx`."""
    package = f"{module}_bindings"
    code = f"from mypy.stubgen import main; main(['-p', {package!r}, '-o', {str(folder)!r}, '--inspect-mode', '-q'])"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for path in folder.rglob("*.pyi"):
        path.write_text(readable(path.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def complaints(source: str, folder: Path) -> list[str]:
    """What mypy says about a source text that may import `api`, with the stubs in `folder`.

    Errors inside the stubs are theirs.
    """
    (folder / "api.py").write_text(API.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "conformance.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--follow-imports=silent"]
    command += ["--no-error-summary", "--cache-dir", str(folder / ".cache"), "conformance.py"]
    environment = os.environ | {"MYPYPATH": str(folder)}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode not in (0, 1):  # mypy itself failed
        return lines
    return [line.partition(": ")[2] for line in lines if line.startswith("conformance.py:")]
