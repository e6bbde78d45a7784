"""Models go to the hub, and come back from there: by the library of the hub, to one on the loopback address."""

import keras
import numpy as np
import pytest
from huggingface_hub import constants

import keras_nest
from keras_nest import export
from keras_nest.cli import commands as cli
from keras_nest.export.card import with_metadata
from tests import families
from tests.conversion import fake_hub

# The library of the hub uploads files as its own one of HTTP does not like any more.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")
NAMES = ("owl", "Käuzchen", "cat, tabby")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Models of a hub whose client is logged in, names of those that are private, and what was asked."""
    models, private = {}, set()
    with fake_hub.serve(models, private) as (address, asked):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
        yield models, private, asked


@pytest.fixture(scope="module")
def model():
    return families.vit()


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    """The directory of a training."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    model.save(folder / "model.keras")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES), "utf-8")
    (folder / "metrics.json").write_text('{"top1": 0.75, "examples": 40}')
    (folder / "config.json").write_text('{"dataset": "/home/me/owls"}')
    return folder


def same(loaded, model):
    return all(map(np.array_equal, loaded.get_weights(), model.get_weights()))


class TestThereAndBack:
    def test_a_training(self, hub, run, model, capsys):
        models, private, asked = hub
        assert cli.main(["publish", "run", "hf://me/owls", "--license", "cc-by-4.0"]) == 0
        output, _ = capsys.readouterr()
        for words in ("Published ViT-Ti_16", "/me/owls", "keras_nest.open_model('hf://me/owls')"):
            assert words in output
        files = models["me/owls"]
        assert sorted(files) == [".gitattributes", "README.md", "classes.txt", "model.keras"]
        card = files["README.md"].decode()
        assert card.startswith(
            "---\nlibrary_name: keras\npipeline_tag: image-classification\nlicense: cc-by-4.0\ntags:\n- keras-nest\n"
            "- visiontransformer\n---\n\n# ViT-Ti_16\n\nAn image classifier of the architecture VisionTransformer with "
        )
        for words in (
            "keras-nest predict photo.jpg --model hf://me/owls\n",
            'loaded = keras_nest.open_model("hf://me/owls")\n',
            "of 16 x 16 pixels",
            "3, in the order of `classes.txt`: owl, Käuzchen, cat, tabby\n",
            "| top1 | 0.75 |",
        ):
            assert words in card, words
        assert "/home" not in card
        assert not {"SavedModel", "module", "assets"} & set(card.replace("`", " ").split())
        assert len([path for path in asked if "/commit/" in path]) == 1
        assert private == set()

        loaded = keras_nest.open_model("hf://me/owls")
        assert loaded.class_names == NAMES
        assert same(loaded.model, model)
        assert same(keras_nest.create_model("hf://me/owls"), model)
        assert same(keras_nest.create_model(weights="hf://me/owls@main", image_size=16), model)
        tuned = keras_nest.create_model("hf://me/owls", num_classes=7, reinit_head=True)
        assert tuned.output_shape == (None, 7)

    def test_a_lit_and_its_vocabulary(self, hub, tmp_path):
        models, _, _ = hub
        (tmp_path / "words.txt").write_text("[PAD]\n")
        lit = families.lit()
        address = export.to_hub(lit, "hf://me/lit", vocab=tmp_path / "words.txt", private=True)
        assert address.endswith("/me/lit")
        assert hub[1] == {"me/lit"}
        assert b"pipeline_tag: zero-shot-image-classification\nlicense: other\n" in models["me/lit"]["README.md"]
        loaded = keras_nest.open_model("hf://me/lit")
        assert loaded.vocabulary.read_text() == "[PAD]\n"
        assert same(loaded.model, lit)

    def test_a_model_of_a_user_around_ours(self, hub, model):
        base = keras_nest.create_model("ViT-Ti_16", **{**families._VIT, "num_classes": 0})
        around = keras.Sequential([base, keras.layers.Dense(2, name="own")])
        export.to_hub(around, "hf://me/around", class_names=["yes", "no"])
        loaded = keras_nest.open_model("hf://me/around")
        assert loaded.class_names == ("yes", "no")
        assert same(loaded.model, around)

    def test_features(self, hub):
        models, _, _ = hub
        export.to_hub(families.vit(num_classes=0), "hf://me/features")
        card = models["me/features"]["README.md"].decode()
        assert "pipeline_tag: image-feature-extraction\n" in card
        assert "## Classes" not in card

    def test_a_card_of_ones_own(self, hub, run):
        models, _, _ = hub
        (run / "card.md").write_text("# Owls\n")
        assert cli.main(["publish", "run", "hf://me/owls", "--card", "run/card.md"]) == 0
        assert models["me/owls"]["README.md"].endswith(b"- visiontransformer\n---\n\n# Owls\n")
        with_some = "---\nlicense: mit\n---\n# Owls\n"
        assert with_metadata(with_some, families.vit()) == with_some

    def test_code_in_a_file_is_not_run(self, hub):
        """Safe mode is on, as for files on the disk."""
        models, _, _ = hub
        base = keras_nest.create_model("ViT-Ti_16", **{**families._VIT, "num_classes": 0})
        export.to_hub(keras.Sequential([base, keras.layers.Lambda(lambda x: 2 * x)]), "hf://me/code")
        assert "model.keras" in models["me/code"]
        with pytest.raises(ValueError, match=r"holds a Lambda, which runs code .*--trust \(trust=True\)"):
            keras_nest.open_model("hf://me/code")


class TestSentences:
    def test_what_is_there_is_replaced_only_when_asked(self, hub, run, capsys):
        models, _, _ = hub
        models["me/owls"] = {"model.keras": b"old", "other.txt": b"kept"}
        assert cli.main(["publish", "run", "hf://me/owls"]) == 2
        sentence = "error: hf://me/owls has model.keras already; pass overwrite=True (--overwrite) to replace it.\n"
        assert capsys.readouterr().err == sentence
        assert models["me/owls"] == {"model.keras": b"old", "other.txt": b"kept"}
        assert cli.main(["publish", "run", "hf://me/owls", "--overwrite"]) == 0
        assert models["me/owls"]["model.keras"] != b"old"
        assert models["me/owls"]["other.txt"] == b"kept"

    def test_nothing_becomes_public_that_shall_be_private(self, hub, run, capsys):
        models, private, _ = hub
        models["me/owls"] = {}
        assert cli.main(["publish", "run", "hf://me/owls", "--private"]) == 2
        assert "error: hf://me/owls is there and public; leave --private out, or" in capsys.readouterr().err
        assert models["me/owls"] == {}
        private.add("me/owls")
        assert cli.main(["publish", "run", "hf://me/owls", "--private"]) == 0

    @pytest.mark.parametrize(("handle", "token"), [("hf://you/owls", fake_hub.TOKEN), ("hf://me/owls", "hf_wrong")])
    def test_who_may_not_write(self, handle, token, hub, run, monkeypatch, capsys):
        monkeypatch.setenv("HF_TOKEN", token)
        assert cli.main(["publish", "run", handle]) == 2
        assert capsys.readouterr().err == f"error: {handle} cannot be published: your token may not write there.\n"
        assert hub[0] == {}

    def test_no_token(self, hub, run, monkeypatch, capsys):
        monkeypatch.delenv("HF_TOKEN")
        assert cli.main(["publish", "nowhere", "hf://me/owls"]) == 2
        sentence = "error: hf://me/owls needs a token of the hub that may write: `hf auth login`, or HF_TOKEN.\n"
        assert capsys.readouterr().err == sentence

    def test_no_network(self, hub, run, monkeypatch, capsys):
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        assert cli.main(["publish", "run", "hf://me/owls"]) == 2
        assert "error: hf://me/owls cannot be published: the hub cannot be reached (" in capsys.readouterr().err

    def test_a_connection_that_breaks(self, hub, model, monkeypatch):
        models, _, _ = hub
        monkeypatch.setattr(fake_hub, "take", lambda *_: 1 / 0)
        monkeypatch.setattr("socketserver.BaseServer.handle_error", lambda *_: None)
        with pytest.raises(OSError, match=r"^hf://me/owls cannot be published, and nothing of it was: "):
            export.to_hub(model, "hf://me/owls")
        assert models == {}

    def test_no_branch(self, hub, model):
        hub[0]["me/owls"] = {}
        with pytest.raises(FileNotFoundError, match=r"^hf://me/owls has no revision 'nowhere'\.$"):
            export.to_hub(model, "hf://me/owls@nowhere")
        with pytest.raises(FileNotFoundError, match=r"^There is no repository hf://me/new@x; leave the"):
            export.to_hub(model, "hf://me/new@x")
        assert hub[0] == {"me/owls": {}}

    @pytest.mark.parametrize(
        ("change", "sentence"),
        {
            "publish run me/owls": "me/owls is no model of the hub; write hf://OWNER/NAME",
            "publish nowhere hf://me/x": "There is no model 'nowhere'; ",
            "publish run hf://me/x --card none.md": "There is no model card none.md.",
            "publish run hf://me/x --license Mine!": "'Mine!' is no identifier of a license; write one of the hub's",
            "publish run hf://me/x --vocab v.txt": "A vocabulary is for LiT models; 'ViT-Ti_16' reads no texts",
        }.items(),
    )
    def test_bad_input(self, change, sentence, hub, run, capsys):
        assert cli.main(change.split()) == 2
        assert capsys.readouterr().err.startswith(f"error: {sentence}")
        assert hub[0] == {}

    def test_other_models(self, hub):
        for kind in ("generator", "TextTransformer"):
            with pytest.raises(ValueError, match=r"is not published; give a model of images, or a LiT\.$"):
                export.to_hub(families.FAMILIES[kind](), "hf://me/x")
