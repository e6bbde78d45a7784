"""Images to begin with: those that measured the model, one of each class in turns."""

from keras_nest.app.examples import MOST, find_examples
from keras_nest.data.sources.table import Row, write_table
from tests.data import photographs


def test_a_run_of_its_own(tmp_path):
    names = [f"{label}{number}.png" for label in "ab" for number in range(6)]
    for name in names:
        photographs.small("rocket").save(tmp_path / name)
    rows = [Row(name, name[0], "train" if name[1] == "0" else "test") for name in names]
    write_table(tmp_path / "images.csv", [*rows, Row("gone.png", "c", "test"), Row("a0.png", "a", "")])
    found = [path.name for path in find_examples(str(tmp_path))]
    assert found == ["a1.png", "b1.png", "a2.png", "b2.png", "a3.png", "b3.png", "a4.png", "b4.png"]
    assert len(found) == MOST
    assert find_examples(str(tmp_path / "model.keras")) == find_examples(str(tmp_path))


def test_other_models(tmp_path):
    for source in ("ViT-S_16", str(tmp_path), str(tmp_path / "x.tflite")):
        assert [path.name for path in find_examples(source)] == ["china.jpg", "flower.jpg"]
    (tmp_path / "images.csv").write_text("nonsense")
    assert all(path.is_file() for path in find_examples(str(tmp_path)))
