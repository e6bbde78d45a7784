"""The answers of the page are those of the command line, for whatever people drop on it."""

import concurrent.futures
import io
import json
import re
import socket
import urllib.error

import numpy as np
import pytest
from PIL import Image

from keras_nest.app.model import open_app_model
from keras_nest.app.server import Server
from keras_nest.cli import commands as cli
from tests.data import photographs

WHOLE = photographs.small("chelsea", (48, 36))


def alpha(image):
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return photographs.encoded(image)


def sixteen_bits(image):
    return photographs.encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257))


AWKWARD = {
    "cmyk.jpg": photographs.encoded(WHOLE.convert("CMYK"), "JPEG"),
    "16 bits.png": sixteen_bits(WHOLE),
    "16 bits.tiff": photographs.encoded(Image.open(io.BytesIO(sixteen_bits(WHOLE))), "TIFF"),
    "alpha.png": alpha(WHOLE),
    "turned.jpg": photographs.encoded(WHOLE, "JPEG", orientation=6),
    "palette.gif": photographs.encoded(WHOLE.convert("P"), "GIF"),
    "one pixel.png": photographs.encoded(WHOLE.resize((1, 1))),
    "<b>&.webp": photographs.encoded(WHOLE, "WEBP"),
}
BROKEN = {
    "cut off.jpg": photographs.encoded(WHOLE, "JPEG")[:300],
    "empty.png": b"",
    "notes.txt": b"my cats",
    "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.fixture(scope="module")
def opened(files):
    return open_app_model(str(files["run"]))


def said_by(command, path, capsys, *words):
    """JSON of a command about one image, and its sentence on an image that is broken."""
    cli.main([command, str(path), "--json", *map(str, words)])
    out, err = capsys.readouterr()
    return json.loads(out) if out else None, err.strip()


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_images_are_answered_as_by_predict(serve, opened, files, tmp_path, capsys, name):
    (tmp_path / name).write_bytes(AWKWARD[name])
    expected, _ = said_by("predict", tmp_path / name, capsys, "--model", files["run"])
    answer = serve(opened).post("predict", AWKWARD[name], name=name)
    assert answer["predictions"] == expected["predictions"]
    assert (answer["width"], answer["height"]) == {"turned.jpg": (36, 48), "one pixel.png": (1, 1)}.get(name, (48, 36))
    assert answer["picture"].startswith("data:image/png;base64,")  # small ones keep every pixel


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image_is_one_sentence(serve, opened, files, tmp_path, capsys, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    _, expected = said_by("predict", tmp_path / name, capsys, "--model", files["run"])
    answer = serve(opened).post("predict", BROKEN[name], name=name)
    assert answer == {"error": expected.removeprefix("error: ").replace(f"{tmp_path}/", "")}
    assert answer["error"].startswith(f"{name} cannot be read as an image; it must be a complete JPEG, PNG, ")


HEAD = "Content-Length: 0\r\n"
# The first line, further ones, and what the answer begins and ends with.
REQUESTS = {
    "no length": ("POST /predict", "", "200 .*does not say how many bytes it has"),
    "a length below 0": ("POST /predict", "Content-Length: -1\r\n", "200 .*does not say how many bytes it has"),
    "a length of digits": ("POST /predict", f"Content-Length: {'9' * 5000}\r\n", "200 .*does not say how many bytes"),
    "an example of digits": (f"GET /examples/{'9' * 5000}", "", "404 "),
    "a class of digits": (f"POST /explain?class={'9' * 5000}", HEAD, "200 .*There is no class"),
    "an address that is none": ("GET http://[::1", "", "404 "),
    "another folder": ("GET /../../../etc/passwd", "", "404 "),
}


@pytest.mark.parametrize(("line", "more", "answer"), REQUESTS.values(), ids=REQUESTS)
def test_requests_that_no_browser_makes(serve, opened, capsys, line, more, answer):
    port = int(serve(opened).address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(f"{line} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n".encode())
        found = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    assert re.search(rf"^HTTP/1.0 {answer}", found, re.DOTALL)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", ["gradcat", "attention", "cam"])
def test_explanations_are_those_of_explain(serve, opened, files, tmp_path, capsys, method):
    (tmp_path / "turned.jpg").write_bytes(AWKWARD["turned.jpg"])
    words = ("--model", files["run"], "--method", method, "--class", 2)
    expected, _ = said_by("explain", tmp_path / "turned.jpg", capsys, *words)
    found = serve(opened).post("explain", AWKWARD["turned.jpg"], method=method, **{"class": 2})
    assert {name: found[name] for name in found.keys() & expected.keys()} == {
        name: value for name, value in expected.items() if name in found
    }
    assert found.keys() & expected.keys() >= {{"gradcat": "levels", "attention": "maps", "cam": "map"}[method]}
    assert found["view"] == [8, 2, 40, 34]  # 7/8 of 36 x 48 pixels, in the middle


def test_several_people_at_once(serve, opened):
    """Each gets the answer about their own image."""
    images = [photographs.encoded(photographs.noisy(WHOLE, seed)) for seed in range(6)]
    asker = serve(opened)
    expected = [asker.post("predict", image)["predictions"] for image in images]
    assert len({str(answer) for answer in expected}) == len(images)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(asker.post, "predict", image) for image in images * 4]
        assert [each.result()["predictions"] for each in asked] == expected * 4


@pytest.mark.slow
def test_texts(serve, run):
    asker = serve(open_app_model(str(run)))
    facts = json.loads(asker.get("/model"))
    assert (facts["labels"], facts["methods"]) == ([], [])
    assert facts["whyNot"].endswith("not for texts.")
    green = photographs.encoded(Image.new("RGB", (9, 12), (0, 255, 0)))
    for labels in (["red", " tree ", ""], ["house", "red", "a tree"]):
        best = asker.post("predict", green, labels=labels)["predictions"][0]
        assert "tree" in best["label"]
        assert best["probability"] > 0.9
    assert asker.post("predict", green) == {"error": "There are no labels; write one a line, such as: a dog."}
    answer = asker.post("predict", green, labels=["red", "red"])
    assert answer == {"error": "There is more than one label 'red'; each class must have a label of its own."}


def test_examples(serve, opened, photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    asker = serve(opened, [photos / "rocket.png", tmp_path / "broken.png", photos / "chelsea.png"])
    assert json.loads(asker.get("/model"))["examples"] == ["rocket.png", "chelsea.png"]
    assert asker.get("/examples/1?whole") == (photos / "chelsea.png").read_bytes()
    assert Image.open(io.BytesIO(asker.get("/examples/0"))).size == (16, 16)
    for path in ("/examples/2", "/examples/-1", "/../model.py", "/model.py"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            asker.get(path)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_other_pages_learn_nothing(serve, opened, headers):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        serve(opened).get("/model", **headers)


def test_nothing_strange_ends_it(serve, opened):
    asker = serve(opened)
    host, port = asker.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 99999\r\n\r\nhello".encode())
    assert asker.post("explain", b"", method="cam", **{"class": "x"}) == {"error": "There is no class 'x'."}
    answer = asker.post("explain", AWKWARD["alpha.png"], method="magic", **{"class": 0})
    assert answer == {"error": "There is no explanation 'magic'."}
    answer = asker.post("explain", AWKWARD["alpha.png"], method="cam", **{"class": 7})
    assert answer == {"error": "There is no class 7; the model's classes are 0 to 2."}


@pytest.mark.parametrize("port", [-1, 70000])
def test_ports_there_are_not(port):
    with pytest.raises(ValueError, match=rf"^--port is {port}; it must be 0 to 65535\.$"):
        Server(port)
