"""`sequential_bias_correction`: layer after layer, each behind corrected predecessors."""

from __future__ import annotations

from typing import ClassVar

from torch.fx import GraphModule, Node

from harness.quantization.ptq.base import Batches, CalibratedStep
from harness.quantization.ptq.layers import Moments, bias_of, channel_axis
from harness.quantization.ptq.node_by_node import Outputs
from harness.quantization.ptq.sequential import correct_in_order


class SequentialBiasCorrection(CalibratedStep):
    """Adds E[y - y'] per output channel to the bias, y' from the quantized network as corrected so far.

    y comes from the float network with its activations clipped to the ranges, see `correct_in_order`. In execution
    order: a layer is corrected when all layers before it are, so what is left of their errors is corrected too.

    Sources: appendix D of Nagel et al., arXiv:1906.04721; `BiasCorrection` of NNCF, which corrects in the same order.
    """

    name: ClassVar[str] = "sequential_bias_correction"

    def apply(self, prepared: GraphModule, batches: Batches) -> list[str]:
        """A note when not all samples fit into memory."""

        def shift(layer: Node, wanted: Moments, outputs: Outputs) -> bool:
            found = Moments()
            for output in outputs:
                found.update(layer, output)
            bias = bias_of(prepared, layer)
            if bias is None:  # computed from the inputs
                return False
            delta = (wanted.mean - found.mean).to(bias.dtype)
            bias.data += delta
            for output in outputs:
                output.movedim(channel_axis(layer), -1).add_(delta)
            return False

        return [f"{self.name} {note}" for note in correct_in_order(prepared, batches, shift)]


STEP = SequentialBiasCorrection()
