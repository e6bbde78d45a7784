"""A training converts images that TensorFlow does not decode once, in its directory, and takes them away at the end."""

import os

import pytest

from keras_nest.cli.train import main
from keras_nest.data import converted
from keras_nest.data.image_files import decodable
from tests.data.photographs import encoded, small
from tests.training import runs


@pytest.mark.slow
def test_each_image_is_converted_once_a_training(tmp_path, monkeypatch):
    images = [encoded(small("chelsea", (40 + number, 30)), "WEBP") for number in range(6)]
    for part, some in (("train", images[:4]), ("test", images[4:])):
        for number, content in enumerate(some):
            path = tmp_path / "photos" / part / "ab"[number % 2] / f"{number}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    calls, kept = [], []

    def convert(content):
        calls.append(content)
        kept.append(len([*(tmp_path / "run/converted").glob("*.bmp")]))
        return decodable(content)

    monkeypatch.setattr(converted, "decodable", convert)
    few = {"dataset": str(tmp_path / "photos"), "per_device_batch_size": 2, "num_epochs": 6, "broken": "unchecked"}
    main({**runs.CONFIG, **few}, tmp_path / "run", strategy="one_device")
    # Threads may come to the same image at the same time.
    assert len(images) <= len(calls) <= len(images) + (os.cpu_count() or 1)
    assert set(calls) == set(images)
    assert max(kept) >= 3
    assert runs.files(tmp_path / "run") == runs.FILES
