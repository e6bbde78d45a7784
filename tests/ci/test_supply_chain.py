"""What .ci/audit.py and .ci/licenses.py make of what they find."""

import csv
import importlib.util
import json
import pathlib
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestAudit:
    def judge(self, *packages, complaint=""):
        return script("audit").judge(json.dumps({"dependencies": packages}) if packages else "", complaint)

    def test_a_vulnerability_fails(self):
        bad = {"name": "bad", "version": "1.0", "vulns": [{"id": "CVE-2026-1"}]}
        with pytest.raises(SystemExit, match=r"bad 1\.0: CVE-2026-1"):
            self.judge({"name": "good", "version": "2", "vulns": []}, bad)

    def test_what_could_not_be_asked_does_not_and_is_told(self):
        skipped = {"name": "a", "skip_reason": "not found"}
        assert self.judge(complaint="x\nno route").endswith("could not ask for vulnerabilities: no route")
        assert self.judge(skipped, skipped).startswith("NOT AUDITED")
        found = self.judge({"name": "good", "version": "2", "vulns": []}, skipped)
        assert found == "No known vulnerabilities of 1 packages; 1 could not be asked for."


class TestLicenses:
    @pytest.mark.parametrize(
        ("license", "allowed"),
        [
            ("MIT", True),
            ("BSD-3-Clause AND 0BSD", True),
            ("MIT OR AFL-2.1", True),
            ("MIT AND GPL-3.0-only", False),
            ("(MIT AND GPL-3.0-only) OR Apache-2.0", True),
            ("GPL-3.0-only", False),
            ("unknown", False),
        ],
    )
    def test_a_license_of_several_parts(self, license, allowed):
        assert script("licenses").is_allowed(license) is allowed

    def test_the_table_has_what_is_asked_for(self):
        """`make audit` compares it with what is installed; here only that nothing was forgotten."""
        with script("licenses").TABLE.open(newline="") as file:
            listed = {row["package"] for row in csv.DictReader(file)}
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"]
        texts = [text for extra, named in extras.items() if extra != "dev" for text in named]
        names = {script("licenses").Requirement(text).name for text in [*project["dependencies"], *texts]}
        assert {script("licenses")._normal(name) for name in names} <= listed
