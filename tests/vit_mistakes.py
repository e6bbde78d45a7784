"""Layers of ViT, hybrids and Mixer with mistakes that a port may hold, to be put in place of the right ones."""

from functools import partial

import keras
import numpy as np
from keras import ops

from keras_nest.layers import normalization


def layer_norm(epsilon):
    return partial(keras.layers.LayerNormalization, epsilon=epsilon)


def group_norm(epsilon):
    return partial(keras.layers.GroupNormalization, groups=32, epsilon=epsilon)


def distant_groups(**kwargs):
    """Group g has the channels g, g + 32, g + 64, … instead of neighbors."""

    class Distant(keras.layers.GroupNormalization):
        def call(self, x):
            order = np.arange(x.shape[-1]).reshape(-1, self.groups).T.ravel()
            plain = keras.layers.GroupNormalization(self.groups, epsilon=self.epsilon, scale=False, center=False)
            return ops.take(plain(ops.take(x, order, axis=-1)), np.argsort(order), axis=-1) * self.gamma + self.beta

    return Distant(groups=32, epsilon=1e-6, **kwargs)


def convolution(ddof=0, outside=1e-5, inside=0.0, standardized=True, symmetric=None):
    """`StdConv.convolution_op`; with these arguments the right one."""

    def convolution_op(self, inputs, kernel):
        kernel = ops.convert_to_tensor(kernel)
        if standardized:
            count = int(np.prod(kernel.shape[:-1]))
            centered = kernel - ops.mean(kernel, axis=(0, 1, 2))
            variance = ops.sum(ops.square(centered), axis=(0, 1, 2)) / (count - ddof)
            kernel = centered / (ops.sqrt(variance + inside) + outside)
        if (self.kernel_size[0], self.strides[0]) != (symmetric, 2):
            return ops.conv(inputs, kernel, self.strides, "same")
        side = symmetric // 2
        return ops.conv(ops.pad(inputs, ((0, 0), (side, side), (side, side), (0, 0))), kernel, 2, "valid")

    return convolution_op


def pool_padded_on_both_sides(self, x):
    """`MaxPooling2D.call` of the root, padded as in PyTorch."""
    padded = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    return ops.max_pool(padded, 3, 2, padding="valid")


def unchanged(x):
    return x


def residual(shortcut=unchanged, projected=unchanged, branch=unchanged, total=ops.relu):
    """`ResidualUnit.call`; with these arguments the right one."""

    def call(self, x):
        y = x
        for i, (conv, group_norm) in enumerate(self.branch):
            y = group_norm(conv(ops.relu(y) if i else y))
        x = shortcut(x)
        if self.projection is not None:
            conv, group_norm = self.projection
            x = projected(group_norm(conv(x)))
        return total(x + branch(y))

    return call


def normalized(x):
    """What an activation before the convolutions would make of a unit's input."""
    centered = x - ops.mean(x, axis=(1, 2), keepdims=True)
    return ops.relu(centered / (ops.std(x, axis=(1, 2), keepdims=True) + 1e-3))


def stride_of_the_first(original):
    """`ResidualUnit._conv_and_norm` with the stride at conv1 instead of conv2."""

    def conv_and_norm(self, width, side, stride, conv, norm_name):
        stride = {"conv1": self.stride, "conv2": 1}.get(conv, stride)
        return original(self, width, side, stride, conv, norm_name)

    return conv_and_norm


def columns_first(self, x):
    """`MapToTokens.call`, one column after the other."""
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, x.shape[1] * x.shape[2], x.shape[3]))


def class_token_behind(self, x):
    """`ClassToken.call`, last instead of first."""
    return ops.concatenate([x, ops.broadcast_to(self.cls, (ops.shape(x)[0], 1, x.shape[-1]))], axis=1)


def class_token_without_position(self, x):
    """`AddPositionEmbs.call` of a model whose first token is the class token."""
    return ops.concatenate([x[:, :1], x[:, 1:] + self.pos_embedding[:, 1:]], axis=1)


def norm_of_the_mean(norm_type, index=0, **kwargs):
    """`norm`, but Mixer's last one comes after the mean over tokens."""

    class OfMean(keras.layers.LayerNormalization):
        def call(self, x):
            return ops.broadcast_to(super().call(ops.mean(x, axis=1, keepdims=True)), ops.shape(x))

    if kwargs.get("name") == "pre_head_layer_norm":
        return OfMean(epsilon=1e-6, **kwargs)
    return normalization.norm(norm_type, index, **kwargs)


def stem(padding, before=unchanged):
    """Mixer's patch embedding with another padding."""

    class Stem(keras.layers.Conv2D):
        def call(self, x):
            return super().call(before(x))

    def create(hidden_dim, patch_size, policy):
        return Stem(hidden_dim, patch_size, strides=patch_size, padding=padding, name="stem", dtype=policy)

    return create


def at_the_end(x):
    """Zeros at the bottom and right only, where SAME puts them on all sides."""
    return ops.pad(x, ((0, 0), (0, -x.shape[1] % 4), (0, -x.shape[2] % 4), (0, 0)))


# Parameters read otherwise, as functions of path and value.


def query_scale(path, value, power=0.0):
    """Scores times width^power instead of head_dim^-0.5, made through the query projection."""
    if "/query/" in path:
        heads, head_dim = value.shape[-2:]
        return value * head_dim**0.5 * (heads * head_dim) ** power
    return value


def heads_inside(path, value):
    """The output projection read head_dim-major."""
    if path.endswith("out/kernel"):
        return value.reshape(value.shape[1], value.shape[0], -1).transpose(1, 0, 2)
    return value


def transposed_in_space(path, value):
    square = path.endswith(("embedding/kernel", "stem/kernel", "conv_root/kernel", "conv2/kernel"))
    return value.swapaxes(0, 1) if square else value


def standardized_embedding(path, value):
    if path.endswith("/embedding/kernel"):
        return (value - value.mean((0, 1, 2))) / (value.std((0, 1, 2)) + 1e-5)
    return value
