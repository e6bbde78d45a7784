"""LiT and its text towers against the outputs of the reference implementation, and as Keras models."""

import functools

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_nest
from keras_nest import conversion, profiling, registry
from keras_nest.conversion import flax_reference
from keras_nest.conversion.names import checkpoint_variables
from keras_nest.conversion.tree import flatten, unflatten
from keras_nest.layers import bert, encoder
from keras_nest.layers.text import TextPositions
from keras_nest.layers.tokens import PoolTokens
from tests import keras_models, lit_models
from tests.conversion.test_flax_reference import QUICK_COMPILATION
from tests.conversion.test_flax_reference_lit import contrastive_loss
from tests.golden import lit_loading

EMBEDDINGS, INSIDE, GRADIENTS = 5e-6, 5e-6, 1e-5
PROPERTY = settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
TOY_VIT = {"image_size": 8, "patch_size": 4, "hidden_size": 12, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
TOY_BERT = {"vocab_size": 50, "hidden_size": 12, "num_layers": 2, "num_heads": 2, "mlp_dim": 20, "max_length": 12}
TOY_TEXT = {"vocab_size": 40, "width": 12, "num_layers": 1, "num_heads": 2, "mlp_dim": 20}
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 8, 8, 3), np.float32)
TOKENS = np.array([[2, 5, 30, 46, 0, 0, 0, 0], [2, 9, 9, 31, 7, 6, 5, 1], [2, 0, 0, 0, 0, 0, 0, 0]], np.int32)
BATCH = {"images": IMAGES, "tokens": TOKENS}


def toy(text="bert", dtype=None, **fields):
    towers = {"bert": (keras_nest.Bert, TOY_BERT), "transformer": (keras_nest.TextTransformer, TOY_TEXT)}
    create, sizes = towers[text]
    image = keras_nest.VisionTransformer(num_classes=0, **TOY_VIT, dtype=dtype)
    model = keras_nest.LiT(image, create(out_dim=12, max_len=8, **sizes, dtype=dtype), **fields)
    keras_models.randomize(model)
    return model


# A toy that no test may change.
toy_to_look_at = functools.cache(toy)


@functools.cache
def tiny(name):
    return lit_models.build(lit_loading.case(name))


@pytest.mark.parametrize("name", lit_loading.TINY)
class TestTinyModels:
    def test_embeddings_and_temperature(self, name):
        case = lit_loading.case(name)
        outputs = tiny(name)({"images": case.images, "tokens": case.tokens})
        for key in ("zimg", "ztxt", "t"):
            assert keras_models.gap(np.asarray(outputs[key]), case.expected[key]) <= EMBEDDINGS, key
        np.testing.assert_array_equal(tiny(name).encode_image(case.images), outputs["zimg"])
        np.testing.assert_array_equal(tiny(name).encode_text(case.tokens), outputs["ztxt"])

    def test_outputs_of_the_text_towers_modules(self, name):
        case = lit_loading.case(name)
        with keras_models.recorded_outputs() as ours:
            tiny(name).text_model(case.tokens)
        # Paths of the checkpoint that hold no layer of their own have no output of their own.
        compared = case.intermediates.keys() & ours.keys()
        assert len(compared) >= 6 or not case.intermediates
        for path in compared:
            theirs = case.intermediates[path]
            theirs = theirs.reshape(*theirs.shape[:2], -1) if theirs.ndim == 4 else theirs  # heads are merged here
            tolerance = INSIDE * max(1.0, float(np.abs(theirs).max()))
            assert keras_models.gap(np.broadcast_to(ours[path], theirs.shape), theirs) <= tolerance, path

    def test_loss_and_gradients(self, name):
        case = lit_loading.case(name)
        loss, ours = lit_models.loss_and_gradients(tiny(name), case.images, case.tokens)
        assert loss == pytest.approx(float(case.expected["loss"]), abs=GRADIENTS)
        assert keras_models.gap(ours["images"], case.expected["grad_images"]) <= GRADIENTS
        for path, value in case.gradients.items():
            assert keras_models.gap(ours[path], value) <= GRADIENTS, path


@pytest.mark.slow
@pytest.mark.large
@pytest.mark.parametrize("name", ["LiT-B16B", "LiT-B16B_2"])
def test_published_models(name):
    case = lit_loading.case(name)
    with keras_models.no_initial_values():
        model = keras_nest.create_model(name)
    assert {path: value.shape for path, value in conversion.model_tree(model).items()} == {
        f"params/{path}": shape for path, shape in lit_loading.shapes_of(name).items()
    }
    assert profiling.count_parameters(model) == registry.parameter_counts()[name]
    conversion.load_weights(model, lit_models.tree(case.params))
    outputs = model({"images": case.images, "tokens": case.tokens})
    for key in ("zimg", "ztxt", "t"):
        assert keras_models.gap(np.asarray(outputs[key]), case.expected[key]) <= EMBEDDINGS, key
    similarity = np.asarray(outputs["t"]) * np.asarray(outputs["zimg"]) @ np.asarray(outputs["ztxt"]).T
    assert keras_models.gap(similarity, case.expected["logits"]) <= 1e-5
    assert_intermediates(model.text_model, case)


@pytest.mark.parametrize(
    "name",
    [
        "LiT-L16Ti_text",
        *(pytest.param(f"LiT-L16{size}_text", marks=[pytest.mark.slow, pytest.mark.large]) for size in "SL"),
    ],
)
def test_published_text_towers(name):
    """Without the image tower, which is ViT-L_16."""
    case = lit_loading.case(name)
    fields = registry.resolve(name.removesuffix("_text"))[2]["text_model"]
    create = {tower.__name__: tower for tower in (keras_nest.Bert, keras_nest.TextTransformer)}[fields["class_name"]]
    with keras_models.no_initial_values():
        tower = create(**{field: value for field, value in fields.items() if field != "class_name"})
    values = {path.replace("txt/", "params/"): value for path, value in case.params.items() if path != "t"}
    variables = checkpoint_variables(tower)
    assert variables.keys() == values.keys()
    for path, variable in variables.items():
        variable.assign(values[path])
    ours = np.asarray(tower(case.tokens))
    ours = ours / np.linalg.norm(ours, axis=-1, keepdims=True)
    assert keras_models.gap(ours, case.expected["ztxt"]) <= EMBEDDINGS
    assert_intermediates(tower, case)


def assert_intermediates(tower, case):
    ours = keras_models.endpoints(tower, case.tokens)
    for path, value in case.intermediates.items():
        assert keras_models.gap(case.sample(path, ours[path]), value) <= 2e-5, path


@pytest.mark.parametrize("name", lit_loading.CONFIGS)
def test_published_configurations_are_the_references(name):
    _, architecture, fields = registry.resolve(name)
    assert architecture is keras_nest.LiT
    assert registry.parameter_counts()[name] == lit_loading.parameter_count(name)
    defaults = {"Bert": {"vocab_size": 30522, "max_length": 512, "num_segments": 2}, "TextTransformer": {}}
    for tower, stored in lit_loading.config(lit_loading.FACTS["configs"][name]).items():
        ours = {"max_len": 16, "vocab_size": 16000, "representation_size": None, "classifier": "token"}
        ours |= {"attention_dropout_rate": 0.0, **defaults.get(fields[tower]["class_name"], {}), **fields[tower]}
        assert {field: ours[field] for field in stored} == stored


@st.composite
def configurations(draw):
    heads = draw(st.sampled_from([1, 2]))
    width, dim = 4 * draw(st.integers(2, 3)) * heads, draw(st.integers(3, 6))
    shared = {"num_layers": draw(st.integers(0, 2)), "num_heads": heads, "mlp_dim": draw(st.integers(1, 9))}
    shared |= {"vocab_size": draw(st.integers(2, 30)), "max_len": draw(st.integers(1, 6))}
    if draw(st.booleans()):
        text = {"class_name": "Bert", "hidden_size": width, "max_length": 6, **shared}
    else:
        text = {"class_name": "TextTransformer", "width": width, **shared}
    has_head = draw(st.booleans())
    image_dim, text_dim = (dim, dim) if has_head else (0, 12)
    return {
        "image_model": {"class_name": "VisionTransformer", **TOY_VIT, "num_classes": image_dim},
        "text_model": {**text, "out_dim": text_dim},
    }


@pytest.mark.slow
@PROPERTY
@given(configurations(), st.integers(0, 2**31))
def test_flax_agrees(config, seed):
    rng = np.random.default_rng(seed)
    model = keras_nest.LiT(**config)
    keras_models.randomize(model, seed)
    tree = conversion.model_tree(model)
    images = rng.standard_normal((3, 8, 8, 3), np.float32)
    text = config["text_model"]
    tokens = rng.integers(0, text["vocab_size"], (3, text["max_len"])).astype(np.int32)
    module = flax_reference.for_config("LiT", model.config)

    def loss(params, images):
        embeddings = module.apply({"params": params}, images, tokens)
        return contrastive_loss(embeddings), embeddings

    with keras_models.exact_matmuls():
        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK_COMPILATION)
        (theirs_loss, embeddings), theirs = compiled(unflatten(tree)["params"], images)
    outputs = model({"images": images, "tokens": tokens})
    for key, value in embeddings.items():
        assert keras_models.gap(np.asarray(outputs[key]), np.asarray(value)) <= 2e-5, key
    ours_loss, ours = lit_models.loss_and_gradients(model, images, tokens)
    assert ours_loss == pytest.approx(float(theirs_loss), abs=2e-5)
    flat = dict(flatten(theirs))
    assert set(flat) == set(ours) - {"images"}
    for path, value in flat.items():
        assert keras_models.gap(ours[path], np.asarray(value)) <= max(1e-4 * float(np.abs(value).max()), 1e-5), path


@pytest.fixture(scope="module")
def towers():
    """BERT for texts of several lengths, with the same weights."""
    towers = {length: keras_nest.Bert(out_dim=5, max_len=length, **TOY_BERT) for length in (3, 8, 12)}
    for tower in towers.values():
        keras_models.randomize(tower)
    return towers


class TestPadding:
    @given(st.lists(st.integers(1, 49), min_size=1, max_size=3))
    @settings(PROPERTY, max_examples=6)
    def test_more_of_it_changes_nothing_in_bert(self, towers, text):
        padded = [tower(np.array([text + [0] * (length - len(text))])) for length, tower in towers.items()]
        for other in padded[1:]:
            np.testing.assert_allclose(other, padded[0], rtol=0, atol=5e-6)

    def test_other_texts_of_the_batch_change_nothing(self, towers):
        together = towers[8](TOKENS)
        for i, text in enumerate(TOKENS):
            np.testing.assert_allclose(towers[8](text[None])[0], together[i], rtol=0, atol=5e-6)

    def test_the_text_transformer_attends_to_it(self):
        model = toy_to_look_at("transformer")
        other = np.where(TOKENS == 0, 3, TOKENS)
        ours, theirs = (
            np.asarray(model.encode_text(np.roll(tokens, 1, axis=1))) for tokens in (TOKENS % 40, other % 40)
        )
        assert np.abs(ours - theirs)[[0, 2]].min(axis=1).max() > 1e-5
        np.testing.assert_array_equal(ours[1], theirs[1])

    def test_ids_beyond_the_vocabulary(self):
        bert, transformer = toy_to_look_at(), toy_to_look_at("transformer")
        last, beyond = (bert.encode_text(np.where(TOKENS == 5, word, TOKENS)) for word in (49, 10**6))
        np.testing.assert_array_equal(last, beyond)
        ours = transformer.encode_text(np.where(TOKENS == 46, 40, TOKENS))
        np.testing.assert_array_equal(np.isnan(ours).all(axis=1), [True, False, False])


class TestMistakes:
    """Typical mistakes of a port, made on purpose: each must be noticed."""

    @staticmethod
    def agrees(name):
        case = lit_loading.case(name)
        ours = lit_models.build(case).encode_text(case.tokens)
        return keras_models.gap(np.asarray(ours), case.expected["ztxt"]) <= EMBEDDINGS

    @pytest.mark.parametrize("name", ["lit_bert", "lit_text_transformer"])
    def test_right_code_is_not(self, name):
        assert self.agrees(name)

    @pytest.mark.parametrize(
        ("name", "owner", "attribute", "wrong"),
        [
            ("lit_bert", bert, "gelu", functools.partial(keras.ops.gelu, approximate=False)),
            ("lit_bert", bert, "padding_bias", lambda tokens: None),
            (
                "lit_bert",
                bert,
                "merge_heads",
                lambda x: keras.ops.reshape(x, (-1, x.shape[2], x.shape[1] * x.shape[3])),
            ),
            ("lit_bert", PoolTokens, "call", lambda self, x: x[:, -1]),
            ("lit_text_transformer", encoder, "gelu", functools.partial(keras.ops.gelu, approximate=False)),
            ("lit_text_transformer", PoolTokens, "call", lambda self, x: x[:, 0]),
            ("lit_text_transformer", TextPositions, "call", lambda self, x: x),
        ],
    )
    def test_wrong_code_is_noticed(self, name, owner, attribute, wrong, monkeypatch):
        monkeypatch.setattr(owner, attribute, wrong)
        assert not self.agrees(name)

    def test_epsilon_of_bert_is_so_small_that_the_scale_of_embeddings_does_not_matter(self):
        tower = keras_nest.Bert(**TOY_BERT, max_len=8)
        expected = keras_models.endpoints(tower, TOKENS, ["BertEncoder_0/layer_norm"])
        for variable in tower.weights:
            if variable.path.endswith("embeddings"):
                variable.assign(1e-3 * variable)
        ours = keras_models.endpoints(tower, TOKENS, ["BertEncoder_0/layer_norm"])
        for path, value in expected.items():
            # A variance of 1e-9 is left: an epsilon of 1e-6 would shrink all to a hundredth.
            np.testing.assert_allclose(ours[path], value, rtol=0.01, atol=0.01)


INITIALIZED = {
    "lit_bert_text": (keras_nest.Bert, {"hidden_size": 128, "max_length": 12}),
    "lit_text_transformer": (keras_nest.TextTransformer, {"width": 128}),
}


@pytest.mark.parametrize("name", INITIALIZED)
def test_initial_values(name):
    keras.utils.set_random_seed(0)
    create, widths = INITIALIZED[name]
    tower = create(out_dim=64, vocab_size=500, num_layers=1, num_heads=4, mlp_dim=256, max_len=8, **widths)
    values = conversion.model_tree(tower)
    for path, moments in lit_loading.FACTS["init_stats"][name].items():
        if path != "t":
            value = values[path.replace("txt/", "params/")]
            assert list(value.shape) == moments["shape"], path
            assert value.std() == pytest.approx(moments["std"], rel=5 / value.size**0.5), path
    assert not np.any(values["params/head/bias"])


class TestPair:
    def test_numbers_of_images_and_texts_may_differ(self):
        outputs = toy_to_look_at()(BATCH)
        assert {name: x.shape for name, x in outputs.items()} == {"zimg": (2, 12), "ztxt": (3, 12), "t": (1,)}

    def test_either_tower_alone(self):
        model = toy_to_look_at()
        both = model(BATCH)
        for part, name in (("images", "zimg"), ("tokens", "ztxt")):
            outputs = model({part: BATCH[part]})
            assert outputs.keys() == {name, "t"}
            np.testing.assert_array_equal(outputs[name], both[name])

    def test_a_nest_with_a_text_transformer(self):
        """With its image tower locked, training changes the text tower alone."""
        fields = {"image_size": 16, "init_patch_embed_size": 2, "embedding_dim": 12, "num_layers_per_block": (1, 1)}
        image = keras_nest.create_model("nest_tiny", num_classes=0, **fields)
        width = image.output_shape[-1]
        model = keras_nest.LiT(image, keras_nest.TextTransformer(width, **TOY_TEXT, max_len=8))
        image.trainable = model.get_layer("t").trainable = False
        before = [weight.numpy() for weight in image.weights]
        model.compile("adam", {"zimg": None, "ztxt": "mse", "t": None}, run_eagerly=True)
        batch = {"images": RNG.standard_normal((3, 16, 16, 3), np.float32), "tokens": TOKENS % 40}
        text = [weight.numpy() for weight in model.text_model.trainable_weights]
        model.fit(batch, {"ztxt": np.zeros((3, width), np.float32)}, verbose=0)
        assert all(np.array_equal(old, new) for old, new in zip(before, image.weights, strict=True))
        assert any(not np.array_equal(a, b) for a, b in zip(text, model.text_model.trainable_weights, strict=True))
        np.testing.assert_array_equal(model(batch, training=True)["zimg"], model(batch)["zimg"])

    def test_files_of_weights(self, tmp_path):
        """Of all else: tests/models/test_every_family.py."""
        model = toy(preprocessing={"mean": [0.5] * 3, "std": [0.5] * 3})
        model.image_model.trainable = False
        model.save_weights(tmp_path / "model.weights.h5")
        other = type(model).from_config(model.get_config())
        other.load_weights(tmp_path / "model.weights.h5")
        assert other.get_config() == model.get_config()
        assert not other.image_model.trainable_variables
        for name, value in model(BATCH).items():
            np.testing.assert_array_equal(other(BATCH)[name], value)

    def test_vectors_have_length_1_in_mixed_precision_too(self):
        outputs = toy(dtype="mixed_bfloat16")(BATCH)
        assert {x.dtype for x in outputs.values()} == {tf.float32}
        for name in ("zimg", "ztxt"):
            np.testing.assert_allclose(np.linalg.norm(outputs[name], axis=-1), 1, rtol=0, atol=1e-6)

    def test_temperature_is_the_exponential_of_t(self):
        model = toy()
        model.get_layer("t").set_weights([np.array([2.0])])
        np.testing.assert_allclose(model(BATCH)["t"], [np.exp(2)], rtol=1e-6)


class TestErrors:
    def test_sizes_that_differ(self):
        image = keras_nest.VisionTransformer(num_classes=0, **TOY_VIT)
        with pytest.raises(
            ValueError, match=r"image tower's vectors have 12 channels and the text tower's 7; .*out_dim"
        ):
            keras_nest.LiT(image, keras_nest.Bert(out_dim=7, **TOY_BERT, max_len=8))

    def test_towers_without_vectors(self):
        image = keras_nest.VisionTransformer(num_classes=12, classifier="unpooled", **TOY_VIT)
        with pytest.raises(ValueError, match=r"image tower puts out \(None, 4, 12\); it must put out vectors"):
            keras_nest.LiT(image, keras_nest.Bert(out_dim=12, **TOY_BERT, max_len=8))

    def test_text_that_is_too_long(self):
        with pytest.raises(ValueError, match="max_len is 13; the tower has positions for 12 tokens at most"):
            keras_nest.Bert(**TOY_BERT, max_len=13)
        with pytest.raises(ValueError, match=r"tokens have the shape \(3, 9\); the text tower takes \(B, 8\)"):
            toy_to_look_at().encode_text(np.ones((3, 9), np.int32))

    @pytest.mark.parametrize(
        ("create", "fields", "message"),
        [
            (keras_nest.Bert, {"num_heads": 5}, "hidden_size 768 is not a multiple of num_heads 5"),
            (keras_nest.TextTransformer, {"width": 10}, "width 10 is not a multiple of num_heads 3"),
            (keras_nest.TextTransformer, {"max_len": 0}, "max_len is 0; it must be 1 or more"),
            (keras_nest.Bert, {"out_dim": 0}, "out_dim is 0; it must be 1 or more, or None"),
            (keras_nest.TextTransformer, {"dropout_rate": 1.0}, r"dropout_rate is 1.0; it must be in \[0, 1\)"),
        ],
    )
    def test_fields_without_meaning(self, create, fields, message):
        with pytest.raises(ValueError, match=message):
            create(**fields)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"num_classes": 3}, "LiT has no field 'num_classes'"),
            ({"features_only": True}, "LiT has no field 'features_only'"),
            ({"text_model": {"class_name": "Brt"}}, "class_name of a tower is 'Brt'; did you mean Bert"),
        ],
    )
    def test_fields_of_published_models(self, fields, message):
        with pytest.raises(ValueError, match=message):
            keras_nest.create_model("LiT-L16Ti", image_model=TOY_VIT, **fields)

    def test_image_size_of_a_finished_tower(self):
        image = keras_nest.VisionTransformer(num_classes=0, **TOY_VIT)
        with pytest.raises(ValueError, match="image_size is for an image_model given by its fields"):
            keras_nest.LiT(image, keras_nest.Bert(out_dim=12, **TOY_BERT, max_len=8), image_size=16)
