"""The ResNet of the hybrids: standardized kernels, padding, group normalization, units and stages."""

import keras
import numpy as np
import pytest

from keras_nest import VisionTransformer
from keras_nest.layers import ResidualUnit, ResNetStage, StdConv
from keras_nest.layers.normalization import norm
from tests import keras_models
from tests.golden import vit_loading

LAYERS = vit_loading.arrays("layers")
KERNEL_SCALES = ("1.0", "0.01", "0.0001", "1e-05")
SIDES = ("16x16", "15x18", "9x7", "32x13")  # even and odd


def below(prefix):
    return {key.removeprefix(prefix): value for key, value in LAYERS.items() if key.startswith(prefix)}


def hybrid(size):
    """A hybrid of the root alone, for images of a size such as "15x18"."""
    image_size = tuple(map(int, size.split("x")))
    narrow = {"hidden_size": 4, "num_layers": None, "classifier": "gap", "num_classes": 0, "patch_size": 1}
    return VisionTransformer(image_size=image_size, resnet_num_layers=(), resnet_width_factor=0.5, **narrow)


def std_conv(kernel, **fields):
    """A layer with the given kernel (k, k, C, filters)."""
    layer = StdConv(kernel.shape[-1], kernel.shape[0], **fields)
    layer.build((None, None, None, kernel.shape[2]))
    layer.set_weights([kernel])
    return layer


def with_random_weights(layer, shape):
    layer.build(shape)
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.standard_normal(weight.shape, np.float32))
    return layer


class TestStdConv:
    """`layers.npz` holds kernels from a deviation of 1 down to 1e-5, where epsilon is half of what one divides by."""

    def test_every_stored_scale_is_compared(self):
        assert set(below("stdconv_kernel_")) == set(KERNEL_SCALES)

    @pytest.mark.parametrize("scale", KERNEL_SCALES)
    def test_output(self, scale):
        layer = std_conv(LAYERS[f"stdconv_kernel_{scale}"], strides=2)
        np.testing.assert_allclose(layer(LAYERS["stdconv_in"]), LAYERS[f"stdconv_out_{scale}"], atol=5e-6)

    @pytest.mark.parametrize("scale", KERNEL_SCALES)
    def test_standardized_kernel(self, scale):
        kernel = LAYERS[f"stdconv_kernel_{scale}"]
        impulses = np.eye(36, dtype=np.float32).reshape(36, 3, 3, 4)  # what comes out for them is the kernel itself
        used = np.reshape(std_conv(kernel, padding="valid")(impulses), kernel.shape)
        np.testing.assert_allclose(used, LAYERS[f"stdconv_weight_{scale}"], atol=1e-6)

    def test_variant_of_timm(self):
        """Its epsilon lies in the square root, where it is as large as the variance of this kernel."""
        kernel = LAYERS["stdconv_kernel_0.0001"]
        impulses = np.eye(36, dtype=np.float32).reshape(36, 3, 3, 4)
        used = np.reshape(std_conv(kernel, padding="valid", variant="timm")(impulses), kernel.shape)
        centered = kernel.astype(np.float64) - kernel.mean((0, 1, 2))
        np.testing.assert_allclose(used, centered / np.sqrt(kernel.var((0, 1, 2)) + 1e-8), atol=1e-5)
        with pytest.raises(ValueError, match="variant is 'bit'; it must be one of 'jax', 'timm'"):
            StdConv(3, 3, "bit")

    def test_the_stored_kernel_stays_raw(self):
        kernel = LAYERS["stdconv_kernel_0.01"]
        layer = std_conv(kernel)
        layer(LAYERS["stdconv_in"])
        np.testing.assert_array_equal(layer.kernel, kernel)
        assert [weight.path.rpartition("/")[2] for weight in layer.weights] == ["kernel"]

    @pytest.mark.parametrize("size", SIDES)
    def test_same_padding_at_stride_two(self, size):
        """The root's convolution as the model builds it, without the standardization, which the data lack."""
        root = hybrid(size).get_layer("conv_root")
        ours = keras.layers.Conv2D.convolution_op(root, LAYERS[f"conv7_in_{size}"], LAYERS["conv7_kernel"])
        np.testing.assert_allclose(ours, LAYERS[f"conv7_s2_same_out_{size}"], atol=2e-5)  # values up to 40

    @pytest.mark.parametrize("size", SIDES)
    def test_pool_of_the_root(self, size):
        ours = hybrid(size).get_layer("root")(LAYERS[f"pool_in_{size}"])
        np.testing.assert_array_equal(ours, LAYERS[f"pool3_s2_same_out_{size}"])

    def test_mixed_precision(self):
        kernel, x = LAYERS["stdconv_kernel_0.01"], LAYERS["stdconv_in"]
        exact, layer = std_conv(kernel)(x), std_conv(kernel, dtype="mixed_bfloat16")
        y = layer(x)
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
        assert layer.kernel.dtype == "float32"
        np.testing.assert_allclose(keras.ops.cast(y, "float32"), exact, atol=0.01 * np.abs(exact).max())

    def test_mixed_precision_standardizes_the_float32_kernel(self):
        """bfloat16 knows no number between 1 and 1 + 2^-7: rounded first, this kernel would be all mean."""
        kernel, x = 1 + 1e-3 * LAYERS["stdconv_kernel_1.0"], LAYERS["stdconv_in"]
        exact, y = std_conv(kernel)(x), std_conv(kernel, dtype="mixed_bfloat16")(x)
        np.testing.assert_allclose(keras.ops.cast(y, "float32"), exact, atol=0.01 * np.abs(exact).max())


@pytest.mark.parametrize("scale", ["1.0", "0.01", "0.001", "0.0001"])
def test_group_norm(scale):
    """32 groups of two neighboring channels; at 1e-4 epsilon is a hundred times the variance."""
    x = LAYERS[f"gn_in_{scale}"]
    layer = norm("GN")
    layer.build(x.shape)
    layer.set_weights([LAYERS["norm_scale"], LAYERS["norm_bias"]])
    np.testing.assert_allclose(layer(x), LAYERS[f"gn_out_{scale}"], atol=2e-6)
    assert set(below("gn_in_")) == {"1.0", "0.01", "0.001", "0.0001"}


class TestResidualUnit:
    @pytest.mark.parametrize(("stride", "channels"), [(1, 128), (1, 32), (2, 128), (2, 32)])
    def test_the_shortcut_is_projected_where_stride_or_channels_change(self, stride, channels):
        unit = ResidualUnit(32, stride, name="unit1")
        unit.build((None, 8, 8, channels))
        layers = {weight.path.split("/")[1] for weight in unit.weights}
        projection = set() if (stride, channels) == (1, 128) else {"conv_proj", "gn_proj"}
        assert layers == {"conv1", "gn1", "conv2", "gn2", "conv3", "gn3"} | projection

    def test_equals_its_layers_one_after_the_other(self):
        x = np.random.default_rng(0).standard_normal((2, 9, 6, 32), np.float32)
        unit = with_random_weights(ResidualUnit(32, 2), x.shape)
        layers = {layer.name: layer for layer in unit._flatten_layers(include_self=False)}
        relu = keras.ops.relu
        y = relu(layers["gn1"](layers["conv1"](x)))
        y = relu(layers["gn2"](layers["conv2"](y)))
        y = layers["gn3"](layers["conv3"](y))
        shortcut = layers["gn_proj"](layers["conv_proj"](x))
        np.testing.assert_allclose(unit(x), relu(shortcut + y), atol=1e-5)
        strides = {name: layer.strides for name, layer in layers.items() if name.startswith("conv")}
        assert strides == {"conv1": (1, 1), "conv2": (2, 2), "conv3": (1, 1), "conv_proj": (2, 2)}

    def test_a_new_one_passes_its_input_on(self):
        x = np.random.default_rng(0).standard_normal((2, 4, 4, 128), np.float32)
        np.testing.assert_array_equal(ResidualUnit(32)(x), np.maximum(x, 0))

    @pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 1)])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_shapes(self, size, stride):
        unit = ResidualUnit(32, stride)
        shape = (2, -(-size[0] // stride), -(-size[1] // stride), 128)
        assert tuple(unit(np.ones((2, *size, 32), np.float32)).shape) == shape
        assert unit.compute_output_shape((2, *size, 32)) == shape
        assert tuple(unit(keras.Input((*size, 32), batch_size=2)).shape) == shape

    def test_other_widths_are_refused(self):
        with pytest.raises(ValueError, match="groups"):
            ResidualUnit(48).build((None, 8, 8, 32))
        with pytest.raises(ValueError, match=r"resnet_width_factor 0.3 makes a ResNet of width 19.2; .*multiple of 32"):
            VisionTransformer(resnet_num_layers=(1,), resnet_width_factor=0.3)


class TestResNetStage:
    def test_only_the_first_unit_has_the_stride(self):
        stage = ResNetStage(3, 32, stride=2, name="block2")
        stage.build((None, 8, 10, 128))
        assert [(unit.name, unit.stride) for unit in stage.units] == [("unit1", 2), ("unit2", 1), ("unit3", 1)]
        assert {weight.path.split("/")[1] for weight in stage.weights if "proj" in weight.path} == {"unit1"}
        assert stage.weights[0].path.startswith("block2/unit1/conv1/")

    def test_shapes(self):
        stage = ResNetStage(2, 32, stride=2)
        assert tuple(stage(np.ones((1, 7, 10, 32), np.float32)).shape) == (1, 4, 5, 128)
        assert stage.compute_output_shape((None, 7, 10, 32)) == (None, 4, 5, 128)

    def test_stages_double_their_width(self):
        found = keras_models.build(vit_loading.case("hybrid_1_1")).endpoints
        assert [tuple(found[name].shape[1:]) for name in ("block1", "block2")] == [(8, 8, 128), (4, 4, 256)]
