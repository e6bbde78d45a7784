"""What the methods of `keras-nest explain` say, and that they do not take a tie for a finding."""

import numpy as np
import pytest

import keras_nest
from keras_nest.explain.methods import METHODS, peak_to_mean
from keras_nest.explain.picture import percent
from keras_nest.explain.view import make_view
from tests import keras_models

NEST = {"image_size": 16, "embedding_dim": 8, "num_heads": 2, "num_layers_per_block": (1, 1, 1)}
DECIDED, UNDECIDED = 3, 0  # seeds of images, of which the random model finds a leaf, or stops above it
ANSWERS = [("owl", 0.7), ("cat", 0.3)]


def nest(**fields):
    return keras_nest.create_model("nest_tiny", num_classes=2, init_patch_embed_size=2, **{**NEST, **fields})


@pytest.fixture(scope="module")
def untrained():
    """Its head is zero, so that no place speaks for any class, and all its tokens attend to all alike."""
    model = nest()
    for variable in model.weights:
        if "Dense_0" in variable.path or "DenseGeneral_0" in variable.path or "DenseGeneral_1" in variable.path:
            variable.assign(np.zeros(variable.shape))
    return model


@pytest.fixture(scope="module")
def random():
    model = nest()
    keras_models.randomize(model, seed=8)
    return model


def explain(method, model, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)
    prepare = keras_nest.preprocessor(model)
    return METHODS[method](model)(prepare(image), make_view(image, prepare), 1)


def texts(figure):
    return [axis.get_title() for axis in figure.axes], [
        text for axis in figure.axes for text in (axis.get_xlabel(), *(t.get_text() for t in axis.texts)) if text
    ]


@pytest.mark.parametrize(
    ("heat", "expected"),
    [
        ([[1, 1], [1, 1]], 1),
        ([[0, 0], [0, 0]], 0),
        ([[4, 0], [0, 0]], 4),
        ([[3, 1], [1, 3]], 1.5),
        ([[-1, -3], [-1, -3]], 0),
        ([[0, -4], [0, -4]], 0),
        ([[1, -9], [-9, -9]], 4),
    ],
)
def test_peak_to_mean(heat, expected):
    assert peak_to_mean(np.array(heat, np.float32)) == pytest.approx(expected)
    assert peak_to_mean(np.array(heat, np.float32) * 1e-20) == pytest.approx(expected)


class TestWhereNothingSpeaksForTheClass:
    def test_a_path_is_undecided_where_it_stands(self, untrained):
        found = explain("gradcat", untrained)
        assert found.facts["decided"] is False
        root, *below = found.facts["levels"]
        assert (root["block"], root["scores"], root["margin"]) == ([0, 0], [[0, 0], [0, 0]], 0)
        assert [level["decided"] for level in (root, *below)] == [True, False, False]
        assert found.place == f"undecided inside {root['box']}"
        assert found.clarity == "margin 0 %"

    @pytest.mark.parametrize(("method", "clarity"), [("cam", "peak 0.00 x mean"), ("attention", "peak 1.00 x mean")])
    def test_a_map_has_no_peak(self, untrained, method, clarity):
        found = explain(method, untrained)
        assert found.facts["box"] is None
        assert (found.place, found.clarity) == ("no place stands out", clarity)

    def test_the_picture_of_a_path_ends_there_and_says_so(self, untrained):
        figure = explain("gradcat", untrained).draw("photo", ANSWERS)
        titles, said = texts(figure)
        assert titles[:4] == ["photo", "level 3: block 0, 0", "", ""]
        assert said.count("not looked into") == 2
        assert "undecided: margin 0 %" in said
        assert len(figure.axes[0].patches) == len(figure.axes[1].patches) == 1, "the frame of the whole image alone"

    def test_maps_tell_how_little_they_differ_and_are_pale(self, untrained):
        figure = explain("attention", untrained).draw("photo", ANSWERS)
        titles, _ = texts(figure)
        heats = [axis.images[1] for axis in figure.axes if len(axis.images) == 2]
        assert {heat.norm.vmax for heat in heats} == {0.25}
        assert sum("±" in title for title in titles) == len(heats) > 6
        assert max(np.abs(heat.get_array()).max() for heat in heats) < 0.01


class TestWhereSomethingDoes:
    def test_a_decided_path_goes_to_a_leaf(self, random):
        found = explain("gradcat", random, DECIDED)
        assert found.facts["decided"] is True
        *inner, leaf = found.facts["levels"]
        assert len(inner) == 2
        assert all(level["margin"] >= 0.1 for level in inner)
        assert leaf.keys() == {"block", "box", "decided"}
        assert found.place == str(leaf["box"])
        titles, said = texts(found.draw("photo", ANSWERS))
        assert titles[3].startswith("leaf")
        assert sum(text.startswith("margin") for text in said) == 2

    def test_an_undecided_one_tells_the_margin_that_was_too_small(self, random):
        found = explain("gradcat", random, UNDECIDED)
        reached = [level for level in found.facts["levels"] if level["decided"]]
        assert len(reached) == 2
        assert reached[0]["margin"] >= 0.1 > reached[1]["margin"]
        assert found.place == f"undecided inside {reached[1]['box']}"
        assert found.clarity == f"margin {percent(reached[0]['margin'])}, {percent(reached[1]['margin'])}"

    @pytest.mark.parametrize("method", ["cam", "attention"])
    def test_a_peak_is_told_with_its_height(self, random, method):
        found = explain(method, random)
        assert found.facts["peak_to_mean"] > 1.1
        assert found.place == str(found.facts["box"])
