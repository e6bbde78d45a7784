"""Every program that takes a SavedModel gives the numbers of the Keras model."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

import keras_nest
from tests.export import toys

pytestmark = pytest.mark.slow
BATCHES = (1, 7)
families = pytest.mark.parametrize("family", toys.FAMILIES)
WITH_FILES = ["signature", "session", "C API"]
EVERYWHERE = ["saved_model.load", "OpenVINO", *WITH_FILES]
# What loads a file as another consumer does reads that of one family.
ONCE = [("nest", "hub.load"), ("nest", "saved_model_cli")]


def each(consumers, *once):
    """Parameters: every family with each consumer, and pairs."""
    pairs = [(family, consumer) for family in toys.FAMILIES for consumer in consumers]
    return pytest.mark.parametrize(("family", "consumer"), [*pairs, *once])


def tensors(folder):
    """Names of the input and the logits of signatures in the graph."""
    content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = content.meta_graphs[0].signature_def
    return {
        name: [next(iter(signatures[name].inputs.values())).name, signatures[name].outputs["logits"].name]
        for name in ("serving_default", "serving_bytes", "serving_bytes_each")
    }


@pytest.fixture(scope="module")
def answers(published, tmp_path_factory):
    """Gives what the consumers say about a family, CONSUMER/INPUT -> array; two processes for all."""

    scratch = tmp_path_factory.mktemp("consumers")
    arrays = {f"images_{batch}": toys.pixels(batch) for batch in BATCHES}
    np.savez(scratch / "in.npz", files=np.array(toys.image_files()), labels=np.arange(7), **arrays)
    folders = {family: published(family)[1] for family in toys.FAMILIES}
    (scratch / "tensors.json").write_text(json.dumps({name: tensors(folder) for name, folder in folders.items()}))
    run("consume.py", "in.npz", "python.npz", *folders.values(), cwd=scratch)
    run("consume_natively.py", "in.npz", "tensors.json", "native.npz", *folders.values(), cwd=scratch)
    found = dict(np.load(scratch / "python.npz")) | dict(np.load(scratch / "native.npz"))

    def of_family(family):
        return {key.removeprefix(f"{family}/"): value for key, value in found.items() if key.startswith(family)}

    return of_family


def run(script, *arguments, cwd):
    command = [sys.executable, "-I", pathlib.Path(__file__).with_name(script), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


class TestAgreement:
    @each(EVERYWHERE, *ONCE)
    def test_on_pixels(self, published, answers, family, consumer):
        model, found = published(family)[0], answers(family)
        # The command line reads the file again for each.
        for batch in (7,) if consumer == "saved_model_cli" else BATCHES:
            toys.assert_close(found[f"{consumer}/images_{batch}"], toys.logits(model, toys.pixels(batch)))

    @each(WITH_FILES, ONCE[-1])
    def test_on_files(self, published, answers, family, consumer):
        expected = toys.logits_of_files(published(family)[0], toys.image_files())
        toys.assert_close(answers(family)[f"{consumer}/files"], expected)
        if consumer in WITH_FILES:  # with a bad one as the second
            toys.assert_close(answers(family)[f"{consumer}/each"], np.insert(expected, 1, 0, axis=0))

    @families
    def test_of_a_keras_3_application(self, published, family):
        model, folder = published(family)
        layer = keras_nest.HubLayer(folder)
        for batch in BATCHES:
            toys.assert_close(layer(toys.pixels(batch)), toys.logits(model, toys.pixels(batch)))

    @families
    def test_of_the_hub_layer(self, published, answers, family):
        expected = toys.logits(published(family)[0], toys.pixels(7))
        toys.assert_close(answers(family)["hub.KerasLayer/images_7"], expected)


@families
class TestFineTuning:
    def test_lowers_the_loss_and_moves_all_variables(self, published, answers, family):
        before, after = answers(family)["tuning/losses"]
        assert after < 0.95 * before
        moved = answers(family)["tuning/moved"]
        assert len(moved) == len(published(family)[0].trainable_variables)
        assert moved.all()

    def test_is_random_in_training_only(self, answers, family):
        assert answers(family)["tuning/random in inference"] == 0
        # Mixer has neither dropout nor stochastic depth.
        assert (answers(family)["tuning/random in training"] > 1e-3) == (family != "mixer")


@families
def test_the_graph_refuses_what_servers_do_not_check(answers, family):
    rank, size, empty, gray, file = answers(family)["refused"]
    for message in (rank, size, gray):
        assert "is not compatible with expected shape [?,16,16,3]" in message
    assert "The batch is empty" in empty
    assert "Image 0 of the batch is no complete JPEG or PNG file" in file
