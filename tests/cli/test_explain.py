"""`keras-nest explain`, as its user sees it."""

import json

import numpy as np
import pytest
from PIL import Image

import keras_nest
from keras_nest.cli import commands as cli
from keras_nest.explain import class_activation_map, gradcat
from keras_nest.explain.view import make_view
from keras_nest.predict import read_image
from tests import keras_models
from tests.data import photographs

NAMES = ("owl", "cat, tabby", "猫", "7")
NEST = {
    "image_size": 16,
    "embedding_dim": 8,
    "num_heads": 2,
    "num_layers_per_block": (1, 1),
    "init_patch_embed_size": 2,
}
VIT = {"image_size": 16, "patch_size": 4, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 8}


@pytest.fixture(scope="module")
def models():
    made = {
        "nest": keras_nest.create_model("nest_tiny", num_classes=4, **NEST),
        "vit": keras_nest.create_model("ViT-Ti_16", num_classes=4, **VIT),
        "headless": keras_nest.create_model("nest_tiny", num_classes=0, **NEST),
    }
    for model in made.values():
        keras_models.randomize(model)
    return made


@pytest.fixture(scope="module")
def files(models, tmp_path_factory):
    """Name -> what `--model` names; an image is `photo`."""
    root = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        (root / name).mkdir()
        model.save(root / name / "model.keras")
    for name in ("nest", "vit"):
        (root / name / "classes.txt").write_text("".join(f"{label}\n" for label in NAMES), "utf-8")
    photographs.small("chelsea", (48, 36)).save(root / "photo.png")
    return {name: root / name for name in models} | {"photo": root / "photo.png"}


def explain(capsys, *arguments):
    """Exit code, what was printed, and what was complained about."""
    code = cli.main(["explain", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.slow
def test_json_of_gradcat(capsys, models, files):
    arguments = [files["photo"], "--model", files["nest"], "--class", "cat, tabby", "--json"]
    code, out, _ = explain(capsys, *arguments)
    found = json.loads(out)
    assert (code, found["image"], found["method"]) == (0, str(files["photo"]), "gradcat")
    assert (found["class"], found["label"]) == (1, "cat, tabby")
    model, image = models["nest"], read_image(files["photo"])
    expected = gradcat(model, keras_nest.preprocessor(model)(image), 1)
    shares = np.exp(expected.logits) / np.exp(expected.logits).sum()
    assert found["probability"] == pytest.approx(shares[1], rel=1e-3)
    root, leaf = found["levels"]
    assert (root["block"], leaf["block"]) == ([0, 0], expected.levels[1].block.numpy().tolist())
    np.testing.assert_allclose(root["scores"], expected.levels[0].scores, rtol=2e-3)
    # 48 x 36 pixels become 24 x 18 of which 16 x 16 are cut out, for a crop of 7/8.
    assert root["box"] == [2, 8, 34, 40]
    (row, column), (y0, x0, y1, x1) = leaf["block"], leaf["box"]
    assert (y0, x0, y1, x1) == (2 + 16 * row, 8 + 16 * column, 18 + 16 * row, 24 + 16 * column)


@pytest.mark.slow
def test_json_of_the_other_methods(capsys, models, files):
    code, out, _ = explain(capsys, files["photo"], "--model", files["vit"], "--method", "cam", "--json", "--class", 2)
    found, model = json.loads(out), models["vit"]
    heat = class_activation_map(model, keras_nest.preprocessor(model)(read_image(files["photo"])), 2).numpy()
    assert (code, found["class"]) == (0, 2)
    np.testing.assert_allclose(found["map"], heat, rtol=2e-3)
    # The whole photograph, stretched: 4 x 4 patches of 9 x 12 pixels.
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert found["box"] == [9 * row, 12 * column, 9 * row + 9, 12 * column + 12]
    for name, sizes in (("nest", [8, 4]), ("vit", [4])):
        code, out, _ = explain(capsys, files["photo"], "--model", files[name], "--method", "attention", "--json")
        assert (code, [len(heat) for heat in json.loads(out)["maps"]]) == (0, sizes)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "method"), [("nest", "gradcat"), ("nest", "cam"), ("vit", "attention")])
def test_pictures_differ_with_the_method(capsys, files, tmp_path, monkeypatch, model, method):
    monkeypatch.chdir(files["photo"].parent)  # so that the path fits into a line of the table
    asked = ["photo.png", "--model", files[model], "--method", method, "--save", tmp_path]
    code, out, _ = explain(capsys, *asked)
    assert code == 0
    assert "photo.png" in out
    assert any(name in out for name in NAMES)
    pixels = np.asarray(Image.open(tmp_path / "photo.png").convert("RGB")).astype(int)
    colored = (np.ptp(pixels, axis=-1) > 40).mean()
    assert colored > 0.05, "boxes, heat and bars"
    code, _, err = explain(capsys, *asked)
    assert (code, "photo.png exists already; pass --overwrite to replace it" in err) == (2, True)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (
            "vit",
            [],
            "GradCAT descends NesT's tree of blocks, which a VisionTransformer does not have; class_activation",
        ),
        ("headless", [], "gives no classes; it must be a classifier of images, with a head"),
        ("nest", ["--class", "4"], "There is no class 4; the model's classes are 0 to 3."),
        ("nest", ["--class", "owls"], "There is no class 'owls'; did you mean owl?"),
        ("nest", ["--model", "nest_tiny"], "nest_tiny is the name of a model, not a trained one"),
    ],
)
def test_bad_input(capsys, files, model, arguments, message):
    code, out, err = explain(capsys, files["photo"], "--model", files[model], *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_images_that_cannot_be_read_are_told_and_the_others_explained(capsys, files, tmp_path):
    """Of a class whose name is a number, which comes before an index."""
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = (tmp_path / "broken.png", files["photo"])
    code, out, err = explain(capsys, *images, "--model", files["nest"], "--class", "7", "--json")
    assert code == 1
    assert (json.loads(out)["image"], json.loads(out)["class"]) == (str(files["photo"]), 3)
    assert len(err.splitlines()) == 1
    assert "broken.png" in err


def test_view_of_a_crop_and_of_a_squeezed_image(models):
    image = np.zeros((36, 48, 3), np.uint8)
    crop = make_view(image, keras_nest.preprocessor(models["nest"]))
    assert (crop.resized, crop.corner, crop.extent) == ((18, 24), (1, 4), (-4, 20, 17, -1))
    squeezed = make_view(image, keras_nest.preprocessor(models["vit"]))
    assert (squeezed.extent, squeezed.to_file(np.array([0, 4, 8, 16]))) == ((0, 16, 16, 0), [0, 12, 18, 48])
