"""`keras-nest finetune`, as its user sees it: from a folder to a model that answers right."""

import json
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

import keras_nest
from keras_nest import console
from keras_nest.cli import commands as cli
from keras_nest.cli import train
from keras_nest.data.sources.table import read_table
from keras_nest.finetune import plan
from keras_nest.finetune.decisions import Times
from keras_nest.training.history import read_history
from tests.finetune import photos
from tests.finetune.conftest import folder, trained  # noqa: F401 - of the package that does the work
from tests.training import runs

OF_A_RUN = {"classes.txt", "config.json", "config.py", "confusion.png", "finetune.json", "images.csv", "metrics.json"}
OF_A_RUN |= {"model.keras", "report.html", "mistakes.png"}


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 110)

    def run_here(*arguments):
        code = cli.main(["finetune", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run_here


def read_metrics(workdir):
    return json.loads((workdir / "metrics.json").read_text())


class TestTheHeadAlone:
    """In one test, since each fine-tuning takes seconds."""

    @pytest.mark.slow
    def test_an_awkward_folder_is_learned_and_told(self, run, trained, folder, tmp_path):  # noqa: F811
        words = (
            folder,
            "--model",
            trained,
            "--workdir",
            tmp_path / "run",
            "--blocks",
            0,
            "--class-weights",
            "balanced",
        )
        code, output, errors = run(*words)
        assert (code, errors) == (0, "")
        for told in (
            "220 images of 7 classes, 48 x 48 pixels",
            "Kaffee & Kuchen",
            "rocket[1]",
            f"Left out: {folder}/Katze/no image.png is no image, {folder}/temple/cut off.jpg is cut off or damaged",
            "Passed over: 1 .md beside the classes, 1 .txt in Katze.",
            "Classes without an image, which are left out: nothing yet.",
            "153 train, 32 val, 35 test",
            "32 x 32",
            "none, the head alone",
            "all classes count the same",
            "Too few images to measure how well it is recognized: only one.",
            f"In two classes lies what {folder}/Katze/without suffix shows: Katze and temple; one must be wrong.",
            f"keras-nest export '{tmp_path}/run'" if " " in str(tmp_path) else f"keras-nest export {tmp_path}/run",
        ):
            assert told in output, told
        metrics = read_metrics(tmp_path / "run")
        assert metrics["top1"] > 0.7  # a quarter of the images are of the largest class
        assert (metrics["part"], metrics["examples"], metrics["val"]["examples"], metrics["steps"]) == (
            "test",
            35,
            32,
            0,
        )
        assert metrics["head_top1"] == pytest.approx(metrics["val"]["top1"])
        assert [row["name"] for row in metrics["classes"]] == sorted({*photos.COUNTS, "only one"})
        assert runs.files(tmp_path / "run") == OF_A_RUN | {"probe.npz"}
        # The same command again says so, and another one is refused.
        model = (tmp_path / "run" / "model.keras").read_bytes()
        code, output, _ = run(*words)
        assert code == 0
        assert f"{tmp_path / 'run'} holds this run, finished; --overwrite starts it anew." in output
        code, _, errors = run(*words[:-1], "none", "--seed", 3)
        assert code == 2
        assert (
            "belongs to another run (class_weights is 'balanced' there and 'none' here, seed is 0 there and 3" in errors
        )
        assert (tmp_path / "run" / "model.keras").read_bytes() == model

    @pytest.mark.slow
    def test_a_batch_that_fits_into_the_memory(self, run, trained, folder, tmp_path, monkeypatch):  # noqa: F811
        tried = []

        def full(model, source, recipe, size, batch, trains):
            tried.append(batch)
            if batch > 4:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            return Times(0.001, 0.01)

        monkeypatch.setattr(plan, "measure", full)
        words = (folder, "--model", trained, "--workdir", tmp_path / "run")
        code, _, errors = run(*words, "--batch-size", 8)
        assert code == 2
        assert errors.startswith("error: Batches of 8 images do not fit into the memory; smaller images (--image-size)")
        assert tried == [8]

        def begin(*arguments):
            raise FileExistsError("That is enough.")

        monkeypatch.setattr("keras_nest.finetune.run.begin", begin)
        code, output, errors = run(*words)
        assert (code, errors) == (2, "error: That is enough.\n")
        assert tried == [8, 16, 8, 4]
        assert "larger ones do not fit into the" in output


def test_a_file_in_the_place_of_the_directory(run, folder, tmp_path):  # noqa: F811
    (tmp_path / "run").write_text("mine")
    for words in ([], ["--overwrite"]):
        code, _, errors = run(folder, "--model", "testing", "--workdir", tmp_path / "run", *words)
        assert (code, errors) == (2, f"error: {tmp_path}/run is a file; the working directory must be a directory.\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["nowhere", "--model", "testing"],
            r"There is no folder nowhere; images must lie as FOLDER/CLASS/image\.jpg or",
        ),
        (["FOLDER", "--model", "tasting"], r"There is no model 'tasting'; did you mean testing"),
        (["FOLDER", "--model", "testing", "--blocks", "some"], r"--blocks is 'some'; it must be a number of blocks"),
        (
            ["FOLDER", "--model", "testing", "--backend", "jax"],
            r"keras-nest finetune runs .*; keras-nest train --backend=jax",
        ),
        (["FOLDER", "--model", "testing", "--max-broken", "0"], r"3 of 223 images cannot be read, and --max-broken"),
        (
            ["FOLDER/Katze", "--model", "testing"],
            r".*Katze has no images in folders of classes; a classifier needs two",
        ),
    ],
)
def test_one_sentence(words, sentence, run, folder, tmp_path):  # noqa: F811
    words = [word.replace("FOLDER", str(folder)) for word in words]
    code, _, errors = run(*words, "--workdir", tmp_path / "run")
    assert code == 2
    assert re.match(f"error: {sentence}", errors)
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_directory_of_another_command(run, folder, tmp_path):  # noqa: F811
    (tmp_path / "config.json").write_text("{}")
    code, output, errors = run(folder, "--model", "testing", "--workdir", tmp_path)
    assert (code, output) == (2, "")
    assert errors.startswith(f"error: {tmp_path} belongs to a run of another command; choose another --workdir, or")


@pytest.fixture(scope="module")
def tuned(trained, folder, tmp_path_factory):  # noqa: F811
    """Directory of a run that trained the last block, too, its folder, which no other test sees, and its words."""
    own = shutil.copytree(folder, tmp_path_factory.mktemp("own") / "my photos")
    workdir = tmp_path_factory.mktemp("runs") / "tuned"
    words = ["finetune", str(own), "--model", str(trained), "--workdir", str(workdir), "--epochs", "4", "--blocks", "1"]
    assert cli.main(words) == 0
    return workdir, own, words


@pytest.mark.slow
class TestTheLastBlocks:
    def test_it_is_as_good_as_the_head_alone_or_better(self, tuned):
        workdir, _, _ = tuned
        metrics, rows = read_metrics(workdir), read_history(workdir / "history.csv")
        assert metrics["val"]["top1"] >= metrics["head_top1"] > 0.7
        assert metrics["val"]["top1"] == pytest.approx(max([metrics["head_top1"], *(r["eval_accuracy"] for r in rows)]))
        assert metrics["top1"] > 0.7
        assert OF_A_RUN | {"history.csv", "curves.png", "checkpoints"} <= runs.files(workdir)

    def test_a_run_that_was_killed_goes_on(self, tuned, tmp_path, capsys):
        workdir, _, words = tuned
        shutil.copytree(workdir, tmp_path / "killed")
        for name in ("metrics.json", "model.keras", "confusion.png"):
            (tmp_path / "killed" / name).unlink()
        last = read_history(workdir / "history.csv")[-1]["step"]
        for path in (tmp_path / "killed" / "checkpoints").glob(f"ckpt-{last}.*"):
            path.unlink()
        config = (tmp_path / "killed" / "config.py").read_text()
        # What was written names the directory that it was written to.
        for name in ("config.json", "finetune.json"):
            path = tmp_path / "killed" / name
            path.write_text(path.read_text().replace(str(workdir), str(tmp_path / "killed")))
        words = [word.replace(str(workdir), str(tmp_path / "killed")) for word in words]
        assert cli.main(words) == 0
        assert "Going on after step" in capsys.readouterr().out
        old, new = (runs.without_timing(read_metrics(path)) for path in (workdir, tmp_path / "killed"))
        assert new == old
        assert config == (tmp_path / "killed" / "config.py").read_text()

    def test_predict_answers_right_in_another_process(self, tuned):
        """With classes by name, for photographs of all formats that the model never saw."""
        workdir, _, _ = tuned
        rows = [row for row in read_table(workdir / "images.csv").rows if row.part == "test"]
        command = [pathlib.Path(sys.executable).with_name("keras-nest"), "predict", *(row.file for row in rows)]
        done = subprocess.run([*command, "--model", workdir, "--json"], capture_output=True, text=True, check=True)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(rows)
        right = [answer["predictions"][0]["label"] == row.label for answer, row in zip(answers, rows, strict=True)]
        assert sum(right) / len(right) == pytest.approx(read_metrics(workdir)["top1"])

    def test_other_doors_take_the_run(self, tuned, tmp_path, capsys):
        workdir, own, _ = tuned
        image = next(path for path in (own / "Katze").iterdir() if path.suffix == ".jpg")
        loaded = keras_nest.open_model(workdir)
        assert loaded.class_names == tuple(sorted({*photos.COUNTS, "only one"}))
        for words in (
            ["info", workdir],
            ["explain", image, "--model", workdir, "--method", "cam", "--class", "Katze"],
            ["export", workdir, "--format", "saved_model", "--output", tmp_path / "served"],
            ["predict", image, "--model", tmp_path / "served" / "1"],
            ["data", workdir / "images.csv", "--recipe", "plain", "--image-size", "32"],
        ):
            assert cli.main([str(word) for word in words]) == 0, words
        output = capsys.readouterr().out
        assert "Katze" in output
        assert re.search(r"test images +│ 35", output)

    def test_the_configuration_beside_it_trains(self, tuned, tmp_path):
        workdir, _, _ = tuned
        train.run(
            [
                "train",
                f"--config={workdir / 'config.py'}",
                f"--workdir={tmp_path / 'again'}",
                "--config.num_epochs=1",
                "--config.warmup_epochs=0",
            ]
        )
        assert read_metrics(tmp_path / "again")["examples"] == 32

    def test_a_folder_that_changed(self, tuned, capsys):
        """Changes nothing of what is finished, and ends what is not."""
        workdir, own, words = tuned
        photos.photograph("temple").resize((48, 48)).save(own / "temple" / "new.png")
        assert cli.main(words) == 0
        assert "is not as it was when this run began (1 new), which changes nothing here." in capsys.readouterr().out
        (own / "temple" / "copy.jpg").unlink()
        (workdir / "metrics.json").rename(workdir / "metrics.txt")
        assert cli.main(words) == 2
        assert (
            "is not as it was when this run began (1 new, 1 gone); choose another --workdir" in capsys.readouterr().err
        )
        (workdir / "metrics.txt").rename(workdir / "metrics.json")


@pytest.mark.slow
def test_a_list_with_rare_classes(trained, tmp_path, capsys):  # noqa: F811
    """JSON lines; what is asked about loss and sampling lands in config.json, and in config.py, which trains alike."""
    root = photos.write_flat(tmp_path / "images", 0.4)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    lines = [{"image": str(path.relative_to(tmp_path)), "labels": [path.parent.name]} for path in paths]
    lines += [{"image": "images/lost.jpg", "labels": ["temple"]}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = ["finetune", tmp_path / "list.jsonl", "--model", trained, "--workdir", tmp_path / "run", "--epochs", 2]
    words += ["--loss", "focal", "--label-smoothing", 0.1, "--sampling", "balanced"]
    assert cli.main([*map(str, words)]) == 0
    output = capsys.readouterr().out
    assert f"Left out: {tmp_path}/images/lost.jpg is not there." in output.replace("\n", "")
    assert "keras-nest predict IMAGE --model" in output
    metrics, config = read_metrics(tmp_path / "run"), json.loads((tmp_path / "run" / "config.json").read_text())
    assert metrics["top1"] > 0.5
    assert (tmp_path / "run" / "report.html").exists()
    assert (config["loss"], config["sampling"], config["mix"]["smoothing"]) == ("focal", "balanced", 0.1)
    written = runpy.run_path(str(tmp_path / "run" / "config.py"))["get_config"]().to_dict()
    assert {name: config[name] for name in ("loss", "sampling", "mix")} == {
        name: written[name] for name in ("loss", "sampling", "mix")
    }
    assert cli.main([*map(str, words)]) == 0
    assert "is not as it was" not in capsys.readouterr().out


@pytest.mark.slow
def test_new_weights(tmp_path, capsys):
    """A folder with parts, two classes, some images in both parts, and a model that starts from nothing."""
    for seed, part in enumerate(("train", "val")):
        photos.write_flat(tmp_path / "photos" / part, 0.6, seed)
        for name in ("Katze", "Astronautin", "rocket[1]", "Kaffee & Kuchen"):
            shutil.rmtree(tmp_path / "photos" / part / name)
    words = ["finetune", tmp_path / "photos", "--model", "testing", "--workdir", tmp_path / "run", "--epochs", 10]
    shutil.copy(tmp_path / "photos/val/temple/IMG 0000 (1).jpg", tmp_path / "photos/train/temple/copy.jpg")
    assert cli.main([*map(str, words), "--image-size", "32", "--batch-size", "8", "--learning-rate", "1e-2"]) == 0
    output = capsys.readouterr().out
    assert "Left out of training, since the part that measures shows the same: 1." in output
    assert "the weights are new; --weights names better ones" in output
    metrics = read_metrics(tmp_path / "run")
    assert (metrics["part"], metrics["examples"], metrics["head_top1"]) == ("val", 60, None)
    assert metrics["top1"] > 0.8  # 0.6 are of the larger class


@pytest.mark.slow
def test_a_learning_rate_is_found_and_taken(run, trained, folder, tmp_path):  # noqa: F811
    """Nothing is trained but what is thrown away, so that the same command with the rate begins anew."""
    words = (folder, "--model", trained, "--workdir", tmp_path / "run")
    command = [pathlib.Path(sys.executable).with_name("keras-nest"), "finetune", *map(str, words), "--find-lr"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"learning-rate.csv", "learning-rate.png"}
    rate = re.search(r"The same command with --learning-rate (\S+) trains", done.stdout)[1]
    assert 1e-6 < float(rate) < 0.1
    code, output, errors = run(*words, "--learning-rate", rate, "--epochs", 1)
    assert code == 0, errors
    assert "as asked for" in output
    code, _, errors = run(*words, "--blocks", 0, "--find-lr")
    assert code == 2
    assert "--find-lr is of training steps" in errors
