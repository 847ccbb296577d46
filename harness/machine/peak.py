"""The most multiply-accumulates per second that this CPU does, by precision: oneDNN's kernels, called through torch.

Matrix products and convolutions whose operands fit into caches, a multiple of what any vector or tile unit takes at
once. What counts is the best block of the best shape: a block that something else disturbed says nothing about the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.machine.hardware import has_bf16

if TYPE_CHECKING:
    import torch

PEAK_PRECISIONS: Final = ("FP32", "BF16", "INT8")
_BLOCK_S: Final = 0.002
"""Short, so that some are not disturbed on a busy machine."""
_KERNEL_S: Final = 0.2
"""All blocks of one shape; eight shapes make under two seconds."""
_SIZES: Final = (256, 512)
"""Of square matrices, the first one with as many times the rows as there are threads."""
_CHANNELS: Final = 128
_PIXELS: Final = 14
_IMAGES: Final = 4
"""For each thread."""
_KERNEL: Final = 3


class Kernel(NamedTuple):
    """One product that is done again and again."""

    macs: int
    run: Callable[[], object]


class Peaks(NamedTuple):
    """Multiply-accumulates per second by precision, and why others are missing."""

    macs_per_s: Mapping[str, float]
    missing: Mapping[str, str]


def measure_peaks(threads: int) -> Peaks:
    """The peaks of FP32, BF16 and INT8 with this many threads; takes two seconds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found: dict[str, float] = {}
    missing: dict[str, str] = {}
    try:
        for precision in PEAK_PRECISIONS:
            try:
                found[precision] = max(map(_macs_per_s, _kernels(precision, threads)))
            except RuntimeError as error:  # torch has no such kernel for this CPU
                missing[precision] = str(error).splitlines()[0]
    finally:
        torch.set_num_threads(before)
    return Peaks(found, missing)


def _kernels(precision: str, threads: int) -> Iterator[Kernel]:
    import torch

    if precision == "INT8":
        yield from (_integer_product(size, threads) for size in _SIZES)
        return
    if precision == "BF16" and not has_bf16():
        raise RuntimeError("this CPU has no BF16 instructions")
    dtype = torch.bfloat16 if precision == "BF16" else torch.float32
    yield from (_float_product(size, threads, dtype) for size in _SIZES)
    yield _convolution(threads, dtype)


def _integer_product(size: int, threads: int) -> Kernel:
    import torch

    left, right = (torch.randint(-127, 128, (rows, size), dtype=torch.int8) for rows in (size * threads, size))
    out = torch.empty(len(left), size, dtype=torch.int32)
    return Kernel(len(left) * size * size, lambda: torch._int_mm(left, right, out=out))


def _float_product(size: int, threads: int, dtype: torch.dtype) -> Kernel:
    import torch

    left, right = (torch.randn(rows, size).to(dtype) for rows in (size * threads, size))
    out = torch.empty(len(left), size, dtype=dtype)
    return Kernel(len(left) * size * size, lambda: torch.mm(left, right, out=out))


def _convolution(threads: int, dtype: torch.dtype) -> Kernel:
    import torch

    shapes = (_IMAGES * threads, _CHANNELS, _PIXELS, _PIXELS), (_CHANNELS, _CHANNELS, _KERNEL, _KERNEL)
    image, weight = (torch.randn(shape).to(dtype, memory_format=torch.channels_last) for shape in shapes)
    macs = image.numel() * _CHANNELS * _KERNEL**2
    return Kernel(macs, lambda: torch.nn.functional.conv2d(image, weight, padding=_KERNEL // 2))


def _macs_per_s(kernel: Kernel) -> float:
    """Of the fastest block."""
    kernel.run()  # kernels are made and buffers taken when a shape is first seen
    calls = max(1, round(_BLOCK_S / _seconds(kernel, 1)))
    end, best = time.perf_counter() + _KERNEL_S, float("inf")
    while time.perf_counter() < end:
        best = min(best, _seconds(kernel, calls) / calls)
    return kernel.macs / best


def _seconds(kernel: Kernel, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        kernel.run()
    return time.perf_counter() - started
