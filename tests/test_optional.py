import sys

import pytest

from keras_nest.optional import import_optional, install_command


def test_what_is_installed_is_imported():
    assert import_optional("xml.dom", "", "") is sys.modules["xml.dom"]


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("matplotlib", "pip install matplotlib"),
        ("[lit]", "pip install 'keras-nest[lit]', or in a checkout pip install '.[lit]'"),
    ],
)
def test_the_remedy(package, command):
    assert install_command(package) == command
    with pytest.raises(ModuleNotFoundError, match=r"^Cats are drawn by meow, which is not installed: pip") as raised:
        import_optional("meow.meow", "Cats are drawn by meow", package)
    assert str(raised.value).endswith(command)
    assert raised.value.name == "meow"
