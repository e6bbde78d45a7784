"""`keras-nest convert --verify` with timm and transformers at hand, in `make test-torch`."""

import contextlib
import io
import pathlib
import re
import sys


def verify(folder: pathlib.Path) -> None:
    """Compares what both sides wrote, and is told by which program."""
    from keras_nest.cli.commands import main
    from tests.torch_check.ours import MODELS, TOLERANCE

    paths = sorted(path for side in ("ours", "theirs") for path in (folder / side).glob("*/*"))
    assert len(paths) == 11, paths
    for path in paths:
        # A file without config.json is of the model that its name tells.
        name = [MODELS[path.stem]] if path.suffix else []
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = main(["convert", *name, str(path), str(folder / "out.keras"), "--overwrite", "--verify"])
        told = " ".join(re.sub("[│\n]", " ", output.getvalue()).split())
        gap, program = re.search(r"(\S+) of the largest logit \(\S+\), from (\w+) \d", told).groups()
        print(f"{path.relative_to(folder)}: {gap}")
        assert (code, program) == (0, path.parent.name), told
        assert float(gap) <= TOLERANCE, path


if __name__ == "__main__":
    sys.path.append(sys.argv[2])  # behind what is here: from there come PyTorch and both programs alone
    from tests.torch_check import theirs  # noqa: F401  (timm without torchvision)

    verify(pathlib.Path(sys.argv[1]))
