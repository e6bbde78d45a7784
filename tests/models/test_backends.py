"""The models on another Keras backend: layers and models use `keras.ops` only."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_nest

DROPS = {"attn_drop": 0.1, "proj_drop": 0.1, "stochastic_depth_drop": 0.5}
SIZES = {"num_classes": 5, "image_size": (16, 24)}
NEST = {"init_patch_embed_size": 2, "embedding_dim": 8, "num_heads": 2, "num_layers_per_block": (1, 1), **DROPS}
VIT = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8, "dropout_rate": 0.1}
MODELS = {
    "multi_head": ("nest_tiny", {**NEST, "scale_hidden_dims": 2}),
    "multi_query": ("nest_tiny", {**NEST, "attn_type": "local_multi_query", "norm_type": "BN"}),
    "vit_flax": (
        "vit_flax_nest",
        {"patch_size": 2, "dim": 8, "heads": 2, "num_hierarchies": 2, "block_repeats": 1, "dropout": 0.1},
    ),
    "vit": ("ViT-B_16", {**VIT, "patch_size": 8, "representation_size": 6}),
    "hybrid": ("ViT-B_16", {**VIT, "patch_size": 1, "resnet_num_layers": (1,), "resnet_width_factor": 0.5}),
    "mixer": (
        "Mixer-B_16",
        {"patch_size": 8, "hidden_dim": 8, "num_blocks": 1, "tokens_mlp_dim": 4, "channels_mlp_dim": 8},
    ),
    "resnet": ("resnet50", {"stage_sizes": (1,), "width_factor": 0.125}),
}

# Compiling takes most of the time of so small a model, above all that of random initial values for every shape.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
JAX_PROCESS = """
import json, sys
import jax, keras, keras_nest, numpy as np
assert keras.backend.backend() == "jax"
for initializer in (keras.initializers.TruncatedNormal, keras.initializers.VarianceScaling):
    initializer.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
folder, models = sys.argv[1], json.loads(sys.argv[2])
images = np.load(f"{folder}/images.npy")
for key, (name, fields) in models.items():
    model = keras_nest.create_model(name, **fields)
    model.load_weights(f"{folder}/{key}.weights.h5")
    states = [[v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables)]
    forward = jax.jit(lambda training: model.stateless_call(*states, images, training=training)[0], static_argnums=0)
    np.savez(f"{folder}/{key}.npz", logits=forward(False), training=forward(True))
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Model -> logits on TensorFlow, and outputs from the same weights on JAX."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, *SIZES["image_size"], 3), np.float32)
    np.save(folder / "images.npy", images)
    models = {key: (name, SIZES | fields) for key, (name, fields) in MODELS.items()}
    ours = {}
    for key, (name, fields) in models.items():
        model = keras_nest.create_model(name, **fields)
        for variable in model.weights:  # larger than the initial values, which leave the logits near zero
            variable.assign(variable + 0.1 * np.abs(rng.standard_normal(variable.shape)))
        model.save_weights(folder / f"{key}.weights.h5")
        ours[key] = np.asarray(model(images))
    command = [sys.executable, "-c", JAX_PROCESS, str(folder), json.dumps(models)]
    subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": QUICK_COMPILATION})
    return {key: (ours[key], dict(np.load(folder / f"{key}.npz"))) for key in models}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with TensorFlow")
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_jax_gives_the_same_logits(outputs, name):
    tensorflow, jax = outputs[name]
    scale = np.abs(tensorflow).max()
    assert scale > 0.1
    assert np.ptp(tensorflow, axis=0).max() > 1e-3 * scale  # the images differ
    np.testing.assert_allclose(jax["logits"], tensorflow, atol=1e-5 * scale)
    if name != "mixer":
        assert np.abs(jax["training"] - jax["logits"]).max() > 1e-3 * scale  # the dropouts act
