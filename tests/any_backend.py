"""What a program does with toys in files, on whatever backend Keras runs: `python -m tests.any_backend DIR`."""

import contextlib
import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_nest
from keras_nest import data, explain, export, training
from keras_nest.predict import open_predictor
from keras_nest.profiling import count_macs
from tests import families, pages
from tests.export import toy_lit

VIT = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3)).astype("uint8")
TEXTS = ["a red house", "a tree"]


def write_files(folder):
    """A Flax checkpoint, models in files of Keras, and weights."""
    keras_nest.conversion.write_checkpoint(families.vit(num_classes=10, num_layers=1), folder / "vit.npz")
    families.nest().save(folder / "nest.keras")
    toy_lit.build().save(folder / "lit.keras")


def vit(folder, **fields):
    return keras_nest.create_model("ViT-Ti_16", weights=str(folder / "vit.npz"), **VIT, **fields)


def loading(folder):
    """A checkpoint of Flax, a file of Keras, uint8 images and names of classes."""
    model = vit(folder)
    preprocess = keras_nest.preprocessor(model)
    images = preprocess(IMAGES)
    (mapped,) = tf.data.Dataset.from_tensors(IMAGES).map(preprocess)
    probabilities = open_predictor(folder / "nest.keras").probabilities(IMAGES)
    return {"images": images, "mapped": mapped, "logits": model(images), "probabilities": probabilities}


def fitting(folder):
    """Five steps on batches of digits, two of which make an update.

    JAX divides the batches among its devices, and computes intermediates again, which TensorFlow does in tests of its
    own; neither changes the numbers.
    """
    on_jax = keras.backend.backend() == "jax"
    if on_jax:
        keras.distribution.set_distribution(keras.distribution.DataParallel())
    model = vit(folder, remat=on_jax)
    schedule = training.WarmupDecay(0.1, steps_per_epoch=2, num_epochs=2, warmup_epochs=0.5)
    # Of a larger epsilon, lest it make weights of the rounding of gradients that are 0, those of the keys' biases.
    optimizer = training.AdamW(schedule, epsilon=1e-2, clip_norm=0.5, accum_steps=2)
    model.compile(optimizer, metrics=["accuracy"])
    train, test, _ = data.load("digits", image_size=16, batch_size=64, preprocessing=model.config["preprocessing"])
    history = model.fit(train, steps_per_epoch=5, shuffle=False, validation_data=test.take(1), verbose=0).history
    if on_jax:
        assert len(model.weights[0].value.devices()) == 2
        keras.distribution.set_distribution(None)
    return history | {variable.path: variable for variable in model.trainable_variables}


def optimizers(folder):
    """What they keep, too, in the midst of a sum."""
    schedule = training.FineTuningDecay(0.1, 10, "linear", warmup_steps=2)
    kinds = {
        "AdamW": training.AdamW(schedule, clip_norm=1.0, accum_steps=2, use_ema=True),
        "Momentum": training.Momentum(schedule, nesterov=True, clip_norm=1.0, accum_steps=2),
        "any": training.DistributedOptimizer(keras.optimizers.SGD(schedule, 0.9), clip_norm=1.0, accum_steps=2),
    }
    found = {}
    for name, optimizer in kinds.items():
        weight = keras.Variable([1.0, 2.0])
        optimizer.build([weight])
        for gradient in ([3.0, 1.0], [1.0, 3.0], [0.0, 0.1], [0.1, 0.2], [5.0, 5.0]):
            optimizer.apply([keras.ops.array(gradient)])
        found |= {f"{name} {number}": value for number, value in enumerate((weight, *optimizer.variables))}
    return found


def explaining(folder):
    """With gradients and without."""
    nest = keras_nest.open_model(folder / "nest.keras").model
    images = keras_nest.preprocessor(nest)(IMAGES)
    found, model = explain.gradcat(nest, images, 1), vit(folder)
    levels = {f"level {number}": level.map for number, level in enumerate(found.levels)}
    own = {"map": explain.class_activation_map(model, keras_nest.preprocessor(model)(IMAGES))}
    own["rollout"] = explain.attention_rollout(model, keras_nest.preprocessor(model)(IMAGES))
    return {"box": found.levels[-1].box, "attention": explain.attention_maps(nest, images)[0].maps, **levels, **own}


def zero_shot(folder):
    """Classes that are given as texts."""
    model = keras_nest.open_model(folder / "lit.keras").model
    tokenizer = keras_nest.get_tokenizer(toy_lit.vocabulary(), model.text_model.input_shape[1])
    return {"probabilities": keras_nest.ZeroShotClassifier(model, tokenizer, TEXTS).probabilities(IMAGES)}


CASES = {case.__name__: case for case in (loading, fitting, optimizers, explaining, zero_shot)}


def run_page(folder):
    """The program of the guide as it is written, which leaves a SavedModel and what `fit` reached."""
    here = {}
    with contextlib.chdir(folder):
        exec(pages.block("docs/guides/other-backends.md", "KERAS_BACKEND"), here)
    (folder / "accuracy.json").write_text(json.dumps(here["model"].history.history["val_accuracy"]))


def export_lit(folder):
    """A SavedModel of two towers."""
    lit = keras_nest.open_model(folder / "lit.keras").model
    export.to_saved_model(lit, folder / "lit", vocab=toy_lit.vocabulary())


class InModel(keras.Model):
    """A user's model that prepares its images itself."""

    def __init__(self, preprocess):
        super().__init__()
        self.preprocess = preprocess

    def call(self, images):
        return self.preprocess(images)


def refusals(folder):
    """What other backends than TensorFlow's do not do."""
    model = vit(folder)
    preprocess = keras_nest.preprocessor(model)
    calls = {
        "sharpness": lambda: training.Trainer(model, sharpness=training.SharpnessAware(0.05)),
        "prepare": lambda: training.Trainer(model, prepare=preprocess),
        "tflite": lambda: export.to_tflite(model, folder / "tflite"),
        "onnx": lambda: export.to_onnx(model, folder / "model.onnx"),
        "inside": lambda: preprocess(keras.Input((20, 20, 3))),
        "called": lambda: InModel(preprocess).predict(IMAGES, verbose=0),
        "HubLayer": lambda: keras_nest.HubLayer(folder / "digits"),
        "count_macs": lambda: count_macs(model),
        "around": lambda: keras_nest.open_model(folder / "around.keras"),
        "graph": lambda: tf.function(explain.attention_rollout)(model, tf.zeros((1, 16, 16, 3))),
    }
    said = {}
    for name, call in calls.items():
        try:
            call()
        except ValueError as error:
            said[name] = str(error)
    return said


def main(folder):
    """Runs everything, and leaves what came of it in the folder."""
    run_page(folder)
    # Compiling random initial values for every shape takes longer than all the rest, and files give all weights.
    for initializer in (keras.initializers.TruncatedNormal, keras.initializers.VarianceScaling):
        initializer.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
    for name, case in CASES.items():
        np.savez(folder / f"{name}.npz", **{key: np.asarray(value) for key, value in case(folder).items()})
    (folder / "refusals.json").write_text(json.dumps(refusals(folder)))
    export_lit(folder)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
