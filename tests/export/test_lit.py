"""LiT as a SavedModel: images and strings in, and what is wrong with a vocabulary."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import export
from keras_nest.cli import commands as cli
from keras_nest.data.decoding import decode_upright
from keras_nest.export.exporters import exporter_for
from tests import keras_models
from tests.export import serving, toy_lit, toys

OF_IMAGES = ("encode_image", "encode_image_bytes", "serving_default", "zero_shot", "zero_shot_bytes")
SIGNATURES = {"encode_text", *OF_IMAGES, *(f"{name}_each" for name in OF_IMAGES)}
IMAGES = toys.pixels(3)
FILES = toys.image_files()[:2]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Gives a small model with one kind of text tower, and the directory of its export."""
    folder = tmp_path_factory.mktemp("lit")

    @functools.cache
    def export_kind(kind):
        model = toy_lit.build(kind)
        return model, export.publish(model, folder / kind, vocab=toy_lit.vocabulary(kind), warm_up=kind == "text")

    return export_kind


def expected(model, kind):
    """What each signature shall answer to `IMAGES`, `FILES` and `TEXTS`, as SIGNATURE/OUTPUT; all of them are good."""
    zimg, ztxt = toy_lit.embeddings(model, IMAGES, kind)
    decoded = [decode_upright(tf.constant(file), 1) for file in FILES]
    of_files = model.encode_image(keras_nest.preprocessor(model)(decoded)).numpy()
    found = {"encode_text/embedding": ztxt, "serving_default/embedding": zimg}
    for suffix, embedding in (("", zimg), ("_bytes", of_files)):
        found[f"encode_image{suffix}/embedding"] = embedding
        found[f"zero_shot{suffix}/logits"] = logits = toy_lit.logits(model, embedding, ztxt)
        found[f"zero_shot{suffix}/probabilities"] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    each = {key.replace("/", "_each/"): value for key, value in found.items() if "text" not in key}
    return found | each


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(exported("bert")[1])


class TestSignatures:
    @pytest.mark.slow
    def test_all_answer_as_keras_does(self, exported, loaded):
        assert set(loaded.signatures) == SIGNATURES
        images, files, texts = {"images": IMAGES}, {"image_bytes": FILES}, {"texts": toy_lit.TEXTS}
        answers = {}
        for name, serve in loaded.signatures.items():
            given = texts if name == "encode_text" else files if "bytes" in name else images
            given = {**given, **texts} if name.startswith("zero_shot") else given
            answer = serve(**{key: tf.constant(value) for key, value in given.items()})
            told = {output: answer.pop(output) for output in ("status", "message") if name.endswith("_each")}
            assert not any(map(np.any, told.values()))
            answers |= {f"{name}/{output}": value for output, value in answer.items()}
        wanted = expected(exported("bert")[0], "bert")
        assert answers.keys() == wanted.keys()
        for key, value in wanted.items():
            toys.assert_close(answers[key], value)

    @pytest.mark.slow
    def test_a_bad_image_costs_no_other_its_answer(self, loaded):
        files, texts = [FILES[0], b"", FILES[1]], tf.constant(toy_lit.TEXTS)
        answers = loaded.signatures["zero_shot_bytes_each"](image_bytes=tf.constant(files), texts=texts)
        alone = loaded.signatures["zero_shot_bytes"](image_bytes=tf.constant(FILES), texts=texts)
        np.testing.assert_array_equal(answers["logits"], np.insert(alone["logits"], 1, 0, axis=0))
        assert answers["status"].numpy().tolist() == [0, 3, 0]

    @pytest.mark.slow
    def test_the_object_is_a_feature_vector_of_images(self, exported, loaded):
        model, folder = exported("bert")
        toys.assert_close(loaded(IMAGES), toy_lit.embeddings(model, IMAGES)[0])
        assert len(loaded.trainable_variables) == len(model.image_model.trainable_variables)
        stored = sum(file.stat().st_size for file in (folder / "variables").iterdir())
        assert 4 * model.count_params() <= stored < 4 * model.count_params() + 20_000

    @pytest.mark.parametrize(
        ("signature", "given", "message"),
        [
            ("encode_text", {"texts": []}, "it must hold a text at least"),
            ("zero_shot", {"images": IMAGES, "texts": []}, "it must hold a text at least"),
            ("zero_shot", {"images": IMAGES[:0], "texts": ["cat"]}, "it must hold an image at least"),
            ("encode_text", {"texts": [["a", "b"]]}, "not compatible with expected shape"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, loaded, signature, given, message):
        dtypes = {"images": tf.float32, "texts": tf.string}
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            loaded.signatures[signature](**{key: tf.constant(value, dtypes[key]) for key, value in given.items()})

    def test_the_card(self, exported):
        model, folder = exported("bert")
        card = (folder / "README.md").read_text("utf-8")
        facts = [
            "import tensorflow_text",
            "first 16 tokens",
            '["zero_shot_bytes"](image_bytes=image_bytes, texts=texts)',
        ]
        facts += [f"{model.count_params():,} parameters", f"Logits are {np.exp(model.get_layer('t').t[0]):.6g} x"]
        for fact in facts:
            assert fact in card, fact
        assert {line.split("|")[1].strip() for line in card.splitlines() if "| input |" in line} == SIGNATURES


@pytest.fixture(scope="module")
def answers(exported, tmp_path_factory):
    """What the consumers say about both kinds, KIND/CONSUMER/SIGNATURE/OUTPUT -> array; one process for all."""
    scratch = tmp_path_factory.mktemp("consumers")
    texts = np.array([text.encode() for text in toy_lit.TEXTS])
    np.savez(scratch / "in.npz", images=IMAGES, files=np.array(FILES), texts=texts)
    script, folders = Path(__file__).with_name("consume_lit.py"), [exported(kind)[1] for kind in toy_lit.KINDS]
    command = [sys.executable, "-I", script, "in.npz", "out.npz", *folders]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(scratch / "out.npz"))


@pytest.mark.slow
class TestConsumers:
    @pytest.mark.parametrize("kind", toy_lit.KINDS)
    def test_give_the_numbers_of_the_model(self, exported, answers, kind):
        wanted = expected(exported(kind)[0], kind)
        for key, value in wanted.items():
            toys.assert_close(answers[f"{kind}/load/{key}"], value)
            toys.assert_close(answers[f"{kind}/session/{key}"], value)
        embedding = answers[f"{kind}/OpenVINO/serving_default/embedding"]
        toys.assert_close(embedding, wanted["serving_default/embedding"])

    def test_the_keras_3_layer(self, exported):
        model, folder = exported("bert")
        layer = keras_nest.HubLayer(folder, trainable=True)
        toys.assert_close(layer(IMAGES), toy_lit.embeddings(model, IMAGES)[0])

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_serving_and_its_warm_up(self, exported):
        _, folder = exported("text")
        with serving.serve(folder) as (service, _):
            assert set(service.warmed_up) == SIGNATURES
            assert service.warmed_up["zero_shot_bytes"]["probabilities"].shape == (1, 1)

    def test_mixed_precision_gives_float32(self):
        _, signatures = exporter_for(toy_lit.build(dtype="mixed_bfloat16")).serve(vocab=toy_lit.vocabulary())
        for signature in signatures.values():
            outputs = signature.get_concrete_function().structured_outputs
            told = {outputs.pop(name).dtype for name in ("status", "message") if name in outputs}
            assert told in ({tf.int32, tf.string}, set())
            assert {value.dtype for value in outputs.values()} == {tf.float32}

    def test_towers_of_other_kinds(self, small_nest, tmp_path):
        """A NesT without a word on preprocessing has no signatures for files."""
        nest = small_nest(num_classes=0, preprocessing=None)
        text = keras_nest.Bert(**{**toy_lit.KINDS["bert"][1], "out_dim": nest.output_shape[-1]})
        model = keras_nest.LiT(nest, text)
        keras_models.randomize(model)
        folder = export.publish(model, tmp_path, vocab=toy_lit.vocabulary(), warm_up=False)
        signatures = tf.saved_model.load(folder).signatures
        assert set(signatures) == {name for name in SIGNATURES if "bytes" not in name}
        toys.assert_close(signatures["encode_image"](tf.constant(IMAGES))["embedding"], model.encode_image(IMAGES))
        assert "images = tf.zeros((1, 16, 16, 3))" in (folder / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A .keras file of a small LiT that has been trained on nothing."""
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    toy_lit.build().save(path)
    return path


@pytest.fixture
def run(capsys, file, tmp_path):
    """Runs `keras-nest export` of the file in this process: exit code, output, errors."""

    def run_here(*arguments):
        code = cli.main(["export", str(file), "--output", str(tmp_path / "out"), *map(str, arguments)])
        return code, *capsys.readouterr()

    return run_here


class TestCommandLine:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ("saved_model", r"vocabulary of the text tower, a Bert, is missing; give it: --vocab FILE .* \.txt file"),
            ("tflite", r"vocabulary of the text tower, a Bert, is missing"),
            ("saved_model --vocab {sp}", r"sp\.model is for the other kind of text tower; Bert takes a WordPiece"),
            ("saved_model --vocab {large}", r"large\.txt has 70 tokens, but .* has 64 rows"),
            ("saved_model --vocab missing.txt", r"missing\.txt does not exist"),
            ("saved_model --vocab {vocab} --head none", r"--head has no meaning for a LiT model; leave it out\."),
            ("saved_model --vocab {vocab} --activation softmax", r"--activation has no meaning for a LiT model"),
            ("tflite --vocab {vocab} --representative digits", r"--representative has no meaning for a LiT model"),
            ("tflite --vocab {vocab} --precision int8", r"int8 is not for LiT models"),
            ("onnx", r"A LiT model has two inputs; export it as saved_model or tflite"),
        ],
    )
    def test_wrong_options_are_one_sentence(self, run, tmp_path, arguments, sentence):
        (tmp_path / "large.txt").write_text("[CLS]\n[UNK]\n" + "".join(f"piece{i}\n" for i in range(68)))
        files = {"sp": toy_lit.vocabulary("text"), "vocab": toy_lit.vocabulary(), "large": tmp_path / "large.txt"}
        code, told, errors = run("--format", *arguments.format(**files).split())
        assert (code, told) == (2, "")
        assert re.fullmatch(f"error: .*{sentence}.*\n", errors), errors
        assert not list((tmp_path / "out").rglob("*"))

    def test_without_tensorflow_text(self, run, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_text", None)
        code, _, errors = run("--format", "saved_model", "--vocab", toy_lit.vocabulary())
        assert code == 2
        assert "pip install 'keras-nest[lit]'" in errors

    def test_a_vocabulary_for_a_model_without_texts(self, small_nest):
        with pytest.raises(ValueError, match="A vocabulary is for LiT models; 'nest' reads no texts"):
            export.to_saved_model(small_nest(), "out", vocab=toy_lit.vocabulary())

    def test_options_of_classifiers_in_python(self):
        with pytest.raises(ValueError, match="head and activation are for classifiers; a LiT model has embeddings"):
            export.to_saved_model(toy_lit.build(), "out", vocab=toy_lit.vocabulary(), activation="sigmoid")

    @pytest.mark.slow
    def test_the_vocabulary_beside_the_file_is_found(self, run, file, tmp_path):
        beside = file.with_name("vocab.txt")
        beside.write_bytes(toy_lit.vocabulary().read_bytes())
        try:
            code, told, errors = run("--format", "saved_model", "--no-warm-up")
        finally:
            beside.unlink()
        assert (code, errors) == (0, "")
        assert "vocabulary" in told
        assert (tmp_path / "out/1/saved_model.pb").is_file()
        assert re.search(r"zero_shot +│ images, texts -> logits, probabilities", told)
