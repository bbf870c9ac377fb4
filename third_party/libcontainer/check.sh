#!/bin/sh
# Is this folder the published crate and bramble.patch, and nothing else? Needs the crate in cargo's cache.
set -eu
cd "$(dirname "$0")"
published=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/libcontainer-0.7.0 | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$published/src" "$work/src"
patch -s -d "$work" -p1 < bramble.patch
diff -r "$work/src" src
