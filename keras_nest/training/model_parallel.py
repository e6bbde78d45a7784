"""Model parallelism on JAX: which weights of the Transformer blocks are divided among devices, and along which axis."""

import re
from collections.abc import Mapping

import keras

from keras_nest.training.jax_machines import OwnParts

BATCH, MODEL = "batch", "model"
"""Axes of the mesh of devices: those that have other images, and those that have other parts of the weights."""

# Names of a variable, and of what optimizers keep beside it -> the axis that is divided. Heads of attention and hidden
# units of an MLP are computed apart from each other, and summed once: Megatron-LM, section 3. Of the product with the
# second kernel the devices have parts of the sum, so that its bias stays whole.
AXES: Mapping[str, int] = {
    r"(query|key|value|DenseGeneral_\d)_kernel": 1,
    r"(query|key|value|DenseGeneral_\d)_bias": 0,
    r"Attention_\d+_(out|proj)_kernel": 0,
    r"(MlpBlock_\d+|_mixing)_Dense_0_kernel": 1,
    r"(MlpBlock_\d+|_mixing)_Dense_0_bias": 0,
    r"(MlpBlock_\d+|_mixing)_Dense_1_kernel": 0,
    r"attention_block_dense_layer_kernel": 0,
    r"_mlp_dense_layer_kernel": 1,
    r"_mlp_dense_layer_bias": 0,
    r"mlp_block_dense_layer_kernel": 0,
    r"FeedForward_\d+_Conv_0_kernel": 3,
    r"FeedForward_\d+_Conv_1_kernel": 2,
}


class ModelParallel(OwnParts, keras.distribution.ModelParallel):
    """Divides each batch among groups of devices, and the weights of blocks among the devices of a group.

    What cannot be divided evenly stays whole on each device, as do patch and position embeddings, norms and the head.
    Numbers are those of one device, but for rounding.

    Args:
        devices: names of all devices, as `keras.distribution.list_devices` gives them.
        size: devices of a group.

    Raises:
        ValueError: the devices cannot be divided into groups of that size.
    """

    def __init__(self, devices: list[str], size: int) -> None:
        if size < 1 or len(devices) % size:
            raise ValueError(
                f"{len(devices)} devices cannot be divided into groups of {size} that share the weights "
                f"(--model_parallel); choose a number that divides {len(devices)}."
            )
        mesh = keras.distribution.DeviceMesh((len(devices) // size, size), (BATCH, MODEL), devices)
        super().__init__(layout_map=keras.distribution.LayoutMap(mesh), batch_dim_name=BATCH)
        self._size = size

    def get_variable_layout(self, variable: keras.Variable) -> keras.distribution.TensorLayout:
        """How a variable lies on the devices: along one axis, or whole on each."""
        axes: list[str | None] = [None] * len(variable.shape)
        axis = divided_axis(variable, self._size)
        if axis is not None:
            axes[axis] = MODEL
        return keras.distribution.TensorLayout(axes, self.device_mesh)

    def check(self, model: keras.Model) -> None:
        """Refuses a model of which nothing is divided.

        Args:
            model: made under this distribution.

        Raises:
            ValueError: says so.
        """
        if all(divided_axis(weight, self._size) is None for weight in model.weights):
            raise ValueError(
                f"No heads of attention and no MLP of this model can be divided among {self._size} devices; choose "
                "another --model_parallel, or leave it out."
            )


def divided_axis(variable: keras.Variable, size: int) -> int | None:
    """The axis along which a variable is divided among some devices; None where it stays whole.

    Args:
        variable: a weight, or what an optimizer keeps of one.
        size: number of devices.
    """
    name = variable.path.replace("/", "_")
    axis = next((axis for pattern, axis in AXES.items() if re.search(pattern, name)), None)
    if axis is None or len(variable.shape) <= axis or variable.shape[axis] % size:
        return None
    return axis
