"""The stand-ins for published ViT, hybrid and Mixer files, loaded as a user does."""

import functools

import keras_nest
from keras_nest import conversion
from tests.golden import vit_loading

POSITIONS = "Transformer/posembed_input/pos_embedding"


def create(name, weights=None, **fields):
    """The model of a stand-in, or of another file of its kind; head, size and representation layer are the file's."""
    checkpoint = vit_loading.checkpoint(name)
    config = {k: v for k, v in checkpoint.config.items() if k not in ("num_classes", "representation_size")}
    path = checkpoint.path if weights is None else weights
    return keras_nest.create_model(_published_name(config), weights=path, **{**config, **fields})


@functools.cache
def loaded(name):
    """The model of a stand-in as it is; no test may change it."""
    return create(name)


def tensor(model, path):
    """A model's tensor by its name in the file."""
    return conversion.model_tree(model)[f"params/{path}"]


def _published_name(config):
    """A published model of the same kind, all of whose other fields are overridden."""
    if "tokens_mlp_dim" in config:
        return "Mixer-B_16"
    return "R+ViT-Ti_16" if "resnet_num_layers" in config else "testing"
