"""No classifier is trained or evaluated with what takes its logits for probabilities, whatever it is wrapped in."""

import contextlib
import functools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.models.outputs import ClassifierHead, classifier_outputs
from keras_nest.training import Trainer, create_strategy, cross_entropy

CLASSES, SIZE = 3, 8
DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.standard_normal((6, SIZE, SIZE, 3)).astype("float32")
LABELS = np.arange(6) % CLASSES
BY_NAME = "sparse_categorical_crossentropy"
OF_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
# A patch embedding, a mean and the head: the quickest of our models.
QUICK = {"num_layers": None, "classifier": "gap", "patch_size": 4, "hidden_size": 4, "image_size": SIZE}


def classifier(**fields):
    return keras_nest.VisionTransformer(**{**QUICK, "num_classes": CLASSES, **fields})


class Subclass(keras.Model):
    """A model of a user that returns what another one does."""

    def __init__(self, inner, last=None):
        super().__init__()
        self.inner, self.last = inner, last

    def call(self, images, training=None):
        outputs = self.inner(images, training=training)
        return outputs if self.last is None else self.last(outputs)


def around(model):
    """Users' models that end with a classifier."""
    inputs = keras.Input((SIZE, SIZE, 3))
    return {
        "sequential": lambda: keras.Sequential([keras.layers.Rescaling(2.0), model]),
        "nested": lambda: keras.Sequential([keras.Sequential([inputs, model])]),
        "functional": lambda: keras.Model(inputs, model(inputs * 2)),
        "same layers": lambda: keras.Model(model.input, model.output),
        "subclass": lambda: Subclass(model),
        "subclass of the same layers": lambda: Subclass(keras.Model(model.input, model.output)),
        "subclass in a functional": lambda: keras.Model(inputs, Subclass(model)(inputs)),
        "float32 at the end": lambda: keras.Sequential([model, keras.layers.Activation("linear", dtype="float32")]),
        "dropout at the end": lambda: keras.Sequential([model, keras.layers.Dropout(0.1)]),
        "ensemble": lambda: keras.Model(inputs, keras.layers.Average()([model(inputs), model(2 * inputs)])),
        "reshaped": lambda: keras.Model(inputs, keras.ops.squeeze(keras.ops.reshape(model(inputs), (-1, 1, 3)), 1)),
    }


def with_layers_of_the_user(model):
    """Users' models whose output is probabilities, by a layer of theirs."""
    inputs = keras.Input((SIZE, SIZE, 3))
    return {
        "softmax": lambda: keras.Model(model.input, keras.layers.Softmax()(model.output)),
        "activation": lambda: keras.Sequential([model, keras.layers.Activation("softmax")]),
        "operation": lambda: keras.Model(inputs, keras.ops.softmax(model(inputs))),
        "subclass": lambda: Subclass(model, keras.layers.Softmax()),
        "tensorflow": lambda: Subclass(model, tf.nn.softmax),
        "dense": lambda: keras.Sequential([model, keras.layers.Dense(CLASSES, "softmax")]),
        "embedding": lambda: keras.Sequential([keras.Model(model.input, model.endpoints["pre_logits"])]),
    }


NAMES, NAMES_OF_THE_USER = around(classifier()), with_layers_of_the_user(classifier())


@contextlib.contextmanager
def unmoved(model):
    """Nothing is updated inside."""
    model(IMAGES)
    before = model.get_weights()
    yield
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def refused(takes, output):
    return pytest.raises(
        ValueError, match=rf"^The loss \S+ takes {takes}, but the output of the model '\w+' is {output}; "
    )


class TestUsersModels:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_loss_by_name_is_refused_before_the_first_step(self, name):
        model = around(classifier())[name]()
        model.compile("sgd", BY_NAME, run_eagerly=True)
        with unmoved(model):
            for _ in range(2):
                with refused("probabilities", "logits"):
                    model.train_on_batch(IMAGES, LABELS)
                with refused("probabilities", "logits"):
                    model.test_on_batch(IMAGES, LABELS)
        model.compile("sgd", OF_LOGITS, run_eagerly=True)
        model.train_on_batch(IMAGES, LABELS)

    @pytest.mark.parametrize("name", NAMES)
    def test_logits_asked_of_probabilities_are_refused(self, name):
        model = around(classifier(classifier_activation="softmax"))[name]()
        model.compile("sgd", OF_LOGITS, run_eagerly=True)
        with unmoved(model), refused("logits", "probabilities"):
            model.train_on_batch(IMAGES, LABELS)
        model.compile("sgd", BY_NAME, run_eagerly=True)
        model.train_on_batch(IMAGES, LABELS)

    @pytest.mark.parametrize("name", NAMES_OF_THE_USER)
    def test_what_the_user_put_on_top_counts(self, name):
        model = with_layers_of_the_user(classifier())[name]()
        model.compile("sgd", BY_NAME, run_eagerly=True)
        labels = LABELS if name != "embedding" else np.arange(6) % 4
        model.train_on_batch(IMAGES, labels)

    def test_a_softmax_on_top_gives_no_logits(self):
        model = with_layers_of_the_user(classifier())["softmax"]()
        model.compile("sgd", OF_LOGITS)
        with refused("logits", "probabilities"):
            model.fit(IMAGES, LABELS, verbose=0)

    @pytest.mark.parametrize("call", ["fit", "evaluate"])
    def test_in_a_graph_too(self, call):
        model = keras.Sequential([classifier()])
        model.compile("sgd", BY_NAME)
        with unmoved(model), refused("probabilities", "logits"):
            getattr(model, call)(IMAGES, LABELS, verbose=0)

    def test_on_several_replicas(self):
        with create_strategy("mirrored").scope():
            model = keras.Sequential([classifier()])
            model.compile("sgd", BY_NAME)
        with refused("probabilities", "logits"):
            model.fit(IMAGES, LABELS, verbose=0)

    def test_who_only_predicts_is_left_alone(self):
        model = keras.Sequential([classifier()])
        model.compile("sgd", BY_NAME)
        model.predict(IMAGES, verbose=0)
        model(IMAGES)

    def test_a_loss_of_an_earlier_compile_counts(self):
        """Keras keeps it, where the next `compile` names none."""
        model = keras.Sequential([classifier()])
        model.compile("sgd", BY_NAME)
        model.compile("sgd")
        with refused("probabilities", "logits"):
            model.fit(IMAGES, LABELS, verbose=0)

    def test_the_sentence(self):
        model = keras.Sequential([classifier()], name="mine")
        model.compile("sgd", "bce")
        with pytest.raises(ValueError, match="bce") as caught:
            model.fit(IMAGES, np.eye(3)[LABELS], verbose=0)
        assert str(caught.value) == (
            "The loss 'bce' takes probabilities, but the output of the model 'mine' is logits; write "
            "keras.losses.BinaryCrossentropy(from_logits=True)."
        )

    @pytest.mark.parametrize("metric", ["binary_accuracy", "auc", keras.metrics.Precision()])
    def test_metrics(self, metric):
        model = keras.Sequential([classifier()])
        model.compile("sgd", OF_LOGITS, weighted_metrics=[metric], run_eagerly=True)
        with pytest.raises(ValueError, match=r"^The metric \S+ takes probabilities"):
            model.train_on_batch(IMAGES, LABELS)

    def test_a_hub_module_that_is_a_classifier(self, tmp_path):
        from keras_nest import export

        layer = keras_nest.HubLayer(export.to_saved_model(classifier(), tmp_path / "hub"), trainable=True)
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layer])
        model.compile("sgd", BY_NAME)
        with refused("probabilities", "logits"):
            model.fit(IMAGES, LABELS, verbose=0)
        embedding = keras_nest.HubLayer(export.to_saved_model(classifier(), tmp_path / "body", head="none"))
        assert (layer.gives_logits, embedding.gives_logits) == (True, False)


class TestSeveralOutputs:
    def model(self):
        inner = classifier()
        other = keras.layers.Dense(CLASSES, "softmax", name="other")(inner.endpoints["pre_logits"])
        return keras.Model(inner.input, [other, inner.output])

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            ([BY_NAME, OF_LOGITS], [OF_LOGITS, BY_NAME]),
            ({"other": BY_NAME, "head": OF_LOGITS}, {"head": BY_NAME}),
            ({"head": OF_LOGITS}, {"other": OF_LOGITS, "head": "bce"}),
        ],
    )
    def test_each_has_its_loss(self, right, wrong):
        model = self.model()
        model.compile("sgd", wrong, run_eagerly=True)
        with refused("probabilities", "logits"):
            model.train_on_batch(IMAGES, [LABELS, LABELS])
        model.compile("sgd", right, metrics=[["accuracy", "auc"], None] if isinstance(right, list) else None)
        found = classifier_outputs(model)
        assert [(output.names[0], output.index, output.kind) for output in found] == [("head", 1, "logits")]

    def test_a_dictionary(self):
        inner = classifier()
        model = keras.Model(inner.input, {"answer": inner.output, "map": inner.endpoints["features"]})
        (output,) = classifier_outputs(model)
        assert "answer" in output.names
        model.compile("sgd", {"answer": BY_NAME})
        with refused("probabilities", "logits"):
            model.fit(IMAGES, {"answer": LABELS}, verbose=0)


class TestOurModels:
    @pytest.mark.parametrize("loss", [BY_NAME, [BY_NAME], {"head": BY_NAME}, keras.losses.KLDivergence()])
    @pytest.mark.parametrize("trainer", [False, True])
    def test_compile_refuses(self, loss, trainer):
        model = classifier()
        model = Trainer(model) if trainer else model
        with refused("probabilities", "logits"):
            model.compile("sgd", loss)
        assert not model.compiled

    @pytest.mark.parametrize("trainer", [False, True])
    def test_compile_refuses_logits_of_probabilities(self, trainer):
        model = classifier(classifier_activation="sigmoid")
        with refused("logits", "probabilities"):
            (Trainer(model) if trainer else model).compile("sgd", cross_entropy)

    def test_evaluation_alone(self):
        with refused("probabilities", "logits"):
            classifier().compile(loss=BY_NAME)

    @pytest.mark.parametrize("loss", ["mse", "categorical_hinge", functools.partial(cross_entropy), OF_LOGITS])
    def test_other_losses_are_fine(self, loss):
        classifier().compile("sgd", loss, metrics=["accuracy"])

    def test_trainers_of_users_models(self):
        for model in (keras.Sequential([classifier()]), Subclass(classifier())):
            trainer = Trainer(model)
            trainer.compile("sgd", BY_NAME)  # not built yet, the model does not tell what it ends with
            with refused("probabilities", "logits"):
                trainer.fit(IMAGES, LABELS, verbose=0)
            with refused("probabilities", "logits"):
                trainer.compile("sgd", BY_NAME)

    def test_an_activation_that_the_user_gave_the_head(self):
        model = classifier()
        model.get_layer("head").activation = keras.activations.softmax
        model.compile("sgd", BY_NAME)
        with refused("logits", "probabilities"):
            model.compile("sgd", OF_LOGITS)

    def test_models_without_a_head_are_as_in_keras(self):
        model = classifier(num_classes=0)
        model.compile("sgd")
        assert model.loss is None
        model.compile("sgd", BY_NAME)

    @pytest.mark.parametrize(
        ("fields", "activation", "from_logits"),
        [
            ({}, "softmax", True),
            ({"classifier_activation": "softmax"}, "softmax", False),
            ({"classifier_activation": "sigmoid"}, "sigmoid", False),
            ({"num_classes": 1}, "sigmoid", True),
        ],
    )
    @pytest.mark.parametrize("trainer", [False, True])
    def test_the_loss_that_fits(self, fields, activation, from_logits, trainer):
        model = classifier(**fields)
        model = Trainer(model) if trainer else model
        model.compile("sgd")
        assert (model.loss.activation, model.loss.from_logits) == (activation, from_logits)

    def test_no_loss_is_no_loss(self):
        model = classifier()
        model.compile("sgd", None)
        assert model.loss is None

    @pytest.mark.parametrize("labels", [LABELS, np.eye(CLASSES)[LABELS]])
    def test_it_takes_classes_and_one_hot_labels(self, labels):
        model = classifier()
        model.compile("sgd", metrics=["accuracy"])
        loss = model.test_on_batch(IMAGES, labels, return_dict=True)["loss"]
        assert loss == pytest.approx(float(OF_LOGITS(LABELS, model(IMAGES))), rel=1e-5)


class TestFiles:
    def test_a_compiled_model_comes_back_compiled(self, tmp_path):
        model = classifier()
        model.compile(keras.optimizers.Adam(0.1), metrics=["accuracy"])
        model.fit(IMAGES, LABELS, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.compiled
        assert loaded.loss.get_config() == model.loss.get_config()
        for ours, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        # And goes on as the other does.
        for one in (model, loaded):
            one.fit(IMAGES, LABELS, shuffle=False, verbose=0)
        np.testing.assert_allclose(model(IMAGES), loaded(IMAGES), rtol=1e-5)

    def test_one_that_was_compiled_wrongly_is_loaded_without_its_loss(self, tmp_path):
        model = classifier()
        keras.Model.compile(model, "adam", BY_NAME, metrics=["accuracy"])
        model.optimizer.build(model.trainable_variables)
        model.save(tmp_path / "model.keras")
        with pytest.warns(
            UserWarning, match=r"^The model is loaded without loss and metrics; compile it anew\. The loss"
        ):
            loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.loss is None
        assert isinstance(loaded.optimizer, keras.optimizers.Adam)
        with pytest.raises(ValueError, match="No loss to compute"):
            loaded.fit(IMAGES, LABELS, verbose=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            keras.saving.load_model(tmp_path / "model.keras", compile=False)

    def test_a_users_model_with_our_head(self, tmp_path):
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), classifier()])
        model.compile("sgd", OF_LOGITS)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        loaded.compile("sgd", BY_NAME)
        with refused("probabilities", "logits"):
            loaded.fit(IMAGES, LABELS, verbose=0)


def test_the_head_is_quantized_like_every_dense_layer():
    model = classifier()
    model.quantize("int8", filters="head")  # a warning, which here is an error, would say that it is left out
    assert isinstance(model.get_layer("head"), ClassifierHead)
    assert model.get_layer("head").kernel.dtype == "int8"
