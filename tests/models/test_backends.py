"""The models on another Keras backend: layers and models use `keras.ops` only."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests import families
from tests.families import inputs_of, outputs_of

# Some of them with dropout of every kind, which training must draw.
DROPS = {"attn_drop": 0.1, "proj_drop": 0.1, "stochastic_depth_drop": 0.5}
DROPPING = {
    "NesT with drops": lambda: families.nest(**DROPS),
    "ViT with drops": lambda: families.vit(dropout_rate=0.1),
}
MODELS = families.FAMILIES | DROPPING
# Compiling takes most of the time of so small a model, above all that of random initial values for every shape.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
JAX_PROCESS = """
import sys
import jax, keras, numpy as np
assert keras.backend.backend() == "jax"
for initializer in (keras.initializers.TruncatedNormal, keras.initializers.VarianceScaling):
    initializer.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
from tests import families
families.randomized = lambda model: model
from tests.models.test_backends import DROPPING, MODELS
for name, make in MODELS.items():
    model = make()
    model.load_weights(f"{sys.argv[1]}/{name}.weights.h5")
    states = [[v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables)]
    inputs = families.inputs_of(model)
    forward = jax.jit(lambda training: model.stateless_call(*states, inputs, training=training)[0], static_argnums=0)
    outputs = [np.asarray(x) for x in keras.tree.flatten(forward(False))]
    if name in DROPPING:
        outputs += [np.asarray(x) for x in keras.tree.flatten(forward(True))]
    np.savez(f"{sys.argv[1]}/{name}.npz", *outputs)
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with TensorFlow")
@pytest.mark.slow
def test_jax_gives_the_same_outputs(tmp_path):
    ours = {}
    for name, make in MODELS.items():
        model = make()
        model.save_weights(tmp_path / f"{name}.weights.h5")
        ours[name] = outputs_of(model, inputs_of(model))
    command = [sys.executable, "-c", JAX_PROCESS, str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": QUICK_COMPILATION})
    for name, outputs in ours.items():
        theirs = list(np.load(tmp_path / f"{name}.npz").values())
        for tensorflow, jax in zip(outputs, theirs[: len(outputs)], strict=True):
            scale = np.abs(tensorflow).max()
            assert scale > 0.05, name
            # The examples differ, but for the temperature of a LiT.
            assert np.ptp(tensorflow, axis=0).max() > 1e-3 * scale or len(tensorflow) == 1, name
            np.testing.assert_allclose(jax, tensorflow, rtol=0, atol=1e-5 * scale, err_msg=name)
        if name in DROPPING:  # the dropouts act
            assert np.abs(theirs[1] - theirs[0]).max() > 1e-3 * np.abs(theirs[0]).max(), name
