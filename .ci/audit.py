"""Look up what s3engine depends on, with all its extras, in the databases of known vulnerabilities.

Run by ``tox -e audit``, in an environment where s3engine and its extras are installed. Exit code 0: every package was
looked up, and none has a known vulnerability. 1: some have. 2: some could not be looked up, so nothing is known about
those; that is never taken for a pass.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib import metadata

_EXTRAS = ("demo", "boto3", "minio", "obstore", "crt", "parquet", "zstd")


def dependencies() -> dict[str, str]:
    """Name and version of everything installed that s3engine needs, directly or not; not of what audits it."""
    found: dict[str, str] = {}
    waiting = ["s3engine"]
    while waiting:
        name = waiting.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system or version of Python
            continue
        for line in distribution.requires or ():
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
            if extra is not None and not (name == "s3engine" and extra[1] in _EXTRAS):
                continue
            needed = re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0].lower().replace("_", "-")
            if needed not in found and needed != "s3engine":
                found[needed] = ""
                waiting.append(needed)
        found[name] = distribution.version
    del found["s3engine"]
    return {name: version for name, version in sorted(found.items()) if version}


def main() -> int:
    """See the module's docstring."""
    wanted = dependencies()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={version}\n" for name, version in wanted.items())
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "-r", file.name, "--no-deps", "--disable-pip", "--format", "json",
                   "--progress-spinner", "off", "--timeout", "20"]  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        looked_up = {entry["name"].lower(): entry for entry in json.loads(done.stdout)["dependencies"]}
    except (ValueError, KeyError):
        print(done.stderr.strip()[-2000:])
        print("audit: FAILED: pip-audit gave no result; nothing is known about any dependency")
        return 2
    unknown, vulnerable = [], []
    for name, version in wanted.items():
        entry = looked_up.get(name, {"skip_reason": "pip-audit does not tell of it"})
        if "skip_reason" in entry:
            unknown.append(f"{name} {version}: {entry['skip_reason']}")
        for found in entry.get("vulns", ()):
            fixed = ", ".join(found.get("fix_versions", ())) or "nowhere yet"
            vulnerable.append(f"{name} {version}: {found['id']}, fixed in {fixed}")
    for line in (*unknown, *vulnerable):
        print(line)
    if unknown:
        print(
            f"audit: FAILED: {len(unknown)} of {len(wanted)} packages could not be looked up; is the database "
            "(the JSON API of the package index) reachable from here?"
        )
        return 1 if vulnerable else 2
    if vulnerable:
        print(f"audit: {len(vulnerable)} known vulnerabilities")
        return 1
    print(f"audit: {len(wanted)} packages looked up, no known vulnerability")
    return 0


if __name__ == "__main__":
    sys.exit(main())
