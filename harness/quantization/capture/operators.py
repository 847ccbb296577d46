"""ATen operators by what they do, whatever their overload."""

from __future__ import annotations

import torch
from torch.fx import Node

aten = torch.ops.aten
CONVOLUTIONS = {
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
}
TRANSPOSED_CONVOLUTIONS = {
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
}
LINEAR = {aten.linear.default}
BATCH_NORM = aten.batch_norm.default
MATRIX_PRODUCTS = {aten.matmul.default, aten.bmm.default, aten.mm.default}
RELUS = {aten.relu.default, aten.relu_.default, aten.relu6.default, aten.relu6_.default}
CLAMPS = {
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.clamp.default,
    aten.clamp_.default,
    aten.clamp_min.default,
    aten.clamp_min_.default,
}
"""ReLU-like only where the lower bound is 0: see `is_relu`."""
ADDS = {aten.add.Tensor, aten.add_.Tensor}
MULS = {aten.mul.Tensor, aten.mul_.Tensor}
CONCATS = {aten.cat.default}
MAX_POOLS = {aten.max_pool2d.default}
AVERAGE_POOLS = {aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default, aten.mean.dim}
SIGMOIDS = {aten.sigmoid.default, aten.sigmoid_.default}
LEAKY_RELUS = {aten.leaky_relu.default, aten.leaky_relu_.default}
SOFTMAXES = {aten.softmax.int}
SELECTIONS = {
    aten.slice.Tensor,
    aten.select.int,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest2d.default,
    aten.pixel_shuffle.default,
}
"""Their outputs hold input values only, but not always all of them once."""
VIEWS = {
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.view.default,
    aten.reshape.default,
    aten.contiguous.default,
    aten.clone.default,
    aten.permute.default,
    aten.transpose.int,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.dropout.default,
    aten.dropout_.default,
}


def is_relu(node: Node) -> bool:
    """Whether the node is min(max(x, 0), bound), bound positive or absent, which engines fuse into the op before it."""
    if node.target in RELUS:
        return True
    low, high = clamp_bounds(node)
    return low == 0 and (high is None or (isinstance(high, int | float) and high > 0))


def clamp_bounds(node: Node) -> tuple[object, object]:
    """Lower and upper bound of a clamp; None where there is none, and for other nodes."""
    if node.target not in CLAMPS:
        return None, None
    is_hardtanh = node.target in (aten.hardtanh.default, aten.hardtanh_.default)
    defaults = (-1.0, 1.0) if is_hardtanh else (None, None)
    names = ("min_val", "max_val") if is_hardtanh else ("min", "max")
    given = dict(zip(names, node.args[1:3], strict=False)) | dict(node.kwargs)
    low, high = (given.get(name, default) for name, default in zip(names, defaults, strict=True))
    return low, high
