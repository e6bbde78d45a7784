"""Asks for known vulnerabilities of every pinned package; fails for one, and not where nobody can be asked.

Run by `make audit`, with the Python that has pip-audit.
"""

import json
import pathlib
import subprocess
import sys

CONSTRAINTS = pathlib.Path(__file__).resolve().parents[1] / "constraints.txt"
_COMMAND = ("-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json")


def main() -> None:
    """Ends with a message and status 1 where a vulnerability is known."""
    command = [sys.executable, *_COMMAND, "--requirement", CONSTRAINTS]
    done = subprocess.run(command, capture_output=True, text=True)
    print(judge(done.stdout, done.stderr))


def judge(report: str, complaint: str) -> str:
    """What a report comes to, in a line.

    Args:
        report: JSON of pip-audit, or nothing where it could not ask.
        complaint: what it says besides.

    Raises:
        SystemExit: there are vulnerabilities; names them.
    """
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        reason = (complaint.strip().splitlines() or ["it says nothing"])[-1]
        return f"NOT AUDITED, pip-audit could not ask for vulnerabilities: {reason}"
    known = [
        f"{package['name']} {package['version']}: {vulnerability['id']}"
        for package in packages
        for vulnerability in package.get("vulns", [])
    ]
    if known:
        raise SystemExit("\n".join(["Known vulnerabilities:", *known]))
    skipped = sum("skip_reason" in package for package in packages)
    if skipped == len(packages):
        return f"NOT AUDITED: the service that was asked knows none of the {skipped} packages."
    return f"No known vulnerabilities of {len(packages) - skipped} packages; {skipped} could not be asked for."


if __name__ == "__main__":
    main()
