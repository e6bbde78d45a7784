"""What docs/guides/export.md says is so."""

import argparse
import base64
import json
import subprocess

from keras_nest.cli.export_arguments import add_export_arguments
from keras_nest.data.image_files import MAX_PIXELS
from tests import pages

GUIDE = pages.read("docs/guides/export.md")


def test_all_options_of_saved_models_are_told():
    parser = argparse.ArgumentParser()
    add_export_arguments(parser)
    (saved,) = [group for group in parser._action_groups if group.title == "SavedModel"]
    for action in saved._group_actions:
        assert f"`{action.option_strings[0]}" in GUIDE


def test_the_shell_makes_requests_of_the_files(tmp_path):
    """Run with `curl` made to print what it would send."""
    content = bytes(range(256)) * 1000  # longer than an argument of a command may be
    (tmp_path / "image.jpg").write_bytes(content)
    (recipe,) = [block for block in pages.blocks("docs/guides/export.md", "shell") if "curl" in block]
    script = "curl() { cat; echo; }\n" + recipe
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True, capture_output=True, text=True)
    rows, columns = (json.loads(line) for line in done.stdout.splitlines())
    encoded = {"b64": base64.b64encode(content).decode()}
    assert rows == {"signature_name": "serving_bytes", "instances": [{"image_bytes": encoded}]}
    assert columns == {"signature_name": "serving_bytes", "inputs": {"image_bytes": [encoded]}}


def test_the_limit_is_the_one_in_the_graph():
    assert f"{MAX_PIXELS:,} pixels" in GUIDE
