"""Handles of the hub: what is fetched, what the cache gives without a network, and a sentence for the rest."""

import os
import subprocess
import sys

import pytest

from keras_nest.conversion import hugging_face
from keras_nest.conversion.hugging_face import Handle, parse_handle
from tests.conversion import fake_hub

MODELS = {
    "timm/small": {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"the same",
        "a.md": b"",
    },
    "timm/old": {"config.json": b"{}", "pytorch_model.bin": b"weights"},
    "timm/large": {
        "model-00001-of-00002.safetensors": b"1",
        "model-00002-of-00002.safetensors": b"2",
        "model.safetensors.index.json": b"{}",
        "tf_model.h5": b"no",
    },
    "me/mine": {"own.keras": b"keras", "model.safetensors": b"no"},
    "me/two": {"a.keras": b"a", "b.keras": b"b"},
    "me/empty": {"README.md": b"nothing"},
}
DEAD = "http://127.0.0.1:9"


def fetch(cache, endpoint, *handles, **environment):
    """What a process of its own says of handles, a line each."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    variables = {"HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    command = [sys.executable, "-m", "tests.conversion.fake_hub", *handles]
    done = subprocess.run(command, env=inherited | variables, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "handle"),
    [
        ("hf://timm/nest_base_jx.goog_in1k", Handle("timm/nest_base_jx.goog_in1k")),
        ("hf://timm/nest_base_jx.goog_in1k/", Handle("timm/nest_base_jx.goog_in1k")),
        ("hf://google/vit-base@refs/pr/1", Handle("google/vit-base", "refs/pr/1")),
    ],
)
def test_handles(text, handle):
    assert hugging_face.is_handle(text)
    assert parse_handle(text) == handle


@pytest.mark.parametrize("text", ["hf://", "hf://timm", "hf://a/b/c", "hf://a/b@", "hf://a b/c", "hf:/timm/x"])
def test_what_is_none(text):
    with pytest.raises(ValueError, match="is no model of the hub; write hf://OWNER/NAME"):
        parse_handle(text)


@pytest.mark.slow
def test_the_hub_and_the_cache(tmp_path):
    names = ("timm/small", "timm/old", "timm/large", "me/mine", "me/two", "me/empty")
    odd = ("x/nowhere", "x/gated", "timm/small@v2", "a/-b")
    with fake_hub.serve(MODELS) as (endpoint, asked):
        lines = fetch(tmp_path, endpoint, *(f"hf://{name}" for name in (*names, *odd)))
        assert lines[0] == "config.json model.safetensors"
        assert lines[1] == "config.json pytorch_model.bin"
        assert lines[2] == (
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json"
        )
        assert lines[3] == "own.keras"
        assert lines[4].startswith("FileNotFoundError: hf://me/two holds several .keras files (a.keras, b.keras)")
        assert lines[5].endswith("holds neither a .keras file nor model.safetensors nor pytorch_model.bin: README.md.")
        assert lines[6].startswith("FileNotFoundError: There is no model hf://x/nowhere on the hub, or it is private")
        assert lines[7].startswith("PermissionError: hf://x/gated is gated: agree to its terms")
        assert lines[8] == "FileNotFoundError: hf://timm/small has no revision 'v2'."
        assert lines[9].startswith("ValueError: hf://a/-b is no name of the hub")
        assert not [path for path in asked if "tf_model" in path or "a.md" in path]
    # The hub is gone.
    pinned = f"hf://timm/small@{fake_hub.COMMIT}"
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        lines = fetch(tmp_path, DEAD, "hf://timm/small", pinned, "hf://me/mine", "hf://x/y", **environment)
        assert lines[:3] == ["config.json model.safetensors"] * 2 + ["own.keras"]
        assert lines[3].startswith(f"FileNotFoundError: hf://x/y is not in the cache of {tmp_path}")
        assert "and the hub cannot be reached" in lines[3]
