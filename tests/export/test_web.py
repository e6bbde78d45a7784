"""What a page is made of: the two networks, LiteRT.js, and the folder. test_web_page.py looks at it in a browser."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
import keras_nest.generative.export  # brings the exporter of generators
from keras_nest import export
from keras_nest.cli import commands as cli
from keras_nest.explain import class_activation_map
from keras_nest.export.exporters import exporter_for
from keras_nest.export.web import classifier, litert
from keras_nest.export.web.classifier import describe
from keras_nest.export.web.networks import split
from tests import families, user_models
from tests.data import photographs

# TFLite's converter and its calls into TensorFlow raise these about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")

EXPLAINED = ("NesT", "ViT", "ViT, gap", *(pytest.param(name, marks=pytest.mark.slow) for name in ("hybrid", "Mixer")))


def in_unit_range(model):
    """An image in [0, 1], and as the model takes it."""
    unit = np.random.default_rng(0).random((1, *model.input_shape[1:]), np.float32)
    spec = model.config["preprocessing"] or {"mean": 0.0, "std": 1.0}
    return unit, (unit - np.float32(spec["mean"])) / np.float32(spec["std"])


@pytest.mark.parametrize("family", EXPLAINED)
def test_the_network_and_its_explanation(family):
    """Both functions together give the logits and the map of the model; the second one begins late."""
    model = families.made(family)
    unit, images = in_unit_range(model)
    networks = split(model)
    outputs, logits = networks.answer(tf.constant(unit)), model(images, training=False)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-4)
    for index in (0, 2):
        found = networks.explain(outputs["evidence"], tf.one_hot([index], logits.shape[-1]))["map"]
        np.testing.assert_allclose(found, class_activation_map(model, images, index), atol=1e-5)
    # The input of the last layer, of a class token with it, and else what is pooled.
    last = {"ViT": (1, 5, 8), "ViT, gap": (1, 4, 8), "hybrid": (1, 17, 8)}
    assert networks.evidence[0].shape == last.get(family, (1, *model.endpoints["features"].shape[1:]))


@pytest.mark.slow
def test_a_model_of_a_user(tmp_path):
    """It ends with its own activation, and the page begins at the logits all the same."""
    case = user_models.Case("NesT")
    model = exporter_for(case.wrapped("sequential", activation="sigmoid")).model
    outputs = split(model).answer(tf.constant(case.unit[:1]))
    np.testing.assert_allclose(outputs["logits"], case.logits[:1], atol=1e-5)
    facts = describe(model, None, None, None, {})
    assert (facts["output"], facts["activation"]) == ("logits", "sigmoid")


def test_a_model_without_a_map():
    """The page still answers, and says why there is no more."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(inputs)))
    networks = split(model)
    unit = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(networks.answer(tf.constant(unit))["probabilities"], model(unit), atol=1e-6)
    assert networks.explain is None
    assert "is no image model of keras_nest" in networks.why_not


@pytest.mark.slow
def test_mixed_precision_becomes_float32():
    model = families.vit(dtype="mixed_bfloat16")
    plain = families.vit()
    plain.set_weights(model.get_weights())
    unit, images = in_unit_range(model)
    np.testing.assert_allclose(split(model).answer(tf.constant(unit))["logits"], plain(images), atol=1e-5)


class TestRefused:
    """In one sentence, before any work: neither npm nor the converter is asked."""

    @pytest.fixture(autouse=True)
    def no_work(self, monkeypatch):
        monkeypatch.setattr(classifier, "split", None)
        monkeypatch.setattr(litert, "find_files", None)

    @pytest.mark.parametrize(
        ("build", "sentence"),
        [
            (families.lit, "The vocabulary of the text tower, a TextTransformer, is missing; give it: --vocab FILE"),
            (families.FAMILIES["generator"], "A generator becomes a page by .*generator_to_web"),
            (families.FAMILIES["ViT, features"], "gives no classes of an image, so that a page has nothing to show"),
            (families.FAMILIES["ViT, unpooled"], "gives no classes of an image"),
            (lambda: families.vit(num_classes=0), "gives no classes of an image"),
            (lambda: families.vit(in_channels=4), "takes 4 channels; a page has gray or color images."),
            (lambda: families.vit(preprocessing=None), "carries no preprocessing"),
            (
                lambda: several_outputs(),
                "no classes of an image, .*; take that of its outputs which has the classes, such as",
            ),
        ],
        ids=["lit", "generator", "maps", "tokens", "embedding", "channels", "preprocessing", "outputs"],
    )
    def test_models(self, build, sentence, tmp_path):
        with pytest.raises(ValueError, match=sentence):
            export.to_web(build(), tmp_path / "page")
        assert not (tmp_path / "page").exists()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"precision": "int8"}, "precision is 'int8'; it must be one of 'float16', 'float32', 'dynamic_int8'."),
            ({"activation": "none"}, "activation is 'none'; it must be one of 'softmax', 'sigmoid'."),
            ({"class_names": ["a"]}, "There are 1 class names for 3 classes"),
            ({"templates": ["a {}"]}, "A vocabulary and templates are for LiT models; leave them out."),
            ({"examples": ["gone.png"]}, "There is no file gone.png; each example must be an image file."),
        ],
    )
    def test_options(self, options, sentence, tmp_path):
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            export.to_web(families.made("ViT"), tmp_path / "page", **options)

    def test_what_is_in_the_way(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(ValueError, match="holds something else than a page of this command, and is not replaced"):
            export.to_web(families.made("ViT"), tmp_path, overwrite=True)
        with pytest.raises(FileExistsError, match="exists already"):
            export.to_web(families.made("ViT"), tmp_path)
        with pytest.raises(NotADirectoryError, match="is a file"):
            export.to_web(families.made("ViT"), tmp_path / "thesis.txt", overwrite=True)

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ("--batch-size 2", "--batch-size has no meaning for --format web; leave it out."),
            ("--head none", "--head has no meaning for --format web; leave it out."),
            ("--precision float16,float32", "--precision names 2; a page has one network, so name one."),
        ],
    )
    def test_on_the_command_line(self, words, sentence, tmp_path, capsys):
        families.made("ViT").save(tmp_path / "model.keras")
        command = ["export", f"{tmp_path}/model.keras", "--format", "web", "--output", f"{tmp_path}/page"]
        assert cli.main([*command, *words.split()]) == 2
        assert capsys.readouterr().err == f"error: {sentence}\n"

    def test_options_of_pages_are_for_pages(self, tmp_path, capsys):
        words = ["export", f"{tmp_path}/model.keras", "--format", "onnx", "--output", "x", "--title", "Cats"]
        assert cli.main(words) == 2
        assert capsys.readouterr().err == "error: --title has no meaning for --format onnx; leave it out.\n"


def several_outputs():
    model = families.vit()
    return keras.Model(model.input, [model.endpoints["pre_logits"], model.output])


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder as `npm pack` leaves it, with files of a few bytes, and a cache where nothing lies yet."""
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path / "cache"))
    content = {path: path.encode() for path in litert.FILES}
    digests = {path: base64.b64encode(hashlib.sha384(data).digest()).decode() for path, data in content.items()}
    monkeypatch.setattr(litert, "FILES", digests)
    folder = tmp_path / "packed"
    for path, data in content.items():
        package, _, name = path.partition("/")
        file = folder / package / "package" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    for package in litert.PACKAGES:
        with tarfile.open(folder / f"litertjs-{package}-{litert.VERSION}.tgz", "w:gz") as archive:
            archive.add(folder / package / "package", "package")
        shutil.rmtree(folder / package)
    return folder


class TestLiteRT:
    def test_archives_and_installed_packages(self, packages, tmp_path):
        found = litert.find_files(packages)
        assert found == {path: path.encode() for path in litert.FILES}
        for path, data in found.items():
            file = tmp_path / "project" / "node_modules" / "@litertjs" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        for folder in ("project", "project/node_modules", "project/node_modules/@litertjs"):
            assert litert.find_files(tmp_path / folder) == found

    def test_other_files(self, packages, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere with LiteRT\.js"):
            litert.find_files(tmp_path / "nowhere")
        for package in litert.PACKAGES:
            (tmp_path / package).mkdir()
        with pytest.raises(ValueError, match=r"@litertjs/core/dist/index\.js in .* is not that of LiteRT\.js 2\.5\.3"):
            litert.find_files(tmp_path)
        (packages / f"litertjs-core-{litert.VERSION}.tgz").unlink()
        with pytest.raises(FileNotFoundError, match=r"has neither litertjs-core-2\.5\.3\.tgz nor @litertjs/core"):
            litert.find_files(packages)

    def test_npm_is_called_once(self, packages, monkeypatch):
        called = []

        def run(command, cwd, **_):
            called.append(command)
            shutil.copytree(packages, cwd, dirs_exist_ok=True)
            return subprocess.CompletedProcess(command, 0)

        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(subprocess, "run", run)
        first, second = litert.find_files("npm"), litert.find_files(None)
        assert first == second == {path: path.encode() for path in litert.FILES}
        assert [command[1:] for command in called] == [
            ["pack", "@litertjs/core@2.5.3", "@litertjs/wasm-utils@2.5.3", "--silent", "--fetch-retries=1"]
        ]

    def test_npm_that_fails(self, packages, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
        failed = subprocess.CompletedProcess([], 1, stderr="npm error code ENOTFOUND\nnpm error more\n")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
        with pytest.raises(ValueError, match=r"npm does not fetch LiteRT\.js 2\.5\.3: npm error code ENOTFOUND\.$"):
            litert.find_files("npm")
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(FileNotFoundError, match="There is no program npm"):
            litert.find_files("npm")
        assert litert.find_files(None) is None is litert.find_files("cdn")

    def test_addresses_name_the_version(self):
        place = litert.fetched_by_pages()["core/wasm/litert_wasm_internal.wasm"]
        end = "/npm/@litertjs/core@2.5.3/wasm/litert_wasm_internal.wasm"
        assert place["address"].startswith("https://")
        assert place["address"].endswith(end)
        assert len(base64.b64decode(place["integrity"].removeprefix("sha384-"))) == 48


@pytest.mark.slow
def test_the_folder(tmp_path, capsys):
    """All but what a browser shows: the command writes it, and replaces it."""
    model = families.nest(num_classes=11)
    model.save(tmp_path / "model.keras")
    (tmp_path / "names.txt").write_text("\n".join(["<cat>", "dog & fox", *"abcdefghi"]))
    turned = photographs.encoded(photographs.full_size("rocket"), "JPEG", orientation=6)
    (tmp_path / "rocket.jpg").write_bytes(turned)
    command = [
        "export",
        f"{tmp_path}/model.keras",
        "--format",
        "web",
        "--output",
        f"{tmp_path}/page",
        "--litert",
        "cdn",
    ]
    command += ["--title", "Cats & <dogs>", "--labels", f"{tmp_path}/names.txt", "--examples", f"{tmp_path}/rocket.jpg"]
    assert cli.main(command) == 0
    assert "fetched by the page" in capsys.readouterr().out
    page = tmp_path / "page"
    facts = json.loads((page / "model.json").read_text())
    assert facts["name"] == "Cats & <dogs>"
    assert facts["classes"][:2] == ["<cat>", "dog & fox"]
    assert "<title>Cats &amp; &lt;dogs&gt;</title>" in (page / "index.html").read_text()
    assert facts["examples"] == [{"name": "rocket.jpg", "file": "examples/1.jpg"}]
    shown = keras_nest.predict.read_image(page / "examples/1.jpg")
    assert shown.shape[0] > shown.shape[1]  # upright, and
    assert b"Exif" not in (page / "examples/1.jpg").read_bytes()
    for word, name, on_gpu in (("answer", "model.tflite", True), ("explain", "explain.tflite", False)):
        assert facts["networks"][word] == {"file": name, "bytes": (page / name).stat().st_size, "on_gpu": on_gpu}
    first = (page / "worker.js").read_text()
    assert cli.main([*command, "--examples", "--overwrite"]) == 0
    again = json.loads((page / "model.json").read_text())
    assert (again["examples"], again["credits"]) == ([], "")
    assert (page / "worker.js").read_text().partition(";")[0] != first.partition(";")[0]  # another version
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "names.txt", "page", "rocket.jpg"]
