"""The guide to LoRA and quantization, run as written: it learns, and keeps what it learned."""

import keras
import numpy as np
import pytest

from tests.pages import block

PAGE = "docs/guides/quantization-and-lora.md"
# A tenth would be chance.
LEARNED = 0.5


@pytest.mark.slow
def test_lora_learns_and_is_merged_and_quantized(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    names = {}
    exec(block(PAGE, "enable_lora", "model.fit"), names)
    model, test = names["model"], names["test"]
    trained = {variable.name for variable in model.trainable_variables}
    assert trained == {"kernel", "bias", "lora_kernel_a", "lora_kernel_b"}  # of the head, and of LoRA
    accuracy = model.evaluate(test, verbose=0, return_dict=True)
    learned = model.predict(test, verbose=0)
    labels, weights = (np.concatenate([batch[i] for batch in test.as_numpy_iterator()]) for i in (1, 2))
    assert np.average(learned.argmax(-1) == labels, weights=weights) > LEARNED, accuracy
    np.testing.assert_array_equal(keras.saving.load_model("adapted.keras").predict(test, verbose=0), learned)

    exec(block(PAGE, "merge_lora"), names)
    np.testing.assert_allclose(names["plain"].predict(test, verbose=0), learned, atol=1e-5)

    exec(block(PAGE, "model.quantize"), names)
    assert np.mean(names["answers"].argmax(-1) == learned.argmax(-1)) > 0.95
    np.testing.assert_array_equal(names["answers"], model.predict(test, verbose=0))
