"""The images' base where no public image can be had: Debian with its own Python."""

import subprocess
import sys
from pathlib import Path

from tests.deploy.engine import Engine

BASE_IMAGE = "localhost/python:3.11-slim"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"
_LEFT_OUT = ("man", "doc", "locale")


def import_base_image(engine: Engine) -> None:
    """Make it from the mirror that this machine's apt uses, and give it to the engine."""
    archive = engine.home / "base.tar"
    release, mirror = _own_release()
    command = ["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    # The machine's own authorities, without which its index can't be reached.
    command += [f"--customize-hook=upload {_CERTIFICATES} {_CERTIFICATES}"]
    # As in the public image, pip may install.
    command += ['--customize-hook=rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED']
    made = subprocess.run(
        [*command, release, str(archive), mirror],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    engine.docker("import", str(archive), BASE_IMAGE)
    archive.unlink()


def _own_release() -> tuple[str, str]:
    """Codename and mirror of the release that runs here."""
    described = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in described if "=" in line)
    release = values["VERSION_CODENAME"].strip('"')
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    mirrors = [uri for codename, uri in map(str.split, targets) if codename == release]
    if not mirrors:
        sys.exit(f"apt knows no mirror of {release}: apt-get update")
    return release, mirrors[0]
