"""The table of published checkpoints against the reference's layouts, and how a user finds a row."""

import collections
import re

import pytest

from keras_nest import registry
from keras_nest.conversion import published
from keras_nest.conversion.published import PUBLISHED, companions, find, others
from tests.golden import vit_loading

FILES = {file["uri"]: file for file in vit_loading.facts("manifest")["files"]}
ROWS = {row.uri: row for row in PUBLISHED}
UPSTREAM = "R50_L_32-i1k-300ep-lr_0.001-aug_medium2-wd_0.1-do_0.0-sd_0.0"


class TestTable:
    def test_rows_of_the_reference(self):
        for uri, file in FILES.items():
            row = ROWS[uri]
            facts = file["config"], file["head_classes"], file["image_size"]
            assert (row.model, row.classes, row.image_size) == facts, uri
            assert row.bytes == 4 * file["param_count"] * file.get("copies", 1), uri
            assert row.source == uri.split("/")[-2]

    def test_the_other_rows(self):
        nest = {f"gs://gresearch/nest-checkpoints/nest-{size}_imagenet" for size in "bst"}
        lit = {f"gs://vit_models/lit/LiT-{name}" for name in ("B16B", "B16B_2", "L16L", "L16S", "L16Ti")}
        vocabularies = {"LiT-B16B.txt", "LiT-B16B_2.txt", "LiT-L16L.txt", "LiT-L16S.model", "LiT-L16Ti.model"}
        expected = nest | {f"{uri}.npz" for uri in lit} | {f"gs://vit_models/lit/{name}" for name in vocabularies}
        expected |= {f"gs://vit_models/gsam/ViT-{size}.npz" for size in ("S_16", "S_32", "B_16", "B_32")}
        assert ROWS.keys() - FILES.keys() == expected | {"gs://vit_models/augreg/index.csv"}

    def test_addresses_are_unique(self):
        assert len(ROWS) == len(PUBLISHED)

    def test_models_are_known(self):
        unknown = {row.model for row in PUBLISHED} - set(registry.list_models())
        assert unknown <= {"", "LiT-B16B", "LiT-B16B_2", "LiT-L16L", "LiT-L16S", "LiT-L16Ti"}

    def test_sizes(self):
        """Three copies of NesT-B are the 775.1 MiB that were published; the weights fit the model's parameters."""
        assert round(ROWS["gs://gresearch/nest-checkpoints/nest-b_imagenet"].bytes / 2**20, 1) == 775.0
        for row in PUBLISHED:
            assert (
                row.bytes is None
                or 0.9 < row.bytes / 4 / registry.parameter_counts().get(row.model, row.bytes / 4) < 3.01
            )

    def test_order_of_recommendation(self):
        vit = ["imagenet21k+imagenet2012", "augreg", "imagenet21k", "sam", "gsam"]
        mixer = ["imagenet1k", "imagenet21k", "sam", "gsam"]
        sources = collections.defaultdict(list)
        for row in PUBLISHED:
            sources[row.model].append(row.source)
        for model, found in sources.items():
            order = mixer if model.startswith("Mixer") else vit
            if "ViT" in model or "Mixer" in model:
                assert found == sorted(found, key=order.index), model


class TestFind:
    def test_every_row_by_its_address_and_file(self):
        for row in PUBLISHED:
            assert find(row.uri) == row
            name = f"{row.source}/{row.uri.split('/')[-1]}"
            assert [other for other in PUBLISHED if name in published.names(other)] == [row], name

    @pytest.mark.parametrize(
        ("name", "uri"),
        [
            ("imagenet21k/ViT-B_16", "gs://vit_models/imagenet21k/ViT-B_16.npz"),
            ("imagenet21k+imagenet2012/ViT-B_16-224", "gs://vit_models/imagenet21k+imagenet2012/ViT-B_16-224.npz"),
            ("ViT-B_16-224.npz", "gs://vit_models/imagenet21k+imagenet2012/ViT-B_16-224.npz"),
            ("ViT-B_16", "gs://vit_models/imagenet21k+imagenet2012/ViT-B_16.npz"),
            ("B_16", "gs://vit_models/imagenet21k+imagenet2012/ViT-B_16.npz"),
            ("sam/B_16", "gs://vit_models/sam/ViT-B_16.npz"),
            ("ViT-S_16", "gs://vit_models/augreg/S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0.npz"),
            ("Mixer-B_16", "gs://mixer_models/imagenet1k/Mixer-B_16.npz"),
            ("Mixer-B_32", "gs://mixer_models/sam/Mixer-B_32.npz"),
            ("nest_base", "gs://gresearch/nest-checkpoints/nest-b_imagenet"),
            ("gs://gresearch/nest-checkpoints/nest-t_imagenet/", "gs://gresearch/nest-checkpoints/nest-t_imagenet"),
            ("LiT-B16B", "gs://vit_models/lit/LiT-B16B.npz"),
            ("LiT-L16S.model", "gs://vit_models/lit/LiT-L16S.model"),
            ("augreg/index.csv", "gs://vit_models/augreg/index.csv"),
        ],
    )
    def test_names(self, name, uri):
        assert find(name) == ROWS[uri]

    @pytest.mark.parametrize("form", ["{}", "{}.npz", "augreg/{}", "gs://vit_models/augreg/{}.npz"])
    @pytest.mark.parametrize(
        ("ending", "classes", "image_size"),
        [
            ("", 1000, 224),
            ("--imagenet2012-steps_20k-lr_0.03-res_384", 1000, 384),
            ("--cifar100-steps_2k-lr_0.01-res_224", 100, 224),
            ("--kitti-steps_0k-lr_0.003-res_384", None, 384),
        ],
    )
    def test_augreg_files_that_are_not_in_the_table(self, form, ending, classes, image_size):
        row = find(form.format(UPSTREAM + ending))
        assert row.uri == f"gs://vit_models/augreg/{UPSTREAM}{ending}.npz"
        assert (row.model, row.source, row.classes) == ("R50+ViT-L_32", "augreg", classes)
        assert (row.image_size, row.bytes) == (image_size, None)

    def test_addresses_and_paths_elsewhere(self, tmp_path):
        (tmp_path / "Mixer-B_16.npz").touch()
        for path in ("gs://mine/ViT-B_16.npz", str(tmp_path / "Mixer-B_16.npz"), str(tmp_path)):
            row = find(path)
            assert (row.uri, row.source, row.classes) == (path, "", None)
            assert row.model == ("" if path == str(tmp_path) else path.split("/")[-1].removesuffix(".npz"))

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("ViT-B16", "did you mean ViT-B_16"),
            ("sam/ViT-B16", "did you mean sam/ViT-B_16"),
            ("imagenet21k/ViT-S_16", "did you mean imagenet21k/ViT-L_16"),
            ("X_16-i21k-300ep-lr_0.001", "did you mean"),
            ("???", "`keras-nest list --urls` shows all"),
            ("", "`keras-nest list --urls` shows all"),
            ("/nowhere/at/all", "`keras-nest list --urls` shows all"),
        ],
    )
    def test_unknown(self, name, words):
        with pytest.raises(
            ValueError, match=f"^There is no published checkpoint and no file '{re.escape(name)}'; {words}"
        ):
            find(name)


class TestRelatives:
    def test_others(self):
        uris = [row.uri.removeprefix("gs://mixer_models/") for row in others(find("imagenet21k/Mixer-B_16"))]
        assert uris == ["imagenet1k/Mixer-B_16.npz", "sam/Mixer-B_16.npz", "gsam/Mixer-B_16.npz"]
        assert others(find("index.csv")) == []

    def test_companions(self):
        assert [row.uri for row in companions(find("LiT-L16S"))] == ["gs://vit_models/lit/LiT-L16S.model"]
        assert [row.uri for row in companions(find("LiT-B16B"))] == ["gs://vit_models/lit/LiT-B16B.txt"]
        assert [row for row in PUBLISHED if companions(row) and row.source != "lit"] == []
        assert companions(find("LiT-B16B.txt")) == []
