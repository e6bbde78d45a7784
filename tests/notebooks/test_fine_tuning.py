"""The notebook runs from top to bottom outside the clone, and ends with a model that reads digits."""

import pathlib

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_it_runs_as_it_stands(tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "fine_tuning.ipynb", as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
    accuracy = float(text.split("the exported model reads ")[1].split("%")[0])
    assert accuracy > 90, "a tenth would be chance"
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert (tmp_path / "tuned.keras").exists()


def test_it_needs_no_file_of_the_clone():
    notebook = nbformat.read(ROOT / "notebooks" / "fine_tuning.ipynb", as_version=4)
    source = "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "../" not in source
    assert "tests/" not in source
    assert "%pip install" in source


def test_what_is_stored_is_what_it_gave():
    """The outputs in the file are those of a whole run, in order, without TensorFlow's notes."""
    notebook = nbformat.read(ROOT / "notebooks" / "fine_tuning.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert "the exported model reads" in str(code[-1].outputs)
