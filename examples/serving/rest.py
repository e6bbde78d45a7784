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


def read_request(body: bytes, model: Model) -> tuple[str, dict[str, np.ndarray], bool]:
    """The signature, its inputs, and whether the answer is to come by rows.

    Raises:
        KeyError: there is no such signature.
        ValueError: it is no request.
    """
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
    columns = _columns(request["instances"], list(specs)) if in_rows else request["inputs"]
    if not isinstance(columns, dict) or (len(specs) == 1 and columns.keys() == {"b64"}):
        if len(specs) > 1:
            raise ValueError(f"inputs must be an object of {sorted(specs)}.")
        columns = {next(iter(specs)): columns}
    if columns.keys() != specs.keys():
        raise ValueError(f"The inputs are {sorted(columns)}; those of {signature} are {sorted(specs)}.")
    return signature, {name: _array(name, columns[name], spec) for name, spec in specs.items()}, in_rows


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
    try:
        found = np.array(values)
    except ValueError:
        raise ValueError(f"The input {name} has rows of different lengths.") from None
    if found.dtype.kind not in "iuf":
        raise ValueError(f"The input {name} must be numbers.")
    return found.astype(spec.dtype.as_numpy_dtype)


def _string(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
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
