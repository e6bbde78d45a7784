"""MediaPipe's side of `make test-mediapipe`, without TensorFlow: its tasks give what the files give, with names."""

import json
import pathlib
import sys

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

# Its own resizing and normalization of the picture, which has the model's size already.
TOLERANCE = 5e-3


def main(folder: pathlib.Path) -> None:
    """Checks every file."""
    told = json.loads((folder / "answers.json").read_text("utf-8"))
    pixels = np.load(folder / "picture.npy")
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    for name, wanted in told["answers"].items():
        options = {"base_options": BaseOptions(model_asset_path=str(folder / name))}
        if name.startswith("embedding"):
            with vision.ImageEmbedder.create_from_options(vision.ImageEmbedderOptions(**options)) as embedder:
                (embedding,) = embedder.embed(picture).embeddings
            np.testing.assert_allclose(embedding.embedding, wanted, atol=TOLERANCE * np.abs(wanted).max())
        else:
            scores = dict(zip(told["names"], wanted, strict=True))
            check_scores(options, picture, scores)
        print(f"{name}: the same")


def check_scores(options: dict, picture: mediapipe.Image, scores: dict[str, float]) -> None:
    """All classes with their scores, best first; and with a threshold, those above it."""
    middle = sum(sorted(scores.values())[2:4]) / 2
    for threshold in (None, middle):
        asked = vision.ImageClassifierOptions(**options, score_threshold=threshold)
        with vision.ImageClassifier.create_from_options(asked) as classifier:
            (head,) = classifier.classify(picture).classifications
        found = {category.category_name: category.score for category in head.categories}
        expected = {name for name, score in scores.items() if threshold is None or score >= threshold}
        assert found.keys() == expected, (found, expected)
        for name, score in found.items():
            assert abs(score - scores[name]) <= TOLERANCE, (name, score, scores[name])
        assert list(found.values()) == sorted(found.values(), reverse=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
