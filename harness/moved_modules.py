"""Names that modules had before the folders were arranged anew, for programs that import them.

Each is the module of today, and using it warns.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_MODULES = {
    "harness.export.quantized": "harness.supergradients.export",
    "harness.quantization.calibration": "harness.supergradients.calibration",
    "harness.quantization.selective": "harness.supergradients.selective",
    "harness.markers": "harness.skip_connections",
    "harness.training.loaders": "harness.supergradients.finetune",
}
_PACKAGES = {"harness.export": "harness.exporting", "harness.compare": "harness.comparison"}


def install() -> None:
    """Let imports of the old names succeed; names that exist are found before these."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Package(ModuleType):
    """An old package, whose name is a function of `harness` today."""

    def __call__(self, *args: object, **options: object) -> object:
        function = self.__name__.rpartition(".")[2]
        place = {"export": "harness.single.export", "compare": "harness.comparison.compare"}[function]
        return getattr(import_module(place), function)(*args, **options)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _PACKAGES or _place(fullname) is not None:
            return ModuleSpec(fullname, _Alias(), is_package=fullname in _PACKAGES)
        return None


class _Alias(Loader):
    def __init__(self) -> None:
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if spec.name in _PACKAGES:
            return _Package(spec.name)
        place = _place(spec.name)
        assert place is not None
        module = import_module(place)
        warnings.warn(f"`{spec.name}` is `{place}` now", DeprecationWarning, stacklevel=2)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It is executed already; its own spec, which the import has replaced, comes back."""
        if self._spec is not None:
            module.__spec__ = self._spec


def _place(fullname: str) -> str | None:
    """Where a module that had this name is."""
    if fullname in _MODULES:
        return _MODULES[fullname]
    package, _, name = fullname.rpartition(".")
    return f"{_PACKAGES[package]}.{name}" if package in _PACKAGES else None
