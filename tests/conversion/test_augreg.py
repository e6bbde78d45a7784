"""The index of AugReg, and what file names tell."""

import pkgutil
import runpy
import sys

import numpy as np
import pandas
import pytest

import keras_nest
from keras_nest import console, conversion, export
from keras_nest.conversion.augreg_index import augreg_ranking, checkpoint_uri, parse_model_name
from tests.golden import vit_loading

FOLDER = vit_loading.FOLDER / "augreg"
INDEX = FOLDER / "index.csv"
EXPECTED = vit_loading.facts("augreg/augreg")
SCORED = {model: row for model, row in EXPECTED["best_i21k"].items() if row.get("final_val") is not None}
UPSTREAM = "R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0"


@pytest.fixture(scope="module")
def index():
    return conversion.augreg(INDEX)


def made_up(*rows):
    """An index of (filename, final_val) rows, pre-trained on ImageNet-21k."""
    return pandas.DataFrame([{"ds": "i21k", "filename": name, "final_val": score} for name, score in rows])


class TestReading:
    def test_rows_columns_and_types(self, index):
        assert len(index) == EXPECTED["rows"]
        assert {name: str(dtype) for name, dtype in index.dtypes.items()} == EXPECTED["dtypes"]
        assert conversion.augreg(str(INDEX)).equals(index)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"There is no .*nowhere\.csv\."):
            conversion.augreg(tmp_path / "nowhere.csv")
        with pytest.raises(FileNotFoundError, match="There is no index"):
            conversion.augreg(tmp_path)

    def test_missing_columns(self, index, tmp_path):
        index.drop(columns=["final_val", "ds"]).to_csv(tmp_path / "index.csv")
        with pytest.raises(ValueError, match="lacks ds, final_val;"):
            conversion.augreg(tmp_path / "index.csv")

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2,3\n1\n1,2,3,4,5\n"])
    def test_no_csv(self, content, tmp_path):
        (tmp_path / "index.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"index\.csv is no CSV file: [^\n]*\.$"):
            conversion.augreg(tmp_path / "index.csv")

    def test_without_pandas(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(
            ModuleNotFoundError,
            match=r"pip install 'keras-nest\[augreg\]', or in a checkout",
        ):
            conversion.augreg(INDEX)


class TestBest:
    @pytest.mark.parametrize("model", SCORED)
    def test_the_rows_of_the_reference(self, index, model):
        best = conversion.augreg_best(index, model)
        assert (best["filename"], best["final_val"]) == (SCORED[model]["filename"], SCORED[model]["final_val"])
        assert best["ds"] == "i21k"

    def test_a_missing_score_does_not_win(self, index):
        """The reference recommends a checkpoint of which nobody knows how good it is."""
        best = conversion.augreg_best(index, "B_8")
        assert EXPECTED["best_i21k"]["B_8"]["final_val"] is None
        assert best["filename"] == "B_8-i21k-300ep-lr_0.001-aug_medium2-wd_0.1-do_0.0-sd_0.0"
        assert best["final_val"] == 0.51

    def test_path_and_full_name(self, index):
        assert conversion.augreg_best(INDEX, "R26+ViT-S_32").equals(conversion.augreg_best(index, "R26_S_32"))

    @pytest.mark.parametrize("model", ["L_16", "B16", "S", ""])
    def test_unknown_model(self, index, model):
        with pytest.raises(ValueError, match=f"of '{model}' with a score; it has B_8, R26_S_32, R_Ti_16, S_16, Ti_16"):
            conversion.augreg_best(index, model)

    def test_no_score_at_all(self):
        with pytest.raises(ValueError, match="it has none at all"):
            conversion.augreg_best(made_up(("S_16-i21k-a", np.nan)), "S_16")

    def test_ranking(self):
        rows = [("S_16-i21k-a", 0.2), ("S_16-i21k-b", 0.3), ("S_16-i21k-c", np.nan), ("S_16-i21k-d", 0.3)]
        ranking = augreg_ranking(made_up(*rows, ("S_32-i21k-e", 0.9)), "S_16")
        assert list(ranking["filename"].str[-1]) == ["b", "d", "a"]


class TestFileNames:
    @pytest.mark.parametrize(
        ("filename", "model"),
        [
            (UPSTREAM, "R26+ViT-S_32"),
            (f"{UPSTREAM}--oxford_iiit_pet-steps_0k-lr_0.003-res_384.npz", "R26+ViT-S_32"),
            ("gs://vit_models/augreg/R_Ti_16-i1k-300ep-lr_0.001.npz", "R+ViT-Ti_16"),
            ("B_8-i21k_30-30ep-lr_0.001", "ViT-B_8"),
            ("gs://vit_models/sam/ViT-B_16.npz", "ViT-B_16"),
            ("/data/ViT-B_16-224.npz", "ViT-B_16"),
            ("R50+ViT-L_32.npz", "R50+ViT-L_32"),
            ("Mixer-L_16.npz", "Mixer-L_16"),
            ("ViT-S_16-gap-norep", "ViT-S_16-gap-norep"),
            ("nest_tiny.keras", "nest_tiny_s196_224"),
            ("ViT-B_16/", "ViT-B_16"),
        ],
    )
    def test_told(self, filename, model):
        assert parse_model_name(filename) == model

    @pytest.mark.parametrize("filename", ["", "model.npz", "ckpt.39", "ViT-B_16/model.npz", "vit-b_16.npz"])
    def test_nothing_told(self, filename):
        assert parse_model_name(filename) is None

    @pytest.mark.parametrize("filename", ["ViT-B_160", "ViT-B_16-best", "B_16x-i21k-3ep", "my-ViT-B_16", "testing-x"])
    def test_more_than_a_model(self, filename):
        assert parse_model_name(f"{filename}.npz") is None

    def test_every_published_name(self):
        assert {parse_model_name(name) for name in keras_nest.list_models()} == set(keras_nest.list_models())
        files = vit_loading.facts("manifest")["files"]
        assert [parse_model_name(file["uri"]) for file in files] == [file["config"] for file in files]

    def test_names_of_the_index(self, index):
        for column in ("filename", "adapt_filename"):
            models = index["name"].str.replace("/", "_").str.replace(r"^(R\d*\+)?", r"\1ViT-", regex=True)
            assert list(index[column].map(parse_model_name)) == list(models)

    def test_uri(self):
        uri = f"gs://vit_models/augreg/{UPSTREAM}.npz"
        assert checkpoint_uri(UPSTREAM) == checkpoint_uri(f"{UPSTREAM}.npz") == uri
        assert uri in {file["uri"] for file in vit_loading.facts("manifest")["files"]}


class TestCommand:
    """`python -m conversion augreg`, in this process."""

    @pytest.fixture
    def show(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setattr(console.console, "width", 110)

        def show_here(table, *arguments):
            table.to_csv(tmp_path / "index.csv")
            monkeypatch.setattr(sys, "argv", ["", "augreg", "--index", str(tmp_path / "index.csv"), *arguments])
            with pytest.raises(SystemExit) as stopped:
                runpy.run_module("conversion", run_name="__main__")
            return stopped.value.code, *capsys.readouterr()

        return show_here

    def test_table_and_addresses(self, show, index):
        code, output, errors = show(index, "--model=ViT-S_16")
        assert (code, errors) == (0, "")
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line[0] == "│"]
        tuned = "--imagenet2012-steps_20k-lr_0.03-res_384"
        best, second = SCORED["S_16"]["filename"], "S_16-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.1-sd_0.1"
        assert rows == [
            [best, "ImageNet-21k", "224", "43.1 %"],
            [tuned, "ImageNet-2012", "384", "82.4 %"],
            [second, "ImageNet-21k", "224", "40.2 %"],
            [tuned, "ImageNet-2012", "384", "86.8 %"],
        ]
        assert output.split("Recommended:")[1].split() == [checkpoint_uri(best), checkpoint_uri(best + tuned)]

    def test_bad_input_is_one_sentence_and_exit_code_2(self, show, index):
        code, output, errors = show(index, "--model=B16")
        assert (code, output, errors.count("\n")) == (2, "", 1)
        assert errors.startswith("error: The index has no ImageNet-21k checkpoint of 'B16'")

    def test_rows(self, show, index):
        code, output, _ = show(index, "--model=S_16", "--rows=1")
        assert code == 0
        assert output.count("ImageNet-21k") == 1
        code, output, errors = show(index, "--model=S_16", "--rows=0")
        assert (code, output, errors) == (2, "", "error: --rows is 0; it must be at least 1.\n")

    def test_the_best_fine_tuned_one_of_several(self, show, index):
        row = conversion.augreg_best(index, "S_16").to_dict()
        better = {**row, "adapt_ds": "imagenet2012", "adapt_resolution": 224, "adapt_final_val": 0.9}
        unknown = {**better, "adapt_final_val": np.nan, "adapt_filename": "unknown"}
        better["adapt_filename"] = f"{row['filename']}--imagenet2012-steps_20k-lr_0.01-res_224"
        _, output, _ = show(pandas.concat([index, pandas.DataFrame([unknown, better])]), "--model=S_16", "--rows=1")
        assert "90.0 %" in output
        assert output.rstrip().endswith("lr_0.01-res_224.npz")

    def test_never_fine_tuned(self, show, index):
        code, output, _ = show(index[index["adapt_ds"] != "imagenet2012"], "--model=S_16")
        assert code == 0
        assert "ImageNet-2012" not in output
        assert output.split("Recommended:")[1].split() == [checkpoint_uri(SCORED["S_16"]["filename"])]


def test_no_module_stands_in_the_place_of_a_function():
    """`import conversion.…` puts modules beside the functions of the package, under their own names."""
    for package in (conversion, export):
        assert {module.name for module in pkgutil.iter_modules(package.__path__)}.isdisjoint(package.__all__)
