"""Installs what the peers need from package registries, under one folder and not into the system."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from place import Unavailable


def run(command, what, **options):
    """Raises with the last thing it said when it fails."""
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{what} needs {command[0]}, which is not there")
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options
    )
    if done.returncode != 0:
        last = [line for line in done.stdout.splitlines() if line.strip()][-3:]
        raise Unavailable(f"{what} could not be installed: {' '.join(last)}")


def debian(packages, folder):
    """Unpacks Debian's packages."""
    made_of = folder / "made-of"
    if made_of.exists() and made_of.read_text() == " ".join(packages):
        return
    what = " ".join(packages)
    print(f"unpacking {what}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        try:
            run(["apt-get", "download", "--quiet", *packages], what, cwd=work)
        except Unavailable:
            run(["apt-get", "update", "--quiet"], what)
            run(["apt-get", "download", "--quiet", *packages], what, cwd=work)
        for package in Path(work).glob("*.deb"):
            run(["dpkg-deb", "-x", package, folder], what)
    made_of.write_text(what)


def libraries(folder):
    return ":".join(sorted({str(path.parent) for path in folder.rglob("*.so*")}))
