"""ATen operators by what they do, whatever their overload."""

from __future__ import annotations

import torch

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
RELUS = {
    aten.relu.default,
    aten.relu_.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.clamp.default,
    aten.clamp_.default,
    aten.clamp_min.default,
}
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
