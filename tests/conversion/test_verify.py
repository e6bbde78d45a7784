"""--verify notices a tensor that went astray."""

from conversion.verify import largest_difference
from tests import keras_models
from tests.golden import loading


def test_agreement_and_disagreement():
    case = loading.case("small_mq_scale2")
    tree = keras_models.tree(case)
    model = keras_models.load(case)
    difference, scale = largest_difference(model, tree)
    assert difference <= 1e-5
    assert scale > 0.1
    bias = model.get_layer("EncoderNDBlock_1").attention.bias
    bias.assign(bias + 0.1)
    assert largest_difference(model, tree)[0] > 1e-3
    assert largest_difference(model, tree, headless=True)[0] <= 1e-5  # compares the given tree with itself
