"""The page of a generator: what is refused, and in a real Chromium what it draws of the same noise as Python."""

import io

import numpy as np
import pytest
from PIL import Image

import keras_nest
from keras_nest import export
from keras_nest.cli import commands as cli
from keras_nest.export.web import litert
from keras_nest.generative import web
from keras_nest.generative.web import generator_to_web
from tests import families
from tests.browser import needs_chromium, overflow, page, ready, served

_SMALL = {"latent_dim": 4, "image_size": 8, "embedding_dims": (8, 8), "num_heads": (2, 2), "patch_size": 2}
_SMALL["num_layers_per_block"] = (1, 1)
# Runs in the page, with the modules that the page itself has.
DRAW = """async ([noises, index]) => {
    const { draw } = await import("./generator.js");
    const drawn = [];
    for (const noise of noises) drawn.push([...await draw(Float32Array.from(noise), index)]);
    return drawn;
}"""
LATENTS = """async () => {
    const { between, noiseOf } = await import("./latents.js");
    const [a, b] = [noiseOf(3, 20000), noiseOf(4, 20000)];
    const [again, ends] = [noiseOf(3, 20000), [[...between(a, b, 0)], [...between(a, b, 1)]]];
    return { a: [...a], again: [...again], b: [...b], middle: [...between(a, b, 0.5)], ends };
}"""


def generator(**fields):
    return families.randomized(keras_nest.NesTGenerator(**{**_SMALL, **fields}))


class TestRefused:
    @pytest.fixture(autouse=True)
    def no_work(self, monkeypatch):
        monkeypatch.setattr(web, "_network", None)
        monkeypatch.setattr(litert, "find_files", None)

    def test_channels(self, tmp_path):
        with pytest.raises(ValueError, match="draws 2 channels; a page has gray or color images"):
            generator_to_web(generator(out_channels=2), tmp_path / "page")

    def test_precision(self, tmp_path):
        with pytest.raises(ValueError, match="precision is 'int8'; it must be one of"):
            generator_to_web(families.made("generator"), tmp_path / "page", precision="int8")

    def test_what_is_in_the_way(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(ValueError, match="holds something else than a page"):
            generator_to_web(families.made("generator"), tmp_path, overwrite=True)

    def test_the_other_function(self, tmp_path):
        with pytest.raises(ValueError, match=r"A generator becomes a page by .*generator_to_web"):
            export.to_web(families.made("generator"), tmp_path / "page")

    @pytest.mark.parametrize("option", ["--examples", "--templates x"])
    def test_on_the_command_line(self, option, tmp_path, capsys):
        families.made("generator").save(tmp_path / "model.keras")
        words = ["export", f"{tmp_path}/model.keras", "--format", "web", "--output", f"{tmp_path}/page"]
        assert cli.main([*words, *option.split()]) == 2
        assert f"{option.split()[0]} has no meaning for a generator" in capsys.readouterr().err


def check_drawings(seen, model, index, tolerance=1):
    """Of the same noise, within a level."""
    noise = np.random.default_rng(1).standard_normal((5, model.config["latent_dim"]), np.float32)
    inputs = [noise, np.full(5, index, np.int32)] if model.num_classes else noise
    expected = np.rint((np.clip(model(inputs), -1, 1) + 1) * 127.5)
    found = np.array(seen.evaluate(DRAW, [noise.tolist(), index])).reshape(5, *model.config["image_size"], 4)
    assert (found[..., 3] == 255).all()
    assert np.abs(found[..., :3] - expected).max() <= tolerance
    assert np.ptp(expected) > 20  # there is something to see


def check_latents(seen):
    """Normal numbers, other ones for another seed; between two they are as long as at the ends."""
    found = {name: np.array(values) for name, values in seen.evaluate(LATENTS).items()}
    assert (found["a"] == found["again"]).all()
    for name in ("a", "b", "middle"):
        assert abs(found[name].mean()) < 0.03
        assert abs(found[name].std() - 1) < 0.03
    assert abs(np.corrcoef(found["a"], found["b"])[0, 1]) < 0.03
    np.testing.assert_allclose(found["ends"], [found["a"], found["b"]], atol=1e-5)


def saved_file(seen, button):
    with seen.expect_download() as download:
        seen.click(button)
    with open(download.value.path(), "rb") as file:
        return download.value.suggested_filename, Image.open(io.BytesIO(file.read()))


def check_page(seen):
    """What people do with it."""
    seen.wait_for_selector("#grid button:nth-child(16)")
    assert overflow(seen) == []
    seen.locator("#grid button").nth(2).focus()
    seen.keyboard.press("Enter")
    seen.wait_for_selector("#large:not([hidden])")
    assert seen.inner_text("#caption") == "seed 2, class 2"
    seen.click("#grid button:nth-child(5)")
    seen.wait_for_selector("#way:not([hidden])")
    seen.focus("#share")
    seen.keyboard.press("Home")
    seen.wait_for_selector("#caption:text-is('0 % of the way from seed 2, class 2 to seed 4, class 1')")
    name, picture = saved_file(seen, "#save")
    assert (name, picture.size) == ("seed-2-to-seed-4.png", (8, 8))
    name, picture = saved_file(seen, "#save-grid")
    assert (name, picture.size) == ("seeds-0-15.png", (38, 38))
    seen.select_option("#class-index", "1")
    seen.click("#others")
    seen.wait_for_selector("#grid button[aria-label='Image of seed 16, class 1']")
    seen.fill("#variety", "0")  # all the same
    seen.wait_for_function(
        "new Set([...document.querySelectorAll('#grid canvas')].map((each) => each.toDataURL())).size === 1"
    )
    for width in (390, 1280):
        seen.set_viewport_size({"width": width, "height": 900})
        assert overflow(seen) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")
@needs_chromium()
def test_in_a_browser(library, tmp_path):
    assert library
    for options, precision in (({"num_classes": 3, "out_channels": 1}, "float16"), ({}, "float32")):
        model = generator(**options)
        site = generator_to_web(model, tmp_path / "site", True, precision=precision, litert_from="npm")
        with served(site) as address, page(address, width=1280) as seen:
            ready(seen)
            check_drawings(seen, model, 2)
            check_latents(seen)
            if options:
                check_page(seen)
                seen.context.set_offline(True)
                seen.reload()
                ready(seen)
                check_drawings(seen, model, 1)
