"""A server in this process, and the files that ask it."""

import contextlib
import json
import threading
import urllib.parse
import urllib.request

import pytest

from keras_nest.app.server import Server
from tests.predict.conftest import *  # noqa: F403
from tests.zero_shot.conftest import *  # noqa: F403


class Asker:
    """Asks a server as the page does."""

    def __init__(self, address):
        self.address = address

    def get(self, path, **headers):
        with urllib.request.urlopen(urllib.request.Request(self.address + path, headers=headers)) as answer:
            return answer.read()

    def post(self, path, content, **query):
        url = f"{self.address}/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        with urllib.request.urlopen(urllib.request.Request(url, data=content)) as answer:
            return json.loads(answer.read())


@pytest.fixture
def serve():
    """Starts a server for a model; what it returns asks it."""
    with contextlib.ExitStack() as stack:

        def start(model, examples=()):
            server = stack.enter_context(Server(0))
            server.model = model
            server.show(examples)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return Asker(server.address)

        yield start
