import pytest

from keras_nest.hints import did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "options", "hint"),
    [
        ("digit", ["digits", "folder"], {}, "did you mean digits?"),
        ("nest", ["nest_a", "nest_b", "vit"], {"count": 3}, "did you mean nest_b or nest_a?"),
        ("vit_b16", ["Ti_16", "ViT-L_16", "ViT-B_16"], {}, "did you mean ViT-B_16?"),
        ("ViT-B/16", ["ViT_B+16", "ViT-B_16", "S_16"], {"count": 2}, "did you mean ViT_B+16 or ViT-B_16?"),
        ("-", ["digits", "_"], {}, "known are digits, _."),
        ("x", ["digits", "folder"], {}, "known are digits, folder."),
        ("x", ["digits"], {"otherwise": "ask."}, "ask."),
        ("x", map(str, range(1000)), {}, f"known are {', '.join(map(str, range(20)))}, … (1,000 in all)."),
    ],
)
def test_what_is_suggested(name, known, options, hint):
    assert did_you_mean(name, known, **options) == hint
