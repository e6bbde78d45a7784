"""LiT's towers as TFLite files."""

import json
import pathlib
import re
import shutil
import zipfile

import numpy as np
import pytest

import keras_nest
from keras_nest.cli import commands as cli
from keras_nest.export.tflite import to_tflite
from keras_nest.predict import read_image
from keras_nest.tflite import TFLiteModel
from tests.export import toy_lit, toys

# TFLite's converter and its calls into TensorFlow raise these about themselves.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")]

GUIDE = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "tflite.md").read_text("utf-8")
PRECISIONS = ("float32", "float16", "dynamic_int8")
# Of embeddings of length one, with random weights.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "dynamic_int8": 0.05}


@pytest.fixture(scope="module", params=toy_lit.KINDS)
def written(request, tmp_path_factory):
    """Kind of the text tower, the model, the folder and the reports."""
    model, folder = toy_lit.build(request.param), tmp_path_factory.mktemp(request.param)
    return request.param, model, folder, to_tflite(model, folder, vocab=toy_lit.vocabulary(request.param), batch_size=2)


def test_both_towers_give_the_embeddings_of_the_model(written):
    kind, model, folder, _ = written
    images, tokens = toys.pixels(5), toy_lit.tokens(model, kind).numpy()
    zimg, ztxt = toy_lit.embeddings(model, images, kind)
    for precision, tolerance in TOLERANCES.items():
        for tower, inputs, wanted in (("image", images, zimg), ("text", tokens, ztxt)):
            for count in (1, 2, len(inputs)):
                runner = TFLiteModel(folder / tower / f"{precision}.tflite")
                found = runner(inputs[:count])["embedding"]
                np.testing.assert_allclose(found, wanted[:count], rtol=0, atol=tolerance)
                np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)


def test_what_lies_where(written):
    kind, model, folder, rows = written
    vocabulary = toy_lit.vocabulary(kind)
    names = {f"{precision}.{suffix}" for precision in PRECISIONS for suffix in ("tflite", "json")}
    assert {file.name for file in (folder / "image").iterdir()} == names
    assert {file.name for file in (folder / "text").iterdir()} == {*names, f"vocab{vocabulary.suffix}"}
    assert (folder / f"text/vocab{vocabulary.suffix}").read_bytes() == vocabulary.read_bytes()
    assert [(row["tower"], row["precision"]) for row in rows] == [(t, p) for t in ("image", "text") for p in PRECISIONS]
    temperature = float(np.exp(model.get_layer("t").t.numpy()[0]))
    for row in rows:
        file = folder / row["tower"] / row["file"]
        assert json.loads(file.with_suffix(".json").read_text()) == row
        assert row["temperature"] == pytest.approx(temperature)
        assert row["max_abs_diff"] <= TOLERANCES[row["precision"]]
        with zipfile.ZipFile(file) as archive:
            assert json.loads(archive.read("similarity.json")) == {"temperature": row["temperature"]}
            assert ("preprocessing.json" in archive.namelist()) == (row["tower"] == "image")


def test_images_are_prepared_as_the_file_says(written):
    _, model, folder, _ = written
    with zipfile.ZipFile(folder / "image/float32.tflite") as archive:
        prepare = keras_nest.EvalPreprocessing(**json.loads(archive.read("preprocessing.json")))
    picture = np.random.default_rng(0).integers(0, 256, (1, 40, 31, 3), np.uint8)
    found = TFLiteModel(folder / "image/float32.tflite")(prepare(picture).numpy())["embedding"]
    toys.assert_close(found, model.encode_image(keras_nest.preprocessor(model)(picture)))


def test_existing_files(written):
    kind, model, folder, _ = written
    with pytest.raises(FileExistsError, match=r"image/float32\.tflite exists already"):
        to_tflite(model, folder, ["float32"], vocab=toy_lit.vocabulary(kind))


def test_mixed_precision(tmp_path):
    rows = to_tflite(toy_lit.build(dtype="mixed_bfloat16"), tmp_path, ["float32"], vocab=toy_lit.vocabulary())
    assert all(row["max_abs_diff"] <= TOLERANCES["float32"] for row in rows)
    # The towers of the same weights in float32.
    images = toys.pixels(2)
    found = TFLiteModel(tmp_path / "image/float32.tflite")(images)["embedding"]
    toys.assert_close(found, toy_lit.embeddings(toy_lit.build(), images)[0])


def test_the_command_and_the_recipe_of_the_guide(tmp_path, monkeypatch, capsys):
    model = toy_lit.build()
    monkeypatch.chdir(tmp_path)
    model.save("lit.keras")
    shutil.copy(toy_lit.vocabulary(), "vocab.txt")
    command = "export lit.keras --format tflite --output lit_tflite --precision float32"
    assert cli.main(command.split()) == 0
    told = capsys.readouterr().out
    assert [f"{tower}/float32" in told for tower in ("image", "text")] == [True, True]
    pathlib.Path("photo.jpg").write_bytes(toys.encode("RGB", (40, 31), "JPEG"))
    (recipe,) = [block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "get_tokenizer" in block]
    names = {}
    exec(recipe, names)
    texts = ["a photo of a dog", "a photo of a cat"]
    image = keras_nest.preprocessor(model)([read_image("photo.jpg")])
    ztxt = model.encode_text(toy_lit.tokens(model, texts=texts)).numpy()
    toys.assert_close(names["logits"], toy_lit.logits(model, model.encode_image(image).numpy(), ztxt))


def test_tokens_of_another_length(written):
    _, _, folder, _ = written
    with pytest.raises(ValueError, match=r"Tokens have the shape \(1, 8\); it must be \(B, 16\)"):
        TFLiteModel(folder / "text/float32.tflite")(np.zeros((1, 8), np.int32))
