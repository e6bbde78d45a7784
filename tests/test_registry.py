"""Names of models, their fields and what is said about wrong ones."""

import keras
import pytest

import keras_nest
from keras_nest import registry
from keras_nest.models import mixer, vit
from tests.golden import lit_loading, loading, resnet_loading, vit_loading

NESTS = [*loading.VARIANTS, "vit_flax_nest"]
TOY = {"image_size": 16, "init_patch_embed_size": 2, "embedding_dim": 12, "num_layers_per_block": (1, 1)}


class TestListModels:
    def test_all_names_in_the_order_of_the_papers(self):
        names = keras_nest.list_models()
        assert names[:7] == NESTS
        vits = [*vit.VARIANTS, *mixer.VARIANTS]
        assert names[7:] == [*vits, *resnet_loading.PUBLISHED, *lit_loading.CONFIGS]
        assert set(vits) == {name for name in vit_loading.CONFIGS if not name.startswith("LiT")}

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*_s16_32", NESTS[3:6]),
            ("nest_base*", ["nest_base_s196_224", "nest_base_s16_32"]),
            ("nest_[ts]*_224", NESTS[:2]),
            ("vit*", ["vit_flax_nest"]),
            ("Mixer-*", ["Mixer-B_16", "Mixer-B_32", "Mixer-L_16"]),
            ("R26_*", ["R26+ViT-S_32", "R26+ViT-B_32"]),
            ("*", keras_nest.list_models()),
            ("resnet18*", ["resnet18", "resnet18_cifar"]),
            ("densenet*", []),
        ],
    )
    def test_globs(self, pattern, found):
        assert keras_nest.list_models(pattern) == found

    def test_aliases_find_their_models_once(self):
        assert keras_nest.list_models("nest_tiny") == ["nest_tiny_s196_224"]
        assert keras_nest.list_models("nest_?????") == ["nest_small_s196_224"]


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_aliases(size):
    assert registry.resolve(f"nest_{size}") == registry.resolve(f"nest_{size}_s196_224")
    assert registry.resolve(f"nest_{size}")[0] == f"nest_{size}_s196_224"


def test_augreg_names_are_aliases():
    stored = vit_loading.facts("manifest")["augreg_config_keys"]
    assert {alias: name for alias, name in stored.items() if alias != name}.items() <= registry.ALIASES.items()


def test_table_of_parameters_is_that_of_the_reference():
    counts = registry.parameter_counts()
    published = {name: loading.parameter_count(name) for name in loading.VARIANTS}
    assert published.items() <= counts.items()
    assert list(counts) == [name for name in keras_nest.list_models() if not name.startswith("testing")]


class TestCreateModel:
    def test_overrides_reach_the_model(self):
        model = keras_nest.create_model("nest_tiny", num_classes=7, mlp_ratio=2, qkv_bias=False, **TOY)
        assert model.output_shape == (None, 7)
        assert (model.config["mlp_ratio"], model.config["qkv_bias"]) == (2, False)
        assert model.config["stochastic_depth_drop"] == 0.2  # published, not overridden

    def test_published_fields_are_not_changed_by_use(self):
        _, _, before = registry.resolve("nest_tiny")
        keras_nest.create_model("nest_tiny", num_classes=7, **TOY)
        assert registry.resolve("nest_tiny")[2] == before
        assert before["num_classes"] == 1000

    @pytest.mark.parametrize(
        ("name", "suggested"),
        [
            ("nest_tny", "nest_tiny"),
            ("nest_base_s196_32", "nest_base_s16_32"),
            ("vit_nest", "vit_flax_nest"),
            ("?", "`keras-nest list` shows all"),  # nothing is near
        ],
    )
    def test_unknown_names_get_suggestions(self, name, suggested):
        with pytest.raises(ValueError, match="There is no model") as error:
            keras_nest.create_model(name)
        assert repr(name) in str(error.value)
        assert suggested in str(error.value)

    @pytest.mark.parametrize(
        ("model", "field", "hint"),
        [
            ("nest_tiny", "embeding_dim", "did you mean embedding_dim"),
            ("nest_tiny", "foo", "its fields are .*embedding_dim.*stochastic_depth_drop"),
            ("vit_flax_nest", "embedding_dim", "ViTFlaxNesT has no field"),
        ],
    )
    def test_unknown_fields_get_suggestions(self, model, field, hint):
        with pytest.raises(ValueError, match=hint) as error:
            keras_nest.create_model(model, **{field: 3})
        assert repr(field) in str(error.value)


class TestPreprocessingSpec:
    def test_of_a_name(self):
        spec, size = registry.preprocessing_spec("nest_base")
        assert size == (224, 224)
        assert spec["mean"] == [0.485, 0.456, 0.406]
        assert spec["crop_ratio"] == 0.875
        assert registry.preprocessing_spec("nest_base_s16_32")[1] == (32, 32)

    def test_of_a_model_follows_its_image_size(self):
        model = keras_nest.create_model("nest_tiny", **{**TOY, "image_size": (16, 24)})
        spec, size = registry.preprocessing_spec(model)
        assert size == (16, 24)
        assert spec == registry.preprocessing_spec("nest_tiny")[0]

    @pytest.mark.parametrize("create", [lambda: keras_nest.NesT(**TOY), lambda: keras.Sequential(name="nest")])
    def test_a_model_without_one_says_so(self, create):
        with pytest.raises(ValueError, match="'nest' carries no preprocessing"):
            registry.preprocessing_spec(create())
