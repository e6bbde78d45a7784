"""The Flax LiT, its BERT and its text transformer against the outputs of the original implementation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from keras_nest.conversion.flax_reference import for_config
from tests.conversion.test_flax_reference import QUICK_COMPILATION, by_name, exact_arithmetic
from tests.golden import lit_loading, synthetic

pytestmark = pytest.mark.slow

__all__ = ["exact_arithmetic"]  # a fixture that this module uses by having it

EMBEDDINGS = 5e-6


def contrastive_loss(embeddings):
    similarity = embeddings["t"] * embeddings["zimg"] @ embeddings["ztxt"].T
    return -sum(jnp.diag(jax.nn.log_softmax(similarity, axis)).mean() for axis in (0, 1)) / 2


@functools.cache
def evaluate(name):
    """(Loss, (embeddings and temperature, outputs of all modules)) and gradients of (parameters, images)."""
    case = lit_loading.case(name)
    model = for_config("LiT", case.config)

    def loss(params, images):
        variables = {"params": synthetic.nest_dict(params)}
        embeddings, state = model.apply(variables, images, case.tokens, capture_intermediates=True)
        return contrastive_loss(embeddings), (embeddings, by_name(state["intermediates"]))

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), compiler_options=QUICK_COMPILATION)
    return compiled(case.params, case.images)


@pytest.mark.parametrize("name", lit_loading.TINY)
class TestTinyModels:
    def test_outputs(self, name):
        case = lit_loading.case(name)
        (loss, (embeddings, outputs)), _ = evaluate(name)
        np.testing.assert_allclose(loss, case.expected["loss"], 0, 5e-6)
        for key, value in embeddings.items():
            np.testing.assert_allclose(value, case.expected[key], 0, EMBEDDINGS)
        for module, expected in case.intermediates.items():
            ours = outputs[f"txt/{module}/__call__"].reshape(expected.shape)
            np.testing.assert_allclose(ours, expected, 0, 5e-6, err_msg=module)

    def test_gradients(self, name):
        case = lit_loading.case(name)
        _, (ours, images) = evaluate(name)
        np.testing.assert_allclose(images, case.expected["grad_images"], 0, 5e-6)
        for path, expected in case.gradients.items():
            np.testing.assert_allclose(ours[path], expected, 0, 5e-6, err_msg=path)


@pytest.mark.parametrize("name", ["LiT-B16B", "LiT-L16Ti"])
def test_parameter_tree(name):
    model = for_config("LiT", lit_loading.config(lit_loading.FACTS["configs"][name]))
    images, tokens = jax.ShapeDtypeStruct((1, 224, 224, 3), "float32"), jax.ShapeDtypeStruct((1, 16), "int32")
    params = jax.eval_shape(model.init, jax.random.key(0), images, tokens)["params"]
    actual = {path: leaf.shape for path, leaf in flatten_dict(params, sep="/").items()}
    assert actual == lit_loading.shapes_of(name)
    assert sum(np.prod(shape) for shape in actual.values()) == lit_loading.parameter_count(name)


SIZES = {"num_layers": 1, "num_heads": 4, "mlp_dim": 256, "vocab_size": 500, "out_dim": 64}
INITIALIZED = {
    "lit_bert_text": ("Bert", {**SIZES, "hidden_size": 128, "max_length": 12}),
    "lit_text_transformer": ("TextTransformer", {**SIZES, "width": 128}),
}


@pytest.mark.parametrize("name", INITIALIZED)
def test_initial_values(name):
    init = jax.jit(for_config(*INITIALIZED[name]).init, compiler_options=QUICK_COMPILATION)
    params = init(jax.random.key(0), np.ones((1, 8), np.int32))["params"]
    flat = flatten_dict(params, sep="/")
    for path, moments in lit_loading.FACTS["init_stats"][name].items():
        if path != "t":
            value = flat[path.removeprefix("txt/")]
            assert list(value.shape) == moments["shape"], path
            assert value.std() == pytest.approx(moments["std"], rel=5 / value.size**0.5), path


def test_words_beyond_the_vocabulary():
    case = lit_loading.case("lit_bert")
    params = {"params": synthetic.nest_dict(case.params)["txt"]}
    embed = jax.jit(for_config("Bert", case.config["text_model"]).apply, compiler_options=QUICK_COMPILATION)
    last, beyond = (embed(params, np.where(case.tokens == 5, word, case.tokens)) for word in (49, 5000))
    np.testing.assert_array_equal(last, beyond)
    case = lit_loading.case("lit_text_transformer")
    params = {"params": synthetic.nest_dict(case.params)["txt"]}
    embed = jax.jit(for_config("TextTransformer", case.config["text_model"]).apply, compiler_options=QUICK_COMPILATION)
    ours = embed(params, np.where(case.tokens == 28, 40, case.tokens))
    np.testing.assert_array_equal(np.isnan(ours).all(axis=1), [True, False, False])
