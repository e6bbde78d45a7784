"""Names of variables: the Keras layer tree mirrors the Flax module tree, so a path here is a path there.

What differs is below, and it is the same for every model: there is no table of tensors.
"""

# Leaf names that Keras fixes -> those of Flax.
_LEAVES = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
    "embeddings": "embedding",
}
STATISTICS = ("moving_mean", "moving_variance")


def flax_path(keras_path: str) -> str:
    """Path of a Keras variable in the Flax variables, collection first.

    >>> flax_path("EncoderNDBlock_0/LayerNorm_0/gamma")
    'params/EncoderNDBlock_0/LayerNorm_0/scale'
    """
    *layers, leaf = keras_path.split("/")
    collection = "batch_stats" if leaf in STATISTICS else "params"
    # A parameter in the root of the Flax tree is, in Keras, a layer with one variable of the same name.
    parents = [] if layers == [leaf] else layers
    return "/".join([collection, *parents, _LEAVES.get(leaf, leaf)])
