"""`keras-nest zero-shot`, as its user sees it."""

import json
import shutil

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

import keras_nest
from keras_nest import ZeroShotClassifier
from keras_nest.cli import commands as cli
from keras_nest.zero_shot.open import open_lit, trained_texts
from tests.zero_shot.conftest import COLORS, VOCABULARIES, VOCABULARY, paint

LABELS = ("a red house", "tree", "the house")
TEMPLATES = ("a photo of {}", "{}!")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs of temples in front of the sky, and of a flower, and one of red alone."""
    root = tmp_path_factory.mktemp("photos")
    bunch = sklearn.datasets.load_sample_images()
    for name, pixels in zip(bunch.filenames, bunch.images, strict=True):
        Image.fromarray(pixels[::8, ::8]).save(root / f"{name.rpartition('/')[2]}.png")
    paint(root / "red.png", "red")
    return root


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    path = tmp_path_factory.mktemp("templates") / "templates.txt"
    path.write_text("".join(f"{template}\n" for template in TEMPLATES))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A class folder: of two images of a red house one is blue."""
    root = tmp_path_factory.mktemp("folder")
    for number, color in enumerate(("red", "house")):
        paint(root / "test" / "the_red" / f"{number}.png", color)
    for word in ("tree", "house"):
        paint(root / "test" / word / "0.png", word)
    return root


def zero_shot(capsys, *arguments):
    """Exit code, what was printed, and what was complained about."""
    code = cli.main(["zero-shot", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


class TestImages:
    @pytest.mark.slow
    def test_json(self, capsys, run, photos, templates, colors, tokenizer):
        asked = (photos, "--labels", *LABELS, "--model", run, "--templates", templates, "--json", "--top", 2)
        code, out, _ = zero_shot(capsys, *asked)
        assert code == 0
        paths = sorted(photos.iterdir())
        classifier = ZeroShotClassifier(colors, tokenizer, LABELS, TEMPLATES)
        expected = classifier.probabilities([np.asarray(Image.open(path)) for path in paths])
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row["image"] for row in rows] == [str(path) for path in paths]
        for row, shares in zip(rows, expected, strict=True):
            best = np.argsort(-shares)[:2]
            assert [answer["label"] for answer in row["predictions"]] == [LABELS[k] for k in best]
            assert [answer["probability"] for answer in row["predictions"]] == pytest.approx(shares[best], abs=1e-5)

    def test_table_and_pictures(self, capsys, run, photos, tmp_path):
        labels = tmp_path / "labels.txt"
        labels.write_text("".join(f"{label}\n" for label in LABELS))
        options = ("--model", run / "model.keras", "--labels-file", labels, "--save", tmp_path / "out")
        code, out, _ = zero_shot(capsys, photos / "red.png", *options)
        assert code == 0
        lines = [line for line in out.splitlines() if "%" in line]
        assert len(lines) == 3
        assert "red.png" in lines[0]
        assert "a red house" in lines[0]
        assert (tmp_path / "out" / "red.png").is_file()
        code, _, err = zero_shot(capsys, photos / "red.png", *options)
        assert (code, "exists already; pass --overwrite" in err) == (2, True)


class TestDataset:
    def test_json(self, capsys, run, folder):
        code, out, _ = zero_shot(capsys, "--dataset", folder, "--model", run, "--json", "--batch", 3)
        assert (code, json.loads(out)) == (
            0,
            {
                "images": 4,
                "classes": 3,
                "templates": 1,
                "top1": 0.75,
                "top5": 1.0,
                "per_class": {"house": 1.0, "the red": 0.5, "tree": 1.0},
            },
        )

    def test_table_with_labels_of_ones_own(self, capsys, run, folder, templates):
        options = ("--labels", "tree", "the red house", "house", "--templates", templates)
        code, out, _ = zero_shot(capsys, "--dataset", folder, "--model", run, *options)
        assert code == 0
        facts = [line.split("│")[1:-1] for line in out.splitlines() if "│" in line]
        facts = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in facts}
        assert facts["images"] == ["4"]
        assert facts["templates"] == ["a photo of {}; {}!"]
        assert facts["top-1 accuracy"] == ["25.00%"]
        assert (facts["the red house"], facts["tree"]) == (["2", "50.00%"], ["1", "0.00%"])

    def test_digits(self, capsys, run):
        code, out, _ = zero_shot(capsys, "--dataset", "digits", "--model", run, "--json")
        assert (code, json.loads(out)["images"]) == (0, 360)
        assert json.loads(out)["top1"] == 0, "nothing but colors is known"

    def test_of_many_classes_the_worst_are_shown(self, capsys, run, tmp_path):
        names = ["tree", *(f"red {'cat ' * n}" for n in range(21))]
        for n, name in enumerate(names):
            paint(tmp_path / "test" / f"{n:02}" / "0.png", name.split()[0])
        (tmp_path / "labels.txt").write_text("\n".join(names))
        options = ("--labels-file", tmp_path / "labels.txt")
        code, out, _ = zero_shot(capsys, "--dataset", tmp_path, "--model", run, *options)
        assert (code, "the 20 classes with the lowest accuracy" in out) == (0, True)
        assert out.count("  1 │    0.00%") == 20
        assert "tree" not in out, "which is always right"

    def test_captions_instead_of_classes(self, capsys, run, tmp_path):
        paint(tmp_path / "red.png", "red")
        for split in ("train", "test"):
            (tmp_path / f"{split}.csv").write_text("image,caption\nred.png,something red\n")
        code, _, err = zero_shot(capsys, "--dataset", tmp_path, "--model", run)
        assert (code, "has captions instead of classes; --captions measures" in err) == (2, True)

    @pytest.mark.slow
    def test_tfds(self, capsys, run, tmp_path):
        from tests.data.sources import tfds_offline

        words = ("red", "tree", "house")
        images = np.stack([np.full((32, 32, 3), COLORS[words[n % 3]], np.uint8) for n in range(9)])
        names = ["the_red", "tree", "a_house", *(f"class_{n}" for n in range(3, 10))]
        labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 1])
        splits = {"train": (images[:3], labels[:3]), "test": (images, labels)}
        tfds_offline.prepare("cifar10", tmp_path, splits, class_names=names)
        options = ("--data-dir", tmp_path, "--json")
        code, out, _ = zero_shot(capsys, "--dataset", "cifar10", "--model", run, *options)
        found = json.loads(out.splitlines()[-1])  # TFDS has told of its own work
        assert (code, found["images"], found["top1"]) == (0, 9, pytest.approx(8 / 9))
        expected = {"the red": 1, "tree": 0.75, "a house": 1, **{f"class {n}": None for n in range(3, 10)}}
        assert found["per_class"] == expected
        code, out, _ = zero_shot(capsys, "--dataset", "cifar10", "--model", run, *options, "--split", "train")
        assert (code, json.loads(out)["images"], json.loads(out)["top1"]) == (0, 3, 1)


class TestOfATraining:
    """Labels and templates are those of the training, unless others are given or the data set is another."""

    @pytest.fixture
    def trained(self, run, folder, tmp_path):
        workdir = shutil.copytree(run, tmp_path / "run")
        (workdir / "classes.txt").write_text("a_house\nred\ntree\n")
        config = {"dataset": str(folder), "class_texts": [], "templates": list(TEMPLATES)}
        (workdir / "config.json").write_text(json.dumps(config))
        return workdir

    def test_images(self, capsys, trained, photos):
        code, out, _ = zero_shot(capsys, photos / "red.png", "--model", trained, "--json")
        assert (code, json.loads(out)["predictions"][0]["label"]) == (0, "red")
        _, given, _ = zero_shot(capsys, photos / "red.png", "--model", trained, "--json", "--labels", "tree")
        assert [answer["label"] for answer in json.loads(given)["predictions"]] == ["tree"]

    def test_data_set(self, capsys, trained, folder):
        options = ("--model", trained, "--json")
        found = json.loads(zero_shot(capsys, "--dataset", folder, *options)[1])
        assert (found["templates"], found["per_class"]) == (2, {"a house": 1.0, "red": 0.5, "tree": 1.0})
        given = json.loads(zero_shot(capsys, "--dataset", folder, *options, "--labels", "a", "b", "c")[1])
        assert (given["templates"], list(given["per_class"])) == (1, ["a", "b", "c"])

    def test_texts_instead_of_names(self, trained, folder):
        config = json.loads((trained / "config.json").read_text())
        (trained / "config.json").write_text(json.dumps({**config, "class_texts": ["x", "y", "z"]}))
        assert trained_texts(str(trained), str(folder)) == (("x", "y", "z"), TEMPLATES)

    def test_not_for_another_data_set_nor_without_a_training(self, trained, run):
        assert trained_texts(str(trained), "digits") is None
        assert trained_texts(str(run)) is None
        (trained / "classes.txt").unlink()  # as after a training on captions
        assert trained_texts(str(trained)) is None


class TestCaptions:
    @pytest.fixture
    def captions(self, tmp_path):
        rows = ["image,caption"]
        for word, texts in {"red": ("red", "the red cat"), "tree": ("a tree",), "house": ("tree", "house")}.items():
            paint(tmp_path / f"{word}.png", word)
            rows += [f"{word}.png,{text}" for text in texts]
        (tmp_path / "captions.csv").write_text("\n".join(rows))
        return tmp_path

    # A caption of the house is as near to the tree as the tree's own, and nearer to it than to the house.
    TO_TEXT, TO_IMAGE = 2 / 3, 4 / 5

    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_json(self, scheme, capsys, run, captions):
        code, out, _ = zero_shot(capsys, "--captions", f"{scheme}{captions}", "--model", run, "--json", "--batch", 2)
        found = json.loads(out)
        assert (code, found["images"], found["captions"]) == (0, 3, 5)
        assert found["image_to_text"] == {"1": pytest.approx(self.TO_TEXT), "5": 1.0, "10": 1.0}
        assert found["text_to_image"] == {"1": pytest.approx(self.TO_IMAGE), "5": 1.0, "10": 1.0}

    def test_all_broken_images_are_named_before_any_work(self, capsys, run, captions):
        for word in ("red", "house"):
            (captions / f"{word}.png").write_bytes(b"no image")
        code, out, err = zero_shot(capsys, "--captions", captions, "--model", run)
        assert (code, out) == (2, "")
        assert f"2 of 3 files cannot be read as images: {captions}/red.png, {captions}/house.png." in err

    def test_table(self, capsys, run, captions):
        code, out, _ = zero_shot(capsys, "--captions", captions / "captions.csv", "--model", run)
        assert code == 0
        lines = {line.split("│")[1].strip(): line for line in out.splitlines() if "│" in line}
        assert lines["image → text"].count("100.00%") == 2
        assert "66.67%" in lines["image → text"]
        assert "80.00%" in lines["text → image"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["red.png", "--labels", "a", "--top", "0"], "--top is 0; it must be 1 or more"),
        (["--dataset", "digits", "--batch", "0"], "--batch is 0; it must be 1 or more"),
        (["--labels", "a"], "Give one of these: images, in front of all options; --dataset D; or --captions C"),
        (["red.png", "--dataset", "digits"], "Give one of these"),
        (["red.png"], "There are no labels"),
        (["red.png", "--labels", "a", " "], "Label number 2 is empty; each class must have a text"),
        (["--dataset", "digits", "--labels", *"0123456798"], "another order: number 9 is '9', and the class '8'"),
        (["red.png", "--labels", "a", "b", "a"], "more than one label 'a'"),
        (["nowhere.png", "--labels", "a"], "There is no image nowhere.png"),
        (["red.png", "--labels-file", "nowhere.txt"], "There is no file of labels nowhere.txt"),
        (["red.png", "--labels", "a", "--templates", "nowhere.txt"], "There is no file of templates nowhere.txt"),
        (["red.png", "--labels", "a", "--split", "test"], "--split has no meaning for images; leave it out"),
        (["--captions", "c.csv", "--labels", "a"], "--labels has no meaning for --captions"),
        (["--captions", "nowhere.csv"], "nowhere.csv is to be a list of images and captions"),
        (["--dataset", "digits", "--save", "out"], "--save has no meaning for --dataset"),
        (["--dataset", "digits", "--labels", "a", "b"], "There are 2 class names for 10 classes"),
        (["red.png", "--labels", "a", "--vocab", "nowhere.txt"], "There is no vocabulary nowhere.txt"),
        (["red.png", "--labels", "a", "--vocab", str(VOCABULARIES / "tokens.json")], "must end in .txt"),
        (["red.png", "--labels", "a", "--model", "LiT-B16B_2", "--vocab", str(VOCABULARY)], "add its weights"),
    ],
)
def test_bad_input(capsys, run, photos, arguments, message, monkeypatch):
    monkeypatch.chdir(photos)
    code, out, err = zero_shot(capsys, "--model", run, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


class TestOpening:
    def test_the_vocabulary_beside_the_model(self, run, colors):
        for source in (run, run / "model.keras"):
            model, tokenizer = open_lit(str(source))
            assert (tokenizer.path, tokenizer.max_len) == (str(run / "vocab.txt"), 8)
            np.testing.assert_array_equal(model.encode_text(tokenizer("red")), colors.encode_text(tokenizer("red")))

    def test_the_vocabulary_beside_the_weights(self, random_lit, tmp_path, monkeypatch):
        random_lit.save(tmp_path / "tiny.keras")
        (tmp_path / "tiny.txt").write_bytes(VOCABULARY.read_bytes())
        assert open_lit(str(tmp_path / "tiny.keras"))[1].path == str(tmp_path / "tiny.txt")
        asked = []
        monkeypatch.setattr(
            "keras_nest.opening.create_model", lambda *args, **kw: asked.append((args, kw)) or random_lit
        )
        assert open_lit("LiT-B16B_2", str(tmp_path / "tiny.npz"))[1].path == str(tmp_path / "tiny.txt")
        assert asked == [(("LiT-B16B_2",), {"weights": str(tmp_path / "tiny.npz"), "trust": False})]

    def test_no_vocabulary(self, random_lit, tmp_path):
        random_lit.save(tmp_path / "model.keras")
        with pytest.raises(FileNotFoundError, match=r"no vocabulary beside .*model\.keras; name it with --vocab FILE"):
            open_lit(str(tmp_path / "model.keras"))

    def test_a_model_without_texts(self, tmp_path):
        keras_nest.create_model("testing").save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match=r"model\.keras is a VisionTransformer, which knows no texts; give a LiT"):
            open_lit(str(tmp_path / "model.keras"), vocabulary=VOCABULARY)
