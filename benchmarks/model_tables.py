"""Tables of the models: what they are, where their checkpoints lie, how exact they are."""

from benchmarks.table_cells import billions, markdown, millions, numbers
from keras_nest import registry
from keras_nest.conversion.published import PUBLISHED
from keras_nest.models.timm import timm_models

# The models of the README: one of each family.
_SELECTED = {
    "nest_tiny_s196_224": "NesT, attention inside blocks of a tree",
    "nest_base_s196_224": "the largest published NesT; top-1 83.8 % as published",
    "ViT-B_16": "vision transformer",
    "R26+ViT-S_32": "ViT on the maps of a ResNet",
    "Mixer-B_16": "MLP-Mixer",
    "LiT-B16B_2": "images and texts: ViT and BERT",
}


def published_models() -> str:
    """All classifiers: parameters, multiply-adds, checkpoints, distance from the reference outputs."""
    header = ["name", "parameters", "multiply-adds", "checkpoints", "largest difference"]
    return markdown(header, map(_model, _measured_models()), "lrrlr")


def timm_names() -> str:
    """Timm's names, with what timm publishes of them."""
    rows = [
        [
            f"`{one.name}`" + (" *" if one.is_default else ""),
            f"`{one.model}`",
            str(one.image_size),
            str(one.num_classes or ""),
            millions(one.parameters),
            f"{numbers(one.mean)}; {numbers(one.std)}",
            f"{one.crop_ratio:g}, {one.interpolation}",
            "" if one.top1 is None else f"{one.top1:.2f}",
        ]
        for one in timm_models().values()
    ]
    return markdown(
        ["name", "model here", "input", "classes", "parameters", "mean; std", "crop", "top-1 %"], rows, "llrrrllr"
    )


def selected_models() -> str:
    """The few models of the README."""
    macs = {row["model"]: billions(row["multiply_adds"]) for row in _measured_models()}
    rows = [
        [f"`{name}`", text, millions(registry.parameter_counts()[name]), macs.get(name, "")]
        for name, text in _SELECTED.items()
    ]
    return markdown(["name", "", "parameters", "multiply-adds"], rows, "llrr")


def exactness() -> str:
    """The largest difference of each family."""
    largest: dict[str, float] = {}
    for row in _measured_models():
        family = _family(row["model"])
        largest[family] = max(largest.get(family, 0.0), float(row["largest_difference"]))
    rows = [[family, f"{difference:.0e}"] for family, difference in largest.items()]
    return markdown(["family", "largest difference of a logit"], rows, "lr")


def _measured_models() -> list[dict[str, str]]:
    """The classifiers: of LiT the parameters alone are known."""
    return [row for row in registry.read_measurements() if row["multiply_adds"]]


def _model(row: dict[str, str]) -> list[str]:
    aliases = [f"`{alias}`" for alias, name in registry.ALIASES.items() if name == row["model"]]
    return [
        " ".join([f"`{row['model']}`", *aliases]),
        millions(row["parameters"]),
        billions(row["multiply_adds"]),
        checkpoints(row["model"]),
        f"{float(row['largest_difference']):.1e}",
    ]


def _family(model: str) -> str:
    """The row of `exactness` for a model: deep ResNets amplify rounding, which gives them rows of their own."""
    if model == "R50+ViT-L_32":
        return "R50+ViT-L_32, whose ResNet amplifies rounding"
    families = {
        "nest": "NesT",
        "vit_flax": "NesT",
        "ViT": "ViT",
        "Mixer": "MLP-Mixer",
        "R": "hybrids",
        "resnet": "ResNet",
    }
    return next(family for prefix, family in families.items() if model.startswith(prefix))


def checkpoints(model: str) -> str:
    """Patterns of the addresses of a model's checkpoints, one for each way of naming files."""
    folders: dict[tuple[str, str], dict[str, None]] = {}
    for row in PUBLISHED:
        if row.model == model:
            place, _, file = row.uri.rpartition("/")
            bucket, _, folder = place.rpartition("/")
            # AugReg names tell how a model was trained; of other files a suffix may tell the image size.
            pattern = f"{file.split('-i21k')[0]}-*.npz" if row.source == "augreg" else file.replace("-224.npz", ".npz")
            folders.setdefault((bucket, pattern), {})[folder] = None
    return "<br>".join(
        f"`{bucket}/{next(iter(names)) if len(names) == 1 else '{' + ','.join(names) + '}'}/{pattern}`"
        for (bucket, pattern), names in folders.items()
    )
