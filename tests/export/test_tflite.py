import json
import pathlib
import re
import sys
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.lite.python import schema_py_generated as schema

import keras_nest
from keras_nest.data.sources import digits
from keras_nest.export import tflite_files
from keras_nest.export.module import on_unit_images
from keras_nest.export.tflite import to_tflite
from keras_nest.export.tflite_report import sample_images
from keras_nest.export.tflite_sources import image_source
from keras_nest.models.base import logits_model
from keras_nest.predict import open_predictor
from keras_nest.tflite import TFLiteModel, runtime_name
from keras_nest.training import AdamW
from tests import keras_models

# TFLite's converter and its calls into TensorFlow raise these about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")

GUIDE = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "tflite.md").read_text("utf-8")
# Those of TensorFlow's own converter; static_int8 has tests of its own.
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")
NAMES = [f"class {i}" for i in range(10)]


@pytest.fixture(scope="module")
def model(small_nest):
    return small_nest(num_layers_per_block=(1, 1))


def expected(model, images):
    spec = model.config["preprocessing"]
    outputs = model((images - np.float32(spec["mean"])) / np.float32(spec["std"]))
    return keras.tree.map_structure(np.asarray, outputs)


def assert_same(outputs, wanted, name="logits"):
    wanted = wanted if isinstance(wanted, dict) else {name: wanted}
    assert outputs.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(outputs[key], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()))


def check_float32(model, images, folder, name="logits", **options):
    """Writes one file, which gives the numbers of the model and is one partition."""
    options |= {"activation": "none"} if name == "logits" and not isinstance(model.output, dict) else {}
    (row,) = to_tflite(model, folder, ["float32"], images=images, **options)
    assert_same(TFLiteModel(folder / "float32.tflite")(images), expected(model, images), name)
    assert row["xnnpack_ops"] == row["ops"] > 10
    assert row["xnnpack_partitions"] == 1


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"num_classes": 0, "norm_type": "BN", "qkv_bias": False}, "embedding"),
        pytest.param(
            {"norm_type": "GN", "embedding_dim": 32, "image_size": (16, 32), "scale_hidden_dims": None},
            "logits",
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_a_small_nest_is_one_partition(fields, name, small_nest, images, tmp_path):
    model = small_nest(**fields)
    check_float32(model, images(2, model.image_size), tmp_path, name)


@pytest.mark.slow
def test_a_pyramid_keeps_its_names(small_nest, images, tmp_path):
    model = small_nest(num_layers_per_block=(1, 1), attn_type="local_multi_query", features_only=True)
    # The names of classes are of no use to maps.
    check_float32(model, images(2), tmp_path, class_names=NAMES)
    with zipfile.ZipFile(tmp_path / "float32.tflite") as archive:
        assert archive.namelist() == ["preprocessing.json"]
    assert [text(output, 0) for output in metadata(tmp_path / "float32.tflite", 3, 0, 3)] == ["P1", "P2"]


@pytest.mark.slow
def test_the_other_nest_is_one_partition(images, tmp_path):
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3}
    model = keras_nest.ViTFlaxNesT(16, 2, 16, 2, 2, block_repeats=1, num_classes=10, preprocessing=preprocessing)
    check_float32(model, images(2), tmp_path)


VIT = {"patch_size": 4, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
MIXER = {"patch_size": 4, "hidden_dim": 16, "num_blocks": 1, "tokens_mlp_dim": 6, "channels_mlp_dim": 24}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ViT-B_16", {**VIT, "classifier": "gap", "representation_size": 7}),
        pytest.param(
            "ViT-B_16",
            {**VIT, "patch_size": 1, "resnet_num_layers": (1, 1), "resnet_width_factor": 0.5},
            marks=pytest.mark.slow,
        ),
        ("Mixer-B_16", MIXER),
    ],
    ids=["gap", "hybrid with class token", "mixer"],
)
def test_vit_and_mixer_are_one_partition(name, fields, images, tmp_path):
    model = keras_nest.create_model(name, image_size=16, num_classes=5, **fields)
    keras_models.randomize(model)
    check_float32(model, images(2), tmp_path)


@pytest.mark.slow
def test_mixed_precision_becomes_float32(model, small_nest, images, tmp_path):
    mixed = small_nest(num_layers_per_block=(1, 1), dtype="mixed_bfloat16")
    to_tflite(mixed, tmp_path, ["float32"], activation="none")
    assert_same(TFLiteModel(tmp_path / "float32.tflite")(images(1)), expected(model, images(1)))


@pytest.fixture(scope="module")
def written(model, images, tmp_path_factory):
    """Files of all precisions, asked for in another order, and the rows; of logits, which show more than scores."""
    folder = tmp_path_factory.mktemp("tflite") / "new"
    rows = to_tflite(
        model,
        folder,
        PRECISIONS[::-1],
        representative=iter([images(3), images(4)]),
        class_names=NAMES,
        images=images(9),
        activation="none",
    )
    return folder, rows


@pytest.mark.slow
def test_the_rows_are_the_files_and_the_reports(written):
    folder, rows = written
    assert [row["precision"] for row in rows] == list(PRECISIONS)
    assert {file.name for file in folder.iterdir()} == {
        f"{p}.{kind}" for p in PRECISIONS for kind in ("tflite", "json")
    }
    for row in rows:
        assert json.loads((folder / f"{row['precision']}.json").read_text()) == row
        assert row["bytes"] == (folder / row["file"]).stat().st_size
        assert row["share_of_float32"] == row["bytes"] / rows[0]["bytes"]
        assert row["batch_size"] == 1
        assert row["images"] == 9
        assert min(row["ms_1_thread"], row["ms_2_threads"]) > 0
        assert row["runtime"].startswith("ai_edge_litert 2")
    assert rows[0]["share_of_float32"] == 1 > rows[1]["share_of_float32"] > rows[2]["share_of_float32"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.slow
def test_the_report_tells_how_far_a_file_is_from_the_model(precision, model, written, images):
    row = written[1][PRECISIONS.index(precision)]
    outputs, wanted = TFLiteModel(written[0] / row["file"])(images(9))["logits"], expected(model, images(9))
    assert row["largest"] == pytest.approx(np.abs(wanted).max())
    assert row["max_abs_diff"] == pytest.approx(np.abs(outputs - wanted).max(), abs=1e-5)
    assert row["top1_agreement"] == np.mean(outputs.argmax(-1) == wanted.argmax(-1))
    exactness = {"float32": 1e-5, "float16": 1e-2, "dynamic_int8": 0.1, "int8": 0.5}[precision]
    assert row["max_abs_diff"] < exactness * max(1, row["largest"])


@pytest.mark.slow
def test_the_report_tells_what_the_delegate_took(written):
    counts = [(row["ops"], row["xnnpack_ops"], row["xnnpack_partitions"]) for row in written[1]]
    for ops, taken, partitions in counts[:3]:
        assert taken == ops
        assert partitions == 1
    # Several operations of layer normalization are not computed in 8 bits by XNNPACK.
    ops, taken, partitions = counts[3]
    assert ops > taken > ops / 2
    assert partitions > 4
    # Another way to see it: all that the only delegate of a file reads is the input and constants.
    nodes = TFLiteModel(written[0] / "float32.tflite").interpreter._get_ops_details()
    computed = {tensor for node in nodes for tensor in node["outputs"]}
    (delegate,) = [node for node in nodes if node["op_name"] == "DELEGATE"]
    assert not computed & set(delegate["inputs"])


@pytest.mark.slow
def test_labels_can_be_read_with_zipfile(written):
    for precision in PRECISIONS:
        with zipfile.ZipFile(written[0] / f"{precision}.tflite") as archive:
            assert archive.namelist() == ["labels.txt", "preprocessing.json"]
            assert archive.read("labels.txt").decode().split("\n") == NAMES


@pytest.mark.slow
def test_images_are_prepared_as_the_file_says(model, written):
    with zipfile.ZipFile(written[0] / "float32.tflite") as archive:
        preprocess = keras_nest.EvalPreprocessing(**json.loads(archive.read("preprocessing.json")))
    photograph = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    images = preprocess(photograph[None]).numpy()
    wanted = model(keras_nest.preprocessor(model)(photograph[None])).numpy()
    assert_same(TFLiteModel(written[0] / "float32.tflite")(images), wanted)


def metadata(path, *slots):
    """The table or list of tables of TFLITE_METADATA behind the slots, 0 being the first of a list."""
    model = schema.Model.GetRootAs(path.read_bytes())
    (entry,) = [e for e in map(model.Metadata, range(model.MetadataLength())) if e.Name() == b"TFLITE_METADATA"]
    content = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert content[4:8] == b"M001"
    found = flatbuffers.table.Table(bytearray(content), flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))
    for slot in slots:
        found = found[slot] if isinstance(found, list) else tables(found, slot)
    return found


def tables(table, slot):
    start, count = vector(table, slot)
    return [flatbuffers.table.Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(count)]


def vector(table, slot):
    offset = table.Offset(4 + 2 * slot)
    return table.Vector(offset), table.VectorLen(offset)


def text(table, slot):
    return table.String(table.Pos + table.Offset(4 + 2 * slot)).decode()


@pytest.mark.slow
def test_metadata_takes_pixels_to_the_unit_interval(written):
    path = written[0] / "float32.tflite"
    assert text(metadata(path), 7) == "1.0.0"
    (image,), (output,) = metadata(path, 3, 0, 2), metadata(path, 3, 0, 3)
    assert (text(image, 0), text(output, 0)) == ("images", "logits")
    (file,) = tables(output, 6)
    assert text(file, 0) == "labels.txt"
    (unit,) = tables(image, 4)
    options = flatbuffers.table.Table(image.Bytes, unit.Indirect(unit.Pos + unit.Offset(6)))
    mean, std = (
        np.frombuffer(image.Bytes, np.float32, n, start) for start, n in (vector(options, 0), vector(options, 1))
    )
    assert (mean.tolist(), std.tolist()) == ([0.0], [255.0])


@pytest.mark.slow
def test_only_built_in_operations(written):
    for precision in PRECISIONS:
        model = schema.Model.GetRootAs((written[0] / f"{precision}.tflite").read_bytes())
        assert not any(model.OperatorCodes(i).CustomCode() for i in range(model.OperatorCodesLength()))


@pytest.mark.slow
def test_full_int8_has_no_floats(written):
    interpreter = TFLiteModel(written[0] / "int8.tflite").interpreter
    dtypes = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    nodes = [node for node in interpreter._get_ops_details() if node["op_name"] != "DELEGATE"]
    assert {dtypes[tensor] for node in nodes for tensor in node["outputs"]} == {np.int8, np.uint8}


@pytest.mark.slow
def test_full_int8_takes_the_bytes_of_a_picture(written):
    runner = TFLiteModel(written[0] / "int8.tflite")
    (detail,) = runner.interpreter.get_input_details()
    assert detail["dtype"] == np.uint8
    assert detail["quantization"] == (pytest.approx(1 / 255), 0)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    signature = runner.interpreter.get_signature_runner()
    scale, zero_point = signature.get_output_details()["logits"]["quantization"]
    logits = (signature(images=pixels)["logits"].astype(np.float32) - zero_point) * scale
    np.testing.assert_allclose(runner(pixels / np.float32(255))["logits"], logits, rtol=1e-6)


@pytest.mark.slow
def test_the_recipe_of_the_guide(model, tmp_path, monkeypatch, capsys):
    (recipe,) = [block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "Interpreter(" in block]
    to_tflite(model, tmp_path / "digits_tflite", ["float32"], class_names=NAMES)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)).save(
        tmp_path / "picture.jpg"
    )
    monkeypatch.chdir(tmp_path)
    exec(recipe, {})
    assert capsys.readouterr().out.strip() in NAMES


@pytest.mark.slow
def test_a_fixed_batch_and_overwriting(model, images, tmp_path):
    (tmp_path / "float32.tflite").write_text("old")
    options = {"batch_size": 2, "representative": [images(3)], "overwrite": True, "activation": "none"}
    rows = to_tflite(model, tmp_path, ["int8", "float32"], **options)
    assert [row["batch_size"] for row in rows] == [2, 2]
    assert rows[0]["xnnpack_partitions"] == 1
    runner = TFLiteModel(tmp_path / "float32.tflite", threads=1)
    assert (runner.batch_size, runner.input_shape) == (2, (16, 16, 3))
    for count in (1, 2, 5):
        assert_same(runner(images(count)), expected(model, images(count)))


@pytest.mark.slow
def test_several_batches_share_their_weights(model, images, tmp_path):
    """Each is one partition for XNNPACK, which the sizes of tests do not show; `docs/guides/tflite.md` has times."""
    weights = 2 * sum(np.prod(variable.shape) for variable in model.variables)
    (one,) = to_tflite(model, tmp_path, ["float16"])
    (row,) = to_tflite(model, tmp_path, ["float16"], batch_size=(2, 1, 5), overwrite=True)
    assert row["bytes"] - one["bytes"] < 2 * (one["bytes"] - weights)
    content = (tmp_path / "float16.tflite").read_bytes()
    graphs = {
        each.signatureKey: each.subgraphIndex for each in schema.ModelT.InitFromPackedBuf(content, 0).signatureDefs
    }
    assert graphs[b"serving_default"] == 0  # which the metadata describe, and which runs where nobody names a signature
    runner = TFLiteModel(tmp_path / "float16.tflite", threads=1)
    signatures = runner.interpreter.get_signature_list()
    assert {name: list(each["inputs"]) for name, each in signatures.items()} == {
        name: ["images"] for name in ("serving_default", "serving_default_1", "serving_default_5")
    }
    assert (row["batch_size"], runner.batch_size, row["xnnpack_partitions"]) == (2, 2, 1)
    single = [runner(image[None])["probabilities"] for image in images(8)]
    np.testing.assert_allclose(runner(images(8))["probabilities"], np.concatenate(single), atol=1e-6)


@pytest.mark.parametrize("second", [(1, 8, 8, 3), (2, 4, 4, 3)], ids=["the same batch", "another size"])
def test_signatures_that_are_no_batches_of_one_model(second, tmp_path):
    module, folder = tf.Module(), str(tmp_path / "saved")
    functions = {
        name: tf.function(lambda images: {"logits": images[:, 0, 0]}, [tf.TensorSpec(shape, name="images")])
        for name, shape in (("serving_default", (1, 8, 8, 3)), ("other", second))
    }
    tf.saved_model.save(module, folder, signatures=functions)
    (tmp_path / "x.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    with pytest.raises(ValueError, match=r"x\.tflite must have one signature .*, or one for each batch size"):
        TFLiteModel(tmp_path / "x.tflite")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precisions": ["float32", "flaot16"]}, ValueError, "'flaot16' is unknown; did you mean float16?"),
        ({"precisions": []}, ValueError, "No precision is asked for; known are float32, float16"),
        ({"precisions": ["int8"]}, ValueError, "needs representative images"),
        ({"precisions": ["static_int8"]}, ValueError, "static_int8 needs representative images"),
        ({"precisions": ["int8"], "representative": []}, ValueError, "representative has no images"),
        (
            {"precisions": ["int8"], "representative": [np.zeros((1, 8, 8, 3), np.float32)]},
            ValueError,
            r"representative has the shape \(1, 8, 8, 3\).* must be float32 \(N, 16, 16, 3\)",
        ),
        ({"batch_size": 0}, ValueError, "batch_size is 0; it must be at least 1"),
        ({"batch_size": (4, 1, 4)}, ValueError, "batch_size is 4, 1, 4; name each number once."),
        (
            {"batch_size": (1, 4), "precisions": ["int8"], "representative": [np.zeros((1, 16, 16, 3), np.float32)]},
            ValueError,
            "int8 files have one batch size; name one, or write other precisions.",
        ),
        ({"class_names": NAMES[:9]}, ValueError, "9 class names for 10 classes"),
        ({"class_names": [*NAMES[:9], "two\nlines"]}, ValueError, "11 class names for 10 classes"),
        ({"images": np.full((1, 16, 16, 3), 255, np.float32)}, ValueError, r"images has values from 255 to 255"),
        ({"images": np.zeros((1, 16, 16, 3), np.uint8)}, ValueError, "the dtype uint8; it must be float32"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_bad_requests_write_nothing(options, error, message, model, tmp_path):
    with pytest.raises(error, match=message):
        to_tflite(model, tmp_path / "new", **options)
    assert not list(tmp_path.iterdir())


def test_files_are_not_replaced_unasked(model, tmp_path):
    (tmp_path / "float16.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"float16.json exists already; pass overwrite=True"):
        to_tflite(model, tmp_path, ["float32", "float16"])
    with pytest.raises(NotADirectoryError, match="is a file; it must be a directory"):
        to_tflite(model, tmp_path / "float16.json", ["float32"])
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"float16.json": "mine"}


def test_a_failing_conversion_leaves_everything_as_it_was(small_nest, images, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    (tmp_path / "float32.tflite").write_text("old")
    monkeypatch.setattr(tflite_files, "convert", fail)
    with pytest.raises(OSError, match="disk full"):
        to_tflite(small_nest(), tmp_path, ["float32"], images=images(1), overwrite=True)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"float32.tflite": "old"}


@pytest.mark.slow
def test_runs_without_litert(written, images, monkeypatch):
    file = written[0] / "float32.tflite"
    with_litert = TFLiteModel(file)(images(3))["logits"]
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert runtime_name().startswith("tensorflow 2")
    model = TFLiteModel(str(file), threads=1)
    assert type(model.interpreter).__module__.startswith("tensorflow")
    np.testing.assert_allclose(model(images(3))["logits"], with_litert, atol=1e-5)


@pytest.mark.slow
def test_a_file_says_what_is_wrong(written, images, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing.tflite does not exist"):
        TFLiteModel(tmp_path / "missing.tflite")
    (tmp_path / "bad.tflite").write_text("no model at all")
    with pytest.raises(ValueError, match=r"bad.tflite cannot be read as a TFLite file"):
        TFLiteModel(tmp_path / "bad.tflite")
    model = TFLiteModel(written[0] / "float32.tflite")
    for wrong in (images(2, (8, 8)), images(2)[0]):
        with pytest.raises(ValueError, match=r"Images have the shape \(.*\); it must be \(B, 16, 16, 3\)"):
            model(wrong)
    with pytest.raises(ValueError, match=r"\(0, 16, 16, 3\), which holds no pixels; there must be an image at least"):
        model(images(2)[:0])


@pytest.mark.parametrize("shape", [(16, 24, 3), (8, 8, 1)])
def test_the_images_to_compare_on_are_photographs(shape, monkeypatch):
    photographs = sample_images(shape)
    assert photographs.dtype == np.float32
    assert photographs.shape == (10, *shape)
    assert 0 <= photographs.min() < 0.1
    assert 0.9 < photographs.max() <= 1
    # Neighboring pixels of a photograph are alike, those of noise are not.
    assert np.abs(np.diff(photographs, axis=2)).mean() < 0.15
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    noise = sample_images(shape)
    assert noise.shape == photographs.shape
    assert np.abs(np.diff(noise, axis=2)).mean() > 0.3


@pytest.mark.slow
def test_both_kinds_of_int8_see_the_same_digits(tmp_path):
    keras.utils.set_random_seed(0)
    train, test, _ = digits.load(16)
    images, test_images = (split.images.astype(np.float32) / 255 for split in (train, test))
    model = keras_nest.NesT(
        10, 16, embedding_dim=32, num_heads=2, num_layers_per_block=(1, 1), init_patch_embed_size=2, scale_hidden_dims=2
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A rate that ends at zero: with a constant one the last steps, and with them the processor, decide.
    epochs, batch = 8, 48
    rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * len(images) // batch)
    model.compile(AdamW(rate, weight_decay=0.05), loss, metrics=["accuracy"], jit_compile=False)
    model.fit(images, train.labels, batch_size=batch, epochs=epochs, verbose=0)
    assert model.evaluate(test_images, test.labels, verbose=0)[1] > 0.95
    rows = to_tflite(model, tmp_path, PRECISIONS, representative=[images[:100]], images=test_images)
    for row, agreement in zip(rows, (1, 1, 0.99, 0.99), strict=True):
        assert row["images"] == 360
        assert row["top1_agreement"] >= agreement


@pytest.mark.slow
def test_files_of_nest_tiny(tmp_path):
    """Of all its widths; the layers that are left out are like those that are there."""
    model = keras_nest.create_model("nest_tiny", image_size=112, num_layers_per_block=(1, 1, 2))
    pictures = sample_images((112, 112, 3))[:1]
    rows = to_tflite(model, tmp_path, PRECISIONS, representative=[pictures], images=pictures)
    assert rows[0]["bytes"] == pytest.approx(4 * model.count_params(), rel=0.02)
    shares = [row["share_of_float32"] for row in rows]
    assert shares[1] <= 0.52
    assert max(shares[2:]) <= 0.30
    assert rows[0]["xnnpack_ops"] == rows[0]["ops"]
    assert rows[0]["xnnpack_partitions"] == 1
    assert rows[0]["max_abs_diff"] <= 1e-5 * max(1, rows[0]["largest"])


@pytest.mark.slow
def test_matrix_products_in_calibrated_8_bits(model, images, tmp_path):
    """In one piece for XNNPACK, with all metadata; what calibration has not met is not cut off."""
    pytest.importorskip("ai_edge_quantizer")
    pixels = images(9)
    precisions = ["float32", "dynamic_int8", "static_int8"]
    options = {"representative": [0.5 + 0.01 * pixels], "class_names": NAMES, "images": pixels, "activation": "none"}
    plain, _, row = to_tflite(model, tmp_path, precisions, **options)
    assert row["bytes"] < 0.75 * plain["bytes"]
    assert (row["xnnpack_partitions"], row["xnnpack_ops"]) == (1, row["ops"])
    assert row["top1_agreement"] is not None
    assert zipfile.ZipFile(tmp_path / "static_int8.tflite").read("labels.txt").decode().split("\n") == NAMES
    runner = TFLiteModel(tmp_path / "static_int8.tflite")
    dtypes = {detail["dtype"] for detail in runner.interpreter.get_tensor_details()}
    assert {np.int8, np.float32} <= dtypes
    assert runner.interpreter.get_input_details()[0]["dtype"] == np.float32
    close = tmp_path / "close"
    (row,) = to_tflite(model, close, ["static_int8"], **options | {"representative": [pixels]})
    assert row["max_abs_diff"] < 0.1 * max(1, row["largest"])


def test_static_8_bits_without_the_package(model, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(ModuleNotFoundError, match=r"ai-edge-quantizer.*pip install 'keras-nest\[quantize\]'"):
        to_tflite(model, tmp_path / "new", ["static_int8"], representative=[images(1)])
    assert not list(tmp_path.iterdir())


class TestWhatTheOutputIs:
    @pytest.mark.slow
    def test_an_embedding_of_a_classifier(self, small_nest, images, tmp_path):
        model = small_nest()
        (row,) = to_tflite(model, tmp_path, ["float32"], images=images(2), head="none", class_names=NAMES)
        below = keras.Model(model.input, model.endpoints["pre_logits"])
        spec = model.config["preprocessing"]
        wanted = below((images(2) - np.float32(spec["mean"])) / np.float32(spec["std"]))
        assert_same(TFLiteModel(tmp_path / "float32.tflite")(images(2)), np.asarray(wanted), "embedding")
        assert text(metadata(tmp_path / "float32.tflite"), 1).startswith("Image embedder")
        assert row["top1_agreement"] is None

    @pytest.mark.slow
    def test_probabilities_unless_logits_are_asked_for(self, small_nest, images, tmp_path):
        model, pixels, levels = small_nest(), images(3), np.uint8(255 * images(3))
        logits, predicted = expected(model, pixels), tf.nn.softmax(model(keras_nest.preprocessor(model)(levels)))
        for activation, name, values in ((None, "probabilities", tf.nn.softmax(logits)), ("none", "logits", logits)):
            folder = tmp_path / name
            (row,) = to_tflite(
                model, folder, ["float32"], images=pixels, activation=activation, class_names=[*"abcdefghij"]
            )
            assert_same(TFLiteModel(folder / "float32.tflite")(pixels), np.asarray(values), name)
            assert row["top1_agreement"] == 1
            # A second output would be a second head for MediaPipe.
            (output,) = metadata(folder / "float32.tflite", 3, 0, 3)
            assert {text(output, 0): text(output, 1)} == row["outputs"]
            assert text(tables(output, 6)[0], 0) == "labels.txt"
            found = open_predictor(folder / "float32.tflite").probabilities(list(levels))
            np.testing.assert_allclose(found, predicted, atol=1e-5)

    CASES = (
        ({}, None, None, tf.nn.softmax),
        ({}, keras.losses.BinaryCrossentropy(from_logits=True), None, tf.math.sigmoid),
        ({}, "mse", None, tf.nn.softmax),
        ({"num_classes": 1}, None, None, tf.math.sigmoid),
        ({"classifier_activation": "sigmoid"}, None, None, tf.math.sigmoid),
        ({"classifier_activation": "sigmoid"}, None, "none", None),
        ({}, keras.losses.BinaryCrossentropy(from_logits=True), "softmax", tf.nn.softmax),
    )

    @pytest.mark.parametrize(("fields", "loss", "asked", "activation"), CASES)
    def test_as_asked_for_or_as_the_model_and_its_loss_say(self, small_nest, images, fields, loss, asked, activation):
        model = small_nest(**fields)
        if loss:
            model.compile(loss=loss)
        logits = on_unit_images(logits_model(model), model)(images(2)).numpy()
        found = image_source(model, 1, activation=asked).call(tf.constant(images(2)))
        wanted = {"probabilities": activation(logits).numpy()} if activation else {"logits": logits}
        assert_same(found, wanted)

    @pytest.mark.slow
    def test_scores_of_full_int8(self, model, images, tmp_path):
        """Its output is 8 bits of the unit interval, so that a threshold means the same."""
        pixels = images(5)
        to_tflite(model, tmp_path, ["int8"], representative=[pixels], images=pixels)
        runner = TFLiteModel(tmp_path / "int8.tflite")
        detail = runner.interpreter.get_signature_runner().get_output_details()["probabilities"]
        assert detail["quantization"] == (1 / 256, 0)
        np.testing.assert_allclose(runner(pixels)["probabilities"], tf.nn.softmax(expected(model, pixels)), atol=0.1)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("fields", "kind", "words"),
        [
            ({}, "Image classifier", "Probabilities of the classes"),
            ({"num_classes": 0}, "Image embedder", "no scores"),
        ],
    )
    def test_a_file_says_what_it_gives(self, small_nest, images, tmp_path, fields, kind, words):
        (row,) = to_tflite(small_nest(**fields), tmp_path, ["float32"], images=images(1))
        (output,) = metadata(tmp_path / "float32.tflite", 3, 0, 3)
        assert text(metadata(tmp_path / "float32.tflite"), 1).startswith(kind)
        (meaning,) = row["outputs"].values()
        assert words in meaning
        assert text(output, 1) == meaning

    @pytest.mark.parametrize(
        ("fields", "activation", "message"),
        [
            ({"num_classes": 0}, "softmax", "gives embedding and no logits, so leave it out"),
            ({"features_only": True}, "sigmoid", "gives maps and no logits"),
            ({"num_classes": 0}, "none", "gives embedding and no logits"),
            ({}, "softmaxx", "activation is 'softmaxx'; did you mean softmax"),
        ],
    )
    def test_an_activation_without_logits(self, small_nest, tmp_path, fields, activation, message):
        with pytest.raises(ValueError, match=message):
            to_tflite(small_nest(**fields), tmp_path, ["float32"], activation=activation)
        assert list(tmp_path.iterdir()) == []
