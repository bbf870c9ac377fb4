#!/bin/sh
# The system of an emulated PC that starts with systemd: Debian's smallest, with systemd. Made once.
#
# usage: systemd-root.sh FOLDER
set -eu
folder=$1
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | sort -u | head -n 1)
[ -n "$mirror" ] || { echo "systemd-root: apt knows no Debian mirror (its sources have none that ends in /debian)" >&2; exit 1; }
rm -rf "$folder.new"
trap 'rm -rf "$folder.new"' EXIT
# A stored copy of the archive is as good, however old.
mmdebstrap --quiet --mode=root --variant=essential --include=systemd-sysv,kmod,passwd,iproute2,procps \
    --aptopt='Acquire::Check-Valid-Until "false"' bookworm "$folder.new" "deb $mirror bookworm main"
rm -rf "$folder"
mv "$folder.new" "$folder"
trap - EXIT
