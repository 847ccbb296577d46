"""What a user's network depends on: the files that making and trying it reads, and what is installed.

Everything outside the installed packages counts with its content: modules, however and whenever they are imported, and
other files, such as settings and weights. So do the values that the network starts with, whatever they come from: a
variable of the environment, or a file that a library reads behind Python's back.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.engine.source_closure import Package, closure
from harness.machine.installed import module_version
from harness.training.file_sums import Dependencies, FileSum, file_sha256
from harness.training.model_files import PACKAGE_PREFIX
from harness.training.settings import parse_factory
from harness.training.user_files import Imported, is_users
from harness.training.watch import FileAccessLog, watched

if TYPE_CHECKING:
    from torch import nn


_OURS = ("harness", PACKAGE_PREFIX)


@dataclass
class Recording:
    """What was read while a network was made and tried, or a plug-in was loaded."""

    factory: str
    """`FILE.py:NAME` or `package.module:NAME`."""
    root: Path
    _watch: FileAccessLog = field(default_factory=FileAccessLog)

    def dependencies(self, model: nn.Module | None = None) -> Dependencies:
        """What the recorded network, or the plug-in without one, depends on; call it after the block."""
        read = {path for path in map(Path, self._watch.read) if path.is_file()}
        modules = {path for path in read if path.suffix == ".py"} | self._factory_file()
        imported = Imported.by(modules)
        sums = [FileSum(path, file_sha256(path)) for path in sorted(read | imported.files)]
        layers = set() if model is None else _libraries_of(model)
        content = {
            "files": sorted((_name_of(path, self.root), sha256) for path, sha256 in sums),
            "libraries": [module_version(name) for name in sorted(imported.libraries | layers)],
            "harness": [closure(name).sha256 for name in sorted(_harness_modules(imported.harness))],
        }
        if model is not None:
            content["network"] = network_sha256(model)
        kept = tuple(each for each in sums if str(each.path) not in self._watch.written)
        sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return Dependencies(sha256, kept, writes_what_it_reads=len(kept) < len(sums))

    def _factory_file(self) -> set[Path]:
        name = parse_factory(self.factory)
        if name.is_file:
            return {name.file(self.root)}
        spec = importlib.util.find_spec(name.place)
        file = Path(spec.origin) if spec is not None and spec.origin else None
        return {file} if file is not None and file.is_file() else set()


@contextmanager
def dependencies_recorded(factory: str, root: Path) -> Iterator[Recording]:
    """Make and try a network inside the block; ask the recording afterwards what the network depends on.

    The user's modules that an earlier recording imported are forgotten first: they are imported, and read, again.
    """
    _forget_modules()
    before = set(sys.modules)
    with watched() as watch:
        try:
            yield Recording(factory, root, watch)
        finally:
            _imported.update(name for name in set(sys.modules) - before if _is_users_module(name))


_imported: set[str] = set()
"""The user's modules that recordings imported."""


def _forget_modules() -> None:
    for name in [name for name in sys.modules if name in _imported or name.startswith(PACKAGE_PREFIX)]:
        del sys.modules[name]
    _imported.clear()


def _is_users_module(name: str) -> bool:
    module = sys.modules.get(name)
    places = [getattr(module, "__file__", None), *_search_path(module)]
    return any(is_users(str(Path(place).absolute())) for place in places if isinstance(place, str))


def _search_path(module: object) -> list[str]:
    try:
        return list(getattr(module, "__path__", ()))
    except (KeyError, TypeError):  # of a namespace package whose parent is gone
        return []


def _name_of(path: Path, root: Path) -> str:
    """A name that stays when project, packages and weights move."""
    for base in (root, root.resolve()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    top = path
    while path.suffix == ".py" and (top.parent / "__init__.py").is_file():
        top = top.parent
    return f"../{path.relative_to(top.parent).as_posix()}"


def _libraries_of(model: nn.Module) -> set[str]:
    """Installed packages that the network's layers come from, however they were imported."""
    tops = {type(module).__module__.partition(".")[0] for module in model.modules()}
    return {top for top in tops if top in sys.modules and not top.startswith(_OURS) and not _is_users_module(top)}


def _harness_modules(names: set[str]) -> set[str]:
    ours = Package.of("harness")
    return {module for name in names if (module := ours.module_of(name)) is not None}


def network_sha256(model: nn.Module) -> str:
    """sha256 over layers, their numbers (such as a dropout's share), and all tensors in them with their values."""
    total = hashlib.sha256()
    for name, module in model.named_modules():
        total.update(f"{name} {type(module).__qualname__}\n".encode())
        for key, value in sorted(_attributes(module), key=itemgetter(0)):
            total.update(f"{key} ".encode())
            if isinstance(value, torch.Tensor):
                _add_tensor(total, value)
            else:
                total.update(f"{value!r}\n".encode())
    return total.hexdigest()


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
    for name, value in vars(module).items():
        if _is_number(value) or isinstance(value, torch.Tensor):
            yield name, value


def _is_number(value: object) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(each, bool | int | float | complex) for each in numbers)


def _add_tensor(total: Any, tensor: torch.Tensor) -> None:
    total.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.layout}\n".encode())
    if tensor.layout == torch.strided and tensor.device.type != "meta" and not tensor.is_quantized:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
