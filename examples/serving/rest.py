"""TF-Serving's REST requests and answers: JSON by rows or by columns, bytes in base64.

After https://www.tensorflow.org/tfx/serving/api_rest, the Predict API.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from batches import Model

# 32 images of 224 pixels have 1.6 million, one a pixel; a list takes twenty times as much memory as JSON for it.
_MAX_LISTS = 2_000_000


def read_request(body: bytes, model: Model) -> tuple[str, dict[str, np.ndarray], bool]:
    """The signature, its inputs, and whether the answer is to come by rows.

    Raises:
        KeyError: there is no such signature.
        ValueError: it is no request.
    """
    if body.count(b"[") + body.count(b"{") > _MAX_LISTS:
        raise ValueError("The request has too many lists.")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("The request is no JSON.") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise ValueError("The request must be an object with instances (by rows) or inputs (by columns).")
    signature = request.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise ValueError("signature_name must be a string.")
    specs, in_rows = model.specs(signature), "instances" in request
    _check_rows(request["instances" if in_rows else "inputs"], model.limits.images)
    columns = _columns(request["instances"], list(specs)) if in_rows else request["inputs"]
    if not isinstance(columns, dict) or (len(specs) == 1 and columns.keys() == {"b64"}):
        if len(specs) > 1:
            raise ValueError(f"inputs must be an object of {sorted(specs)}.")
        columns = {next(iter(specs)): columns}
    if columns.keys() != specs.keys():
        raise ValueError(f"The inputs are {sorted(columns)}; those of {signature} are {sorted(specs)}.")
    return signature, {name: _array(name, columns[name], spec) for name, spec in specs.items()}, in_rows


def _check_rows(values: Any, most: int) -> None:
    """Refuses more rows than may be, before anything is made of them."""
    for column in values.values() if isinstance(values, dict) else (values,):
        if isinstance(column, list) and len(column) > most:
            raise ValueError(f"The request has {len(column)} rows; it may have {most}.")


def _columns(instances: Any, names: list[str]) -> dict[str, list[Any]]:
    """Rows as columns; a row of a single input may be its value alone."""
    if not isinstance(instances, list) or not instances:
        raise ValueError("instances must be a list of one row at least.")
    rows = [row if _is_row(row) else {names[0]: row} for row in instances]
    for row in rows:
        if row.keys() != set(names):
            raise ValueError(f"A row has {sorted(row)}; each must have {sorted(names)}.")
    return {name: [row[name] for row in rows] for name in names}


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _array(name: str, values: Any, spec: tf.TensorSpec) -> np.ndarray:
    """Strings or numbers as an array; nothing is turned into another kind."""
    if spec.dtype == tf.string:
        if not isinstance(values, list):
            raise ValueError(f"The input {name} must be a list of strings.")
        return np.array([_string(name, value) for value in values], object)
    # As objects first: in an array of texts each would take as much memory as the longest.
    found = np.array(values, object)
    kinds = set(map(type, found.reshape(-1)))
    if list in kinds:
        raise ValueError(f"The input {name} has rows of different lengths, or of more axes than it may have.")
    if not kinds <= ({int} if spec.dtype.is_integer else {int, float}):
        raise ValueError(f"The input {name} must be {'whole ' if spec.dtype.is_integer else ''}numbers.")
    try:
        with np.errstate(over="ignore"):  # what becomes infinite, the model refuses
            return found.astype(np.int64 if spec.dtype.is_integer else float).astype(spec.dtype.as_numpy_dtype)
    except OverflowError:
        raise ValueError(f"The input {name} has numbers that are too large.") from None


def _string(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")  # halves of pairs, which JSON may hold, are no characters
    encoded = value.get("b64") if isinstance(value, dict) else None
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ValueError(f'The input {name} must be strings, or bytes as {{"b64": "…"}}.') from None


def as_json(answers: Mapping[str, np.ndarray], in_rows: bool) -> bytes:
    """The answer as a request asked for it; a single output stands without its name."""
    columns = {name: _plain(value.tolist()) for name, value in answers.items()}
    if in_rows:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return json.dumps({"predictions": rows if len(columns) > 1 else next(iter(columns.values()))}).encode()
    return json.dumps({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
