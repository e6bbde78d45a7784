"""One way to open a model: what each kind of source gives, and that every command takes the same ones."""

import json
import shutil

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict

import keras_nest
from keras_nest import conversion
from keras_nest.cli import commands as cli
from keras_nest.opening import find_model, find_vocabulary, open_model
from keras_nest.predict import open_predictor
from keras_nest.training.lit import image_tower
from keras_nest.zero_shot.open import open_lit
from tests import families, keras_models

NAMES = ("owl", "Käuzchen", "cat, tabby")
FACTS = {"metrics.json": {"top1": 0.5}, "config.json": {"dataset": "digits", "loss": "sigmoid"}}


@pytest.fixture(scope="module")
def model():
    made = keras_nest.create_model("testing", num_classes=3, image_size=32)
    keras_models.randomize(made)
    return made


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A file or directory of each kind, read only."""
    root = tmp_path_factory.mktemp("models")
    for name in ("run", "lit", "gan", "unfinished", "empty", "saved/1", "beside"):
        (root / name).mkdir(parents=True)
    write_run(root / "run", model)
    model.save(root / "bare.keras")
    conversion.write_checkpoint(model, root / "testing.npz")
    conversion.write_checkpoint(model, root / "mine.npz")
    families.lit().save(root / "lit" / "model.keras")
    (root / "lit" / "vocab.txt").write_text("[PAD]\n")
    families.FAMILIES["generator"]().save(root / "gan" / "generator.keras")
    families.FAMILIES["TextTransformer"]().save(root / "text.keras")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(root / "other.keras")
    shutil.copy(root / "run" / "config.json", root / "unfinished")
    for name in ("saved/1/saved_model.pb", "file.tflite", "file.onnx", "notes.txt"):
        (root / name).write_text("text")
    keras.utils.save_img(root / "image.png", np.zeros((4, 4, 3)), scale=False)
    return root


@pytest.fixture
def here(folder, monkeypatch):
    """Sources are relative to the folder."""
    monkeypatch.chdir(folder)
    return folder


def write_run(path, model):
    """What a training leaves."""
    model.save(path / "model.keras")
    (path / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES), "utf-8")
    for name, content in FACTS.items():
        (path / name).write_text(json.dumps(content))


# Words: source, and weights. A classifier of the same weights each; whether it is a run, and whether it has names.
SOURCES = {
    "run": (("run",), True, True),
    "run, as people type it": (("run/",), True, True),
    "file of a run": (("run/model.keras",), True, True),
    "file": (("bare.keras",), False, False),
    "checkpoint that tells its model": (("testing.npz",), False, False),
    "name and checkpoint": (("testing", "mine.npz"), False, False),
    "name and file": (("testing", "bare.keras"), False, False),
    "name and run": (("testing", "run"), True, True),
}
# One of each kind of file, for each command: what the others are is found before a command sees it.
FOR_COMMANDS = ("run", "checkpoint that tells its model", "name and run")


class TestWhatIsOpened:
    @pytest.mark.parametrize("kind", SOURCES)
    def test_model_and_what_is_known_of_it(self, here, model, kind):
        words, is_run, has_names = SOURCES[kind]
        loaded = open_model(*words)
        assert loaded.model.name == "testing"
        for ours, theirs in zip(loaded.model.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert loaded.class_names == (NAMES if has_names else None)
        assert (loaded.metrics, loaded.config) == (tuple(FACTS.values()) if is_run else ({}, {}))
        assert loaded.vocabulary is None

    def test_paths_of_the_standard_library(self, folder):
        assert open_model(folder / "run").class_names == NAMES
        assert open_model("testing", folder / "run").class_names == NAMES

    def test_a_lit_and_its_vocabulary(self, here):
        loaded = open_model("lit")
        assert isinstance(loaded.model, keras_nest.LiT)
        assert str(loaded.vocabulary) == "lit/vocab.txt"

    @pytest.mark.parametrize("source", ["gan", "gan/generator.keras"])
    def test_a_generator(self, here, source):
        assert isinstance(open_model(source).model, keras_nest.NesTGenerator)

    def test_a_name_alone(self, here, model):
        assert open_model("testing", untrained=True).model.num_classes == 1000
        with pytest.raises(ValueError, match="testing is the name of a model, not a trained one; add its weights"):
            open_model("testing")

    @pytest.mark.parametrize("made", [[], ["config.json"]])
    def test_a_directory_of_that_name_without_a_model(self, made, tmp_path, monkeypatch, model):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "testing").mkdir()
        for name in made:
            (tmp_path / "testing" / name).write_text("{}")
        assert open_model("testing", untrained=True).model.num_classes == 1000
        with pytest.raises(ValueError, match="testing is the name of a model, not a trained one"):
            open_model("testing")

    def test_what_lies_there_goes_before_a_name(self, tmp_path, monkeypatch, model):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "testing").mkdir()
        write_run(tmp_path / "testing", model)
        for untrained in (False, True):
            assert open_model("testing", untrained=untrained).model.num_classes == 3
        # With weights, it can only be the name.
        assert open_model("testing", "testing").class_names == NAMES


class TestClassNames:
    def test_from_elsewhere(self, here, tmp_path):
        # As an editor of Windows writes it.
        (tmp_path / "mine.txt").write_bytes("\ufeffa\r\nb\r\nc".encode())
        for words, *_ in SOURCES.values():
            assert find_model(*words)  # each kind takes the same option
        assert open_model("run", labels=tmp_path / "mine.txt").class_names == ("a", "b", "c")
        assert open_model("testing", "mine.npz", tmp_path / "mine.txt").class_names == ("a", "b", "c")

    def test_a_model_without_classes_has_none(self, tmp_path):
        keras_nest.create_model("testing", num_classes=0, image_size=32).save(tmp_path / "model.keras")
        (tmp_path / "classes.txt").write_text("left over\n")
        assert open_model(tmp_path).class_names is None
        with pytest.raises(ValueError, match="1 class names for 0 classes"):
            open_model(tmp_path, labels=tmp_path / "classes.txt")

    @pytest.mark.parametrize(("content", "count"), [(b"a\nb\n", 2), (b"", 0), (b"a\n\nb\nc\n", 4)])
    def test_their_number_must_fit(self, folder, tmp_path, content, count):
        shutil.copy(folder / "bare.keras", tmp_path)
        (tmp_path / "classes.txt").write_bytes(content)
        sentence = rf"classes.txt has {count} class names for 3 classes; there must be one for each"
        with pytest.raises(ValueError, match=sentence):
            open_model(tmp_path / "bare.keras")

    def test_what_is_no_file_of_names_is_refused(self, here, tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no file of class names"):
            open_model("run", labels="none.txt")
        (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ValueError, match="is no text in UTF-8; it must hold one class name a line"):
            open_model("run", labels=tmp_path / "classes.txt")


def test_vocabularies_lie_beside_a_model_or_under_its_name(tmp_path):
    assert find_vocabulary(tmp_path / "tiny.npz") is None
    (tmp_path / "tiny.model").write_text("x")
    assert find_vocabulary(tmp_path / "tiny.npz") == tmp_path / "tiny.model"
    (tmp_path / "vocab.txt").write_text("x")
    assert find_vocabulary(tmp_path) == find_vocabulary(tmp_path / "tiny.npz") == tmp_path / "vocab.txt"


# Of each command, as it is typed with a model in front of its options.
COMMANDS = {
    "info": "info MODEL WEIGHTS",
    "convert": "convert MODEL WEIGHTS out.keras",
    "convert --to-flax": "convert MODEL WEIGHTS out.npz --to-flax",
    "export": "export MODEL --weights WEIGHTS --format tflite --output out",
    "predict": "predict IMAGE --model MODEL --weights WEIGHTS",
    "explain": "explain IMAGE --model MODEL --weights WEIGHTS --method cam",
    "zero-shot": "zero-shot IMAGE --model MODEL --weights WEIGHTS --labels a b --vocab VOCAB",
}


def words_of(command, source, weights, folder):
    """The words of a command line."""
    words = COMMANDS[command].replace("info MODEL WEIGHTS", "info MODEL --weights WEIGHTS").split()
    if weights is None:
        words = [word for word in words if word not in ("--weights", "WEIGHTS")]
    known = {"MODEL": source, "WEIGHTS": weights, "IMAGE": str(folder / "image.png"), "VOCAB": "lit/vocab.txt"}
    return [known.get(word, word) for word in words]


@pytest.fixture
def run(capsys, here, tmp_path):
    """Runs a command on a model; returns its exit code, what was printed, and the sentence of an error."""

    def run(command, source, weights=None):
        outputs = {"out": "", "out.keras": "", "out.npz": ""}
        words = [str(tmp_path / word) if word in outputs else word for word in words_of(command, source, weights, here)]
        code = cli.main(words)
        printed = capsys.readouterr()
        return code, printed.out, " ".join(printed.err.split())

    yield run
    leftovers = [path.name for path in here.iterdir() if path.name.startswith(("out", ".partial"))]
    assert leftovers == []


REMEDY = "give a .keras file, the directory of a finished training, or the name of a model with its weights "
REMEDY += "(--weights CHECKPOINT, weights=…)."
PREDICTED = "which only `keras-nest predict` reads"
EXPORTED = "give the .keras file or the directory of a training that it comes from."
REFUSED = {
    "unknown name": (("testin",), "There is no model 'testin'; did you mean testing"),
    "unknown name and weights": (("testin", "mine.npz"), "There is no model 'testin'; did you mean testing"),
    "name without weights": (("testing",), "testing is the name of a model, not a trained one; add its weights"),
    "name, and weights that are not there": (("testing", "none.npz"), "There is no checkpoint none.npz; give a .flax"),
    "name, and a file that is not there": (("testing", "none.keras"), "There is no model none.keras."),
    "name, and a directory without weights": (("testing", "empty"), "The directory empty holds no checkpoint: neither"),
    "name, and a SavedModel": (("testing", "saved"), f"saved is a SavedModel, {PREDICTED}; {EXPORTED}"),
    "name, and a generator": (("testing", "gan"), "gan/generator.keras holds a NesTGenerator, which is no checkpoint"),
    "path and weights": (("run", "mine.npz"), "run is a path, which has weights of its own; leave the others out"),
    "path that is not there": (("runs/none",), f"There is no model runs/none; {REMEDY}"),
    "path that is not there, and weights": (("runs/none", "mine.npz"), f"There is no model runs/none; {REMEDY}"),
    "file that is not there": (("none.keras",), "There is no model none.keras."),
    "directory without a model": (("empty",), f"The directory empty holds no model; {REMEDY}"),
    "training that is not finished": (("unfinished",), f"The directory unfinished holds no model; {REMEDY}"),
    "checkpoint that tells no model": (("mine.npz",), "The file name mine.npz does not tell which model it is; give"),
    "text": (("notes.txt",), f"The file name notes.txt does not tell which model it is; {REMEDY}"),
    "model of another package": (("other.keras",), "other.keras holds a Sequential, which is no model of keras_nest."),
    "address": (("s3://bucket/run",), "s3://bucket/run: TensorFlow has no file system for s3://"),
}  # fmt: skip
EXPORTS = {
    "SavedModel": ("saved", f"saved is a SavedModel, {PREDICTED}; {EXPORTED}"),
    "TFLite": ("file.tflite", f"file.tflite is a TFLite file, {PREDICTED}; {EXPORTED}"),
    "ONNX": ("file.onnx", f"file.onnx is an ONNX file, which nothing here reads; {EXPORTED}"),
}
DOORS = {
    "open_model": open_model,
    "open_predictor": open_predictor,
    "open_lit": lambda source, weights=None: open_lit(source, weights, "lit/vocab.txt"),
}


class TestOneSentence:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_commands(self, command, run):
        for kind, ((source, *weights), sentence) in REFUSED.items():
            if (command, kind) == ("info", "name without weights"):
                continue  # its facts are known without
            code, output, error = run(command, source, *weights)
            assert (code, output.strip()) == (2, ""), kind
            assert error.startswith(f"error: {sentence}"), kind

    @pytest.mark.parametrize("door", DOORS)
    def test_of_python(self, door, here):
        for kind, (words, sentence) in REFUSED.items():
            with pytest.raises((ValueError, FileNotFoundError)) as caught:
                DOORS[door](*words)
            assert str(caught.value).startswith(sentence), kind

    def test_of_trainings(self, here):
        for kind, (words, sentence) in REFUSED.items():
            if len(words) == 1:
                with pytest.raises((ValueError, FileNotFoundError)) as caught:
                    image_tower(ConfigDict({"image_tower": words[0]}))
                assert str(caught.value).startswith(sentence), kind

    def test_of_weights(self, here):
        for kind, ((name, *weights), sentence) in REFUSED.items():
            if weights and "path" not in kind:
                with pytest.raises((ValueError, FileNotFoundError)) as caught:
                    keras_nest.create_model(name, weights=weights[0])
                assert str(caught.value).startswith(sentence), kind
        with pytest.raises(FileNotFoundError, match=r"There is no checkpoint none\.npz"):
            keras_nest.create_model(weights="none.npz")
        for source, sentence in EXPORTS.values():
            with pytest.raises(ValueError, match=sentence):
                keras_nest.create_model(weights=source)
            with pytest.raises(ValueError, match=sentence):
                conversion.read_checkpoint(source)

    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("kind", EXPORTS)
    def test_of_exported_models(self, command, kind, run):
        if command == "predict" and kind != "ONNX":
            pytest.skip("reads them: tests/predict/test_predictor.py")
        source, sentence = EXPORTS[kind]
        assert run(command, source) == (2, "", f"error: {sentence}")


_NO_CLASSES = "gives no classes; it must be a classifier of images, with a head."
# What is no classifier, and what a command says that has no use for it.
OTHERS = {
    "convert": {"gan": "is no checkpoint", "text.keras": "is no checkpoint", "lit": None},
    "convert --to-flax": {"gan": "is no checkpoint", "text.keras": "is no checkpoint", "lit": None},
    "info": {"gan": None, "text.keras": None, "lit": None},
    "export": {"text.keras": "is a TextTransformer, which takes no images; export its LiT."},
    "predict": dict.fromkeys(("gan", "text.keras", "lit"), _NO_CLASSES),
    "explain": {"lit": _NO_CLASSES},
    "zero-shot": {
        "run": "run is a VisionTransformer, which knows no texts; give a LiT",
        "gan": "gan is a NesTGenerator, which knows no texts; give a LiT",
    },
}


class TestEveryCommandOpensTheSame:
    @pytest.mark.parametrize("command", ["info", "convert", "convert --to-flax", "predict", "explain"])
    def test_classifiers(self, command, run, tmp_path):
        outputs = {}
        for kind in FOR_COMMANDS:
            (source, *weights), _, has_names = SOURCES[kind]
            code, output, error = run(command, source, *weights)
            assert (code, error) == (0, ""), kind
            if command in ("predict", "explain"):
                assert any(name in output for name in NAMES) == has_names, kind
            for path in tmp_path.iterdir():
                outputs[kind] = keras_nest.create_model("testing", weights=str(path)).get_weights()
                path.unlink()
        for kind, found in outputs.items():
            for ours, theirs in zip(found, outputs["run"], strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=kind)

    def test_exports(self, run, model, monkeypatch):
        """What is written: tests/cli/test_export.py."""
        given = []

        def write(model, output, class_names, **options):
            given.append((model, class_names))
            return []

        monkeypatch.setattr("keras_nest.cli.export.to_tflite", write)
        for kind in FOR_COMMANDS:
            (source, *weights), _, has_names = SOURCES[kind]
            code, _, error = run("export", source, *weights)
            assert (code, error) == (0, ""), kind
            exported, names = given.pop()
            assert all(map(np.array_equal, exported.get_weights(), model.get_weights())), kind
            assert names == (NAMES if has_names else None), kind

    @pytest.mark.parametrize(("command", "source"), [(c, s) for c, sources in OTHERS.items() for s in sources])
    def test_other_models(self, command, source, run):
        code, _, error = run(command, source)
        complaint = OTHERS[command][source]
        assert code == (2 if complaint else 0), error
        assert error.endswith(complaint) or complaint in error if complaint else error == ""

    def test_weights_of_convert_have_the_same_flag(self, here, tmp_path, capsys):
        assert cli.main(["convert", "testing", str(tmp_path / "out.keras"), "--weights", "mine.npz"]) == 0
        assert open_model(tmp_path / "out.keras").model.num_classes == 3
        assert cli.main(["convert", "testing", "run", str(tmp_path / "no.keras"), "--weights", "mine.npz"]) == 2
        assert "3 arguments were given; expected NAME OUT.keras" in capsys.readouterr().err

    def test_fields_hold_for_flax_too(self, here, tmp_path):
        words = ["convert", "--to-flax", "run", str(tmp_path / "out.npz"), "--num-classes", "5", "--reinit-head"]
        assert cli.main(words) == 0
        assert keras_nest.create_model("testing", weights=str(tmp_path / "out.npz")).num_classes == 5

    def test_an_answer_is_that_of_the_training(self, here, model):
        """The loss is a fact of the run, however it is named: a sigmoid, whose probabilities do not sum to one."""
        image = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), np.uint8)
        expected = keras.ops.sigmoid(model(keras_nest.preprocessor(model)(image)))
        for words in (("run",), ("testing", "run"), ("run/model.keras",)):
            np.testing.assert_allclose(open_predictor(*words).probabilities(image), expected, atol=1e-6)

    def test_towers_of_trainings(self, here):
        for source in ("run", "bare.keras", "testing.npz"):
            assert image_tower(ConfigDict({"image_tower": source})).num_classes == 0
        with pytest.raises(ValueError, match="image_tower lit is a LiT; it must be one of images"):
            image_tower(ConfigDict({"image_tower": "lit"}))
