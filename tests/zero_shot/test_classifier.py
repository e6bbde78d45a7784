"""The classifier whose classes are texts, against its definition."""

import sys

import numpy as np
import pytest

import keras_nest
from keras_nest import ZeroShotClassifier
from keras_nest.data import prompts
from tests.zero_shot.conftest import VOCABULARIES, VOCABULARY

LABELS = ["a cat", "red dogs, running", "", "the small house " * 50]
TEMPLATES = ["a photo of {}", "{}, {}!", "the {} walked {0}"]
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in ((16, 16), (7, 30), (40, 9))]


@pytest.fixture(scope="module")
def reds(colors, tokenizer):
    """Tells red images and trees apart."""
    return ZeroShotClassifier(colors, tokenizer, ["red", "tree"])


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def expected(model, tokenizer):
    """Probabilities by the definition, from the model's own embeddings."""
    zimg = np.asarray(model.encode_image(keras_nest.preprocessor(model)(IMAGES)), np.float64)
    texts = [template.replace("{}", label) for label in LABELS for template in TEMPLATES]
    ztxt = np.asarray(model.encode_text(tokenizer(texts)), np.float64)
    classes = unit(ztxt.reshape(len(LABELS), len(TEMPLATES), -1).mean(axis=1))
    logits = np.exp(float(model.get_layer("t").t[0])) * zimg @ classes.T
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


class TestTokens:
    """Labels that look different and are not, to the model."""

    SAME = (
        ("red", "Red"),
        ("red", "red "),
        ("caf\u00e9", "cafe\u0301"),  # composed and decomposed
        ("red tree tree tree tree tree tree tree", "red tree tree tree tree tree tree cat"),  # 7 count
    )

    def test_the_same_ones_are_told(self, colors, tokenizer, caplog):
        labels = [*dict.fromkeys(label for pair in self.SAME for label in pair), "tree"]
        classifier = ZeroShotClassifier(colors, tokenizer, labels)
        words = "are the same tokens, so their probabilities are equal"
        assert [record.args for record in caplog.records if words in record.getMessage()] == [*self.SAME]
        shares = dict(zip(labels, classifier.probabilities(IMAGES).T, strict=True))
        for one, other in self.SAME:
            np.testing.assert_allclose(shares[one], shares[other])
        assert not np.allclose(shares["red"], shares["tree"])

    def test_what_does_not_count_is_told(self, colors, tokenizer, caplog):
        ZeroShotClassifier(colors, tokenizer, ["tree " * 7, "red " * 8])
        assert [record.getMessage() for record in caplog.records if "keras_nest" in record.name] == [
            "The label 'red red red red red red red red ' makes 9 tokens, of which the first 8 count."
        ]

    @pytest.mark.parametrize("labels", [["a", None], [b"a", "b"], [0, 1]])
    def test_what_is_no_text_is_refused(self, colors, tokenizer, labels):
        with pytest.raises(ValueError, match=r"Among the labels is .*, which is no text"):
            ZeroShotClassifier(colors, tokenizer, labels)

    @pytest.mark.parametrize("texts", [[1, 2], None, [["a"]]])
    def test_texts_that_are_none(self, reds, texts):
        with pytest.raises(ValueError, match=r"^The texts "):
            reds.embedder.texts(texts)


class TestProbabilities:
    @pytest.mark.slow
    def test_definition(self, random_lit, tokenizer):
        found = ZeroShotClassifier(random_lit, tokenizer, LABELS, TEMPLATES).probabilities(IMAGES)
        want = expected(random_lit, tokenizer)
        assert found.dtype == np.float32
        assert want.max(1).min() < 0.9, "the case must not be settled by the temperature alone"
        np.testing.assert_allclose(found, want, atol=2e-6)

    def test_labels_are_the_whole_text_by_default(self, colors, tokenizer):
        labels = ["red tree", "tree", "a red tree tree"]
        found = ZeroShotClassifier(colors, tokenizer, labels).embeddings
        np.testing.assert_allclose(found, colors.encode_text(tokenizer(labels)), atol=1e-6)

    def test_the_number_of_texts_at_a_time(self, colors, tokenizer, monkeypatch):
        given = (colors, tokenizer, ["red", "tree", "red tree", "tree house"], ["{}", "red {}", "{}, {} house"])
        want = ZeroShotClassifier(*given).embeddings
        steps = []
        monkeypatch.setattr(prompts, "TEXTS", 5)
        found = ZeroShotClassifier(*given, progress=lambda s, _: steps.extend(s) or s).embeddings
        np.testing.assert_allclose(found, want, atol=1e-6)
        assert steps == [0, 5, 10]

    def test_one_batch_of_images_of_one_size(self, reds):
        batch = np.stack([IMAGES[0], IMAGES[0][::-1, ::2].repeat(2, axis=1)])
        np.testing.assert_array_equal(reds.probabilities(batch), reds.probabilities(list(batch)))

    def test_what_it_sees(self, colors, tokenizer):
        classifier = ZeroShotClassifier(colors, tokenizer, ["the house", "a red cat", "tree"], ["a photo of {}"])
        red = np.full((5, 7, 3), (255, 0, 0), np.uint8)
        # Similarities are 1 and twice -1/3, and the temperature is 10.
        shares = np.exp([-10 / 3, 10, -10 / 3])
        np.testing.assert_allclose(classifier.probabilities([red])[0], shares / shares.sum(), rtol=1e-5)


class TestImages:
    @pytest.mark.parametrize(
        ("images", "message"),
        [
            ([], "list of images is empty"),
            (IMAGES[0], r"shape \(16, 16, 3\); a single image must be in a list"),
            ([IMAGES[0] / 127.5 - 1], "and not be normalized yet"),
            ([IMAGES[0][..., :2]], r"must be \(h, w, 3\)"),
        ],
        ids=["none", "one", "normalized", "two channels"],
    )
    def test_what_is_no_list_of_photographs(self, reds, images, message):
        with pytest.raises(ValueError, match=message):
            reds.probabilities(images)


class TestMistakes:
    @pytest.mark.parametrize(
        ("labels", "templates", "message"),
        [
            ([], ["{}"], "There are no labels"),
            (["cat", "dog", "cat", "a", "a"], ["{}"], "more than one label 'cat', 'a'; each class"),
            ("cat", ["{}"], "labels are the text 'cat'; they must be a list"),
            (["cat"], [], "There are no templates"),
            (["cat"], "{}", "templates are the text '{}'; they must be a list"),
            (["cat"], ["{}", "a {cat}"], r"template 'a \{cat\}' has no \{\}, where the label goes"),
        ],
    )
    def test_labels_and_templates(self, colors, tokenizer, labels, templates, message):
        with pytest.raises(ValueError, match=message):
            ZeroShotClassifier(colors, tokenizer, labels, templates)

    def test_a_model_without_texts(self, tokenizer):
        model = keras_nest.create_model("testing")
        with pytest.raises(ValueError, match=r"model is a VisionTransformer, which .* must be a LiT"):
            ZeroShotClassifier(model, tokenizer, ["cat"])

    def test_a_model_without_preprocessing(self, colors, tokenizer):
        model = keras_nest.LiT(colors.image_model, colors.text_model)
        with pytest.raises(ValueError, match="carries no preprocessing"):
            ZeroShotClassifier(model, tokenizer, ["cat"])

    def test_a_tokenizer_of_the_other_kind(self, random_lit):
        tokenizer = keras_nest.get_tokenizer(VOCABULARIES / "sp.model", 8)
        with pytest.raises(ValueError, match=r"Bert takes a WordPiece vocabulary \(\.txt\)"):
            ZeroShotClassifier(random_lit, tokenizer, ["cat"])

    def test_a_tokenizer_of_another_length(self, random_lit):
        with pytest.raises(ValueError, match="gives 16 tokens a text, but the text tower takes 8"):
            ZeroShotClassifier(random_lit, keras_nest.get_tokenizer(VOCABULARY), ["cat"])

    def test_without_tensorflow_text(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_text", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'keras-nest\[lit\]'"):
            keras_nest.get_tokenizer(VOCABULARY)
