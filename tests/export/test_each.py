"""One bad image of a batch costs no other its answer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import export
from tests.export import toys

FILES = toys.image_files()
INCOMPLETE, BROKEN = b"The image is no complete JPEG or PNG file.", b"The image is a broken JPEG or PNG file."


def with_size(height, width):
    """A small PNG file whose header tells another size."""
    small = FILES[3]
    return small[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + small[24:]


BAD_FILES = {
    b"": INCOMPLETE,
    b"no image": INCOMPLETE,
    b"GIF89a" + bytes(100): INCOMPLETE,
    FILES[1][:30]: INCOMPLETE,
    FILES[1][:-20]: BROKEN,
    FILES[0][:200]: BROKEN,
    FILES[0][:-100]: BROKEN,
    with_size(9460, 9460): b"The image has 9460 x 9460 pixels; an image may have 89478485 in all.",
    with_size(
        2**31 - 1, 2**31 - 1
    ): b"The image has 2147483647 x 2147483647 pixels; an image may have 89478485 in all.",
}
UNIT = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
BAD_IMAGES = [np.where(UNIT[0] > 0.99, bad, UNIT[0]) for bad in (np.nan, np.inf, -1, 255)]


def ask(module, signature, batch):
    return {name: value.numpy() for name, value in module.signatures[signature](tf.constant(batch)).items()}


def assert_each(module, signature, good, bad):
    """Good and bad ones mixed: the former are answered as alone, to the last bit."""
    count = len(good) + len(bad)
    is_good = np.isin(np.arange(count), np.random.default_rng(count).permutation(count)[: len(good)])
    pools = {True: iter(good), False: iter(bad)}
    answers = ask(module, f"{signature}_each", [next(pools[known]) for known in is_good.tolist()])
    np.testing.assert_array_equal(answers.pop("status"), np.where(is_good, 0, 3))
    messages = answers.pop("message")
    assert [message == b"" for message in messages] == is_good.tolist()
    expected = ask(module, signature, good)
    assert answers.keys() == expected.keys()
    for name, values in answers.items():
        assert values.dtype == expected[name].dtype
        np.testing.assert_array_equal(values[is_good], expected[name])
        nothing = {"i": -1, "f": 0, "O": b""}[values.dtype.kind]
        assert (values[~is_good] == nothing).all()
    return messages[~is_good].tolist()


@pytest.mark.slow
def test_files(loaded):
    assert assert_each(loaded, "serving_bytes", FILES, list(BAD_FILES)) == list(BAD_FILES.values())
    for good in FILES:
        assert_each(loaded, "serving_bytes", [good], [b""])


def test_images(loaded):
    messages = assert_each(loaded, "serving_default", UNIT, BAD_IMAGES)
    assert set(messages) == {messages[0]}
    assert messages[0].startswith(b"The image has values that are not finite or not in [0, 1]")


@pytest.mark.slow
@pytest.mark.parametrize(("signature", "bad"), [("serving_bytes", list(BAD_FILES)), ("serving_default", BAD_IMAGES)])
def test_all_of_them_bad(loaded, signature, bad):
    answers = ask(loaded, f"{signature}_each", bad)
    assert (answers["status"] == 3).all()
    assert not answers["probabilities"].any()
    assert (answers["classes"] == -1).all()


def test_the_batch_itself_must_fit(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="The batch is empty"):
        ask(loaded, "serving_default_each", UNIT[:0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not compatible with expected shape"):
        ask(loaded, "serving_default_each", UNIT[:, :8])


@pytest.mark.slow
def test_the_same_files_are_refused_as_one_by_one(loaded):
    """Of files that were changed at random, most of which are still decoded or not for reasons of their own."""
    random, changed = np.random.default_rng(0), []
    for number in range(120):
        content = bytearray(FILES[number % len(FILES)])
        for place in random.integers(0, len(content), random.integers(1, 4)):
            content[place] = random.integers(0, 256)
        changed.append(bytes(content[: random.integers(1, len(content))]) if number % 5 == 0 else bytes(content))
    refused = []
    for file in changed:
        try:
            ask(loaded, "serving_bytes", [file])
            refused.append(False)
        except tf.errors.InvalidArgumentError:
            refused.append(True)
    assert 20 < sum(refused) < 100
    answers = ask(loaded, "serving_bytes_each", changed)
    np.testing.assert_array_equal(answers["status"] == 3, refused)
    good = [file for file, bad in zip(changed, refused, strict=True) if not bad]
    np.testing.assert_array_equal(answers["logits"][~np.array(refused)], ask(loaded, "serving_bytes", good)["logits"])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["vit", "hybrid", "mixer"])
def test_every_family(published, family):
    module = tf.saved_model.load(str(published(family)[1]))
    assert_each(module, "serving_bytes", FILES, list(BAD_FILES))
    assert_each(module, "serving_default", UNIT, BAD_IMAGES)


def test_a_model_whose_outputs_have_these_names_has_no_such_signatures(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, {"status": keras.layers.GlobalAveragePooling2D()(inputs)})
    assert list(export.read_signatures(export.to_saved_model(model, tmp_path / "own"))) == ["serving_default"]
