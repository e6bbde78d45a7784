"""A folder of photographs, and a model to start from."""

import pytest

from tests.finetune import photos, textures


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Path of a .keras file of `textures.train`."""
    path = tmp_path_factory.mktemp("trained") / "textures.keras"
    textures.train().save(path)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Uneven classes with everything that is wrong with folders of people; no test may change it."""
    return photos.make_awkward(photos.write_flat(tmp_path_factory.mktemp("pictures") / "my photos"))
