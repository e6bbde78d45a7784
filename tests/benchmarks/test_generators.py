"""What the measurements of generators compute; their runs at toy size are slow tests."""

import csv

import numpy as np
import pytest
import scipy.linalg
from matplotlib.axes import Axes

import keras_nest
from benchmarks import gan_quality, generator

RANDOM = np.random.default_rng(0)


def test_numbers_stand_at_their_points(tmp_path, monkeypatch):
    """Of two of a size the higher one above, the other one below, each in the color of its line."""
    drawn = []
    monkeypatch.setattr(Axes, "annotate", lambda *args, **options: drawn.append((args[1:], options["color"])))
    rows = [
        {"decoder": name, "size": 32, "images/s": speed, "peak MiB": memory}
        for name, speed, memory in ((generator.NEST, 97.0, 44.7), (generator.GLOBAL, 69.0, 43.0))
    ]
    generator.draw(tmp_path / "speed.png", rows)
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    found = {text: (place[1], offset[1] > 0, color) for (text, place, offset), color in drawn}
    assert found == {
        "97": (97.0, True, "tab:blue"),
        "69": (69.0, False, "tab:orange"),
        "44.7": (44.7, True, "tab:blue"),
        "43": (43.0, False, "tab:orange"),
    }


def test_frechet_distance():
    first, second = (
        RANDOM.standard_normal((50, 4)) @ RANDOM.standard_normal((4, 4)),
        RANDOM.standard_normal((70, 4)) + 1,
    )
    covariances = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert gan_quality.frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert gan_quality.frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_nearest():
    known = RANDOM.uniform(-1, 1, (6, 2, 2, 3)).astype(np.float32)
    numbers, distances = gan_quality.nearest(known[[4, 1]] + 0.01, known, count=3)
    assert numbers[:, 0].tolist() == [4, 1]
    np.testing.assert_allclose(distances[:, 0], 0.01, rtol=1e-2)
    expected = np.sort(np.sqrt(np.square(known - known[4] - 0.01).mean(axis=(1, 2, 3))))[:3]
    np.testing.assert_allclose(distances[0], expected, rtol=1e-2)


@pytest.mark.parametrize(("size", "depths"), [(32, [4, 4]), (64, [2, 3, 3]), (128, [2, 2, 2, 2])])
def test_both_decoders_have_the_same_depth_and_width(size, depths):
    local, wide = (generator.fields_of(name, size) for name in (generator.NEST, generator.GLOBAL))
    assert local["num_layers_per_block"] == depths
    assert sum(local["num_layers_per_block"]) == sum(wide["num_layers_per_block"]) == 8
    assert set(local["embedding_dims"]) == set(wide["embedding_dims"])


def test_the_other_one_attends_globally_at_the_final_resolution():
    models = [keras_nest.NesTGenerator(**generator.fields_of(name, 32)) for name in (generator.NEST, generator.GLOBAL)]
    assert models[0].endpoints["level_2"].shape[1:] == (4, 64, 128)
    assert models[1].endpoints["level_1"].shape[1:] == (1, 256, 128)
    # Four heads: four blocks of 64 x 64, or one of 256 x 256, four bytes each.
    sizes = [generator.attention_mebibytes(model) for model in models]
    assert sizes == [4 * 4 * 64 * 64 * 4 / 2**20, 4 * 256 * 256 * 4 / 2**20]


@pytest.mark.slow
def test_quick_run_of_the_speed(tmp_path, monkeypatch):
    """With decoders that are shallow and narrow; their memory is measured in a process of its own, each."""
    monkeypatch.setattr(generator, "_DEPTH", 2)
    monkeypatch.setattr(generator, "_WIDTH", 16)
    arguments = ["--quick", "--results", tmp_path, "--picture", tmp_path / "speed.png"]
    generator.main([*map(str, arguments)])
    with (tmp_path / "generator.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["size"], row["decoder"]) for row in rows] == [
        ("32", name) for name in (generator.NEST, generator.GLOBAL)
    ]
    assert (tmp_path / "speed.png").exists()


@pytest.mark.slow
def test_quick_run_of_the_quality(tmp_path):
    fields = {"latent_dim": 4, "embedding_dims": (8, 8), "num_heads": (2, 2), "num_layers_per_block": (1, 1)}
    keras_nest.NesTGenerator(32, num_classes=10, patch_size=4, **fields).save(tmp_path / "generator.keras")
    paths = ["--results", str(tmp_path), "--pictures", str(tmp_path)]
    gan_quality.main([str(tmp_path), "--quick", "--samples", "400", *paths])
    with (tmp_path / "gan_quality.csv").open(newline="") as file:
        values = {row["quantity"]: float(row["value"]) for row in csv.DictReader(file)}
    assert values["deviation within a class, samples"] < values["deviation within a class, training images"]
    distances = [values[f"Frechet distance, {what} - test images"] for what in ("samples", "training")]
    assert distances[0] > distances[1]
    assert {path.name for path in tmp_path.iterdir()} >= {"digits_gan.png", "digits_gan_neighbours.png"}


def test_other_generators_are_refused(tmp_path):
    fields = {"latent_dim": 4, "embedding_dims": (8,), "num_heads": (2,), "num_layers_per_block": (1,)}
    keras_nest.NesTGenerator(8, num_classes=3, **fields).save(tmp_path / "generator.keras")
    with pytest.raises(ValueError, match="is a generator of 3 classes; it must be one of the 10 digits"):
        gan_quality.read_generator(str(tmp_path))
