"""Toolkit `nncf-sequential`: as `nncf`, but biases are corrected one after the other."""

from __future__ import annotations

from typing import ClassVar

from harness.toolkits.nncf import Nncf


class NncfSequential(Nncf):
    """Each correction sees the errors of the layers before it; takes several times as long."""

    name: ClassVar[str] = "nncf-sequential"
    fast: ClassVar[bool] = False


TOOLKIT = NncfSequential()
