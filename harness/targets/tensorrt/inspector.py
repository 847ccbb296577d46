"""What is in an engine, from TensorRT's inspector. Needs the GPU that the engine runs on."""

from __future__ import annotations

from harness.targets.engine_record import EngineLayer
from harness.targets.tensorrt import api
from harness.targets.tensorrt.binding import new_context
from harness.targets.tensorrt.layers import layers_from_inspector


def inspected_layers(engine: api.CudaEngine, trt: api.TensorRtModule) -> tuple[EngineLayer, ...]:
    """The layers of a loaded engine.

    With a context that knows the shapes: without one, TensorRT 10 gives no data types where the batch is dynamic.
    """
    context = new_context(trt, engine)
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            _, best, _ = engine.get_tensor_profile_shape(name, 0)
            context.set_input_shape(name, tuple(best))
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return layers_from_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
