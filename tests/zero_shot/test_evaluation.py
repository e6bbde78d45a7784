"""Zero-shot accuracy on images with classes, and where they come from."""

import numpy as np
import pytest

from keras_nest import ZeroShotClassifier
from keras_nest.data.prompts import read_templates, unique_labels
from keras_nest.data.sources import IndexedExamples
from keras_nest.zero_shot.evaluation import evaluate, open_test_images
from tests.zero_shot.conftest import COLORS, paint


def examples(words, classes):
    """Images of the colors of some words, said to be of some classes."""
    images = np.stack([np.full((10, 6, 3), COLORS[word], np.uint8) for word in words])
    return IndexedExamples(images, np.array(classes))


class TestEvaluate:
    WORDS = ("red", "red", "red", "house", "tree")
    CLASSES = (0, 0, 1, 2, 1)  # the third is wrong

    def test_shares(self, colors, tokenizer):
        classifier = ZeroShotClassifier(colors, tokenizer, ["red", "tree", "house", "the red house"])
        result = evaluate(classifier, examples(self.WORDS, self.CLASSES), batch_size=2)
        assert (result.top1, result.top5) == (pytest.approx(0.8), 1.0)
        assert result.images.tolist() == [2, 2, 1, 0]
        np.testing.assert_array_equal(result.per_class, [1, 0.5, 1, np.nan])

    @pytest.mark.slow
    def test_the_first_five(self, colors, tokenizer):
        labels = ["house", "red", "red red tree", "red tree", "red tree tree", "tree"]
        result = evaluate(ZeroShotClassifier(colors, tokenizer, labels), examples(["red", "tree"], [0, 0]))
        assert (result.top1, result.top5) == (0, 0)
        result = evaluate(ZeroShotClassifier(colors, tokenizer, labels[::-1]), examples(["red", "tree"], [3, 3]))
        assert (result.top1, result.top5) == (0, 1)

    def test_labels_that_the_model_cannot_tell_apart_are_wrong(self, colors, tokenizer):
        classifier = ZeroShotClassifier(colors, tokenizer, ["red", "red cat", "red dog"])
        assert evaluate(classifier, examples(["red"] * 3, [0, 1, 2])).top1 == 0

    def test_what_cannot_be_measured(self, colors, tokenizer):
        classifier = ZeroShotClassifier(colors, tokenizer, ["red", "tree"])
        with pytest.raises(ValueError, match="Labels are from 0 to 2; they must be from 0 to 1, as there are 2"):
            evaluate(classifier, examples(["red", "tree"], [0, 2]))
        with pytest.raises(ValueError, match="There are no images"):
            evaluate(classifier, IndexedExamples(np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, np.int64)))
        with pytest.raises(ValueError, match="batch_size is 0"):
            evaluate(classifier, examples(["red"], [0]), 0)
        captioned = IndexedExamples(np.zeros((1, 4, 4, 3), np.uint8), np.array(["a dog"], object))
        with pytest.raises(ValueError, match="captions instead of classes"):
            evaluate(classifier, captioned)

    def test_agrees_with_the_classifier(self, colors, tokenizer):
        rng = np.random.default_rng(1)
        images = (rng.integers(0, 256, (40, 1, 1, 3)) * rng.random((40, 21, 33, 3))).astype(np.uint8)
        classifier = ZeroShotClassifier(colors, tokenizer, ["red", "tree", "house", "red tree"])
        best = classifier.probabilities(images).argmax(1)
        assert len(set(best)) > 2
        assert evaluate(classifier, IndexedExamples(images, best), 16).top1 == 1
        wrong = (best + np.arange(40)) % 4
        assert evaluate(classifier, IndexedExamples(images, wrong), 16).top1 == 0.25


class TestFolders:
    def test_test_images_alone(self, tmp_path):
        for split, words in (("extra", ["tree"]), ("val", ["red", "house"])):
            for word in words:
                paint(tmp_path / split / word / "a.png", word)
        source = open_test_images(str(tmp_path))
        assert (source.info.class_names, len(source.test)) == (("house", "red"), 2)
        assert open_test_images(str(tmp_path), "extra").info.class_names == ("tree",)

    def test_classes_are_those_of_the_training_images(self, tmp_path):
        paths = [tmp_path / split / "red" / "a.png" for split in ("train", "test")]
        for path in (*paths, tmp_path / "train" / "tree" / "a.png"):
            paint(path, "red")
        source = open_test_images(str(tmp_path))
        assert (source.info.class_names, len(source.test)) == (("red", "tree"), 1)

    def test_no_images(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="has no sub-directory train"):
            open_test_images(str(tmp_path))


class TestNames:
    def test_underscores_are_spaces(self):
        assert unique_labels(("golden_retriever", "cat", "7")) == ("golden retriever", "cat", "7")

    def test_numbers_of_wordnet(self):
        with pytest.raises(
            ValueError, match=r"numbers such as n01440764, which say nothing; give .*--labels-file, or class_texts"
        ):
            unique_labels(("n01440764", "n01443537"))


class TestTemplates:
    def test_file(self, tmp_path):
        path = tmp_path / "templates.txt"
        path.write_bytes("\ufeffa photo of a {}\r\n\r\n  \nein Bild: {}\n".encode())
        assert read_templates(path) == ("a photo of a {}", "ein Bild: {}")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "is empty; it must hold one template a line, such as 'a photo of a {}'"),
            (" \n\n", "is empty"),
            ("{}\na photo\n", "template 'a photo' has no {}"),
            ("\xff", "is no text in UTF-8; it must hold one template a line"),
        ],
    )
    def test_mistakes(self, content, message, tmp_path):
        path = tmp_path / "templates.txt"
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(ValueError, match=message):
            read_templates(path)
        with pytest.raises(FileNotFoundError, match="no file of templates"):
            read_templates(tmp_path / "other.txt")
