#!/bin/sh
# Makes the Debian package of one architecture from built programs. The same programs give the same
# bytes.
#
# usage: build.sh arm64|armhf|amd64 PROGRAMS STRIP VERSION OUT-FOLDER
set -eu
arch=$1 programs=$2 strip=$3 version=$4 out=$5
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
mkdir -p "$root/DEBIAN" "$root/usr/lib/bramble" "$root/usr/bin" "$root/lib/systemd/system" "$root/etc/default" \
    "$root/usr/share/doc/bramble" "$root/etc/modules-load.d"
for program in bramble bramble-agent bramble-controller bramble-oci bramble-shim; do
    "$strip" -s -o "$root/usr/lib/bramble/$program" "$programs/$program"
    chmod 755 "$root/usr/lib/bramble/$program"
done
# The programs find each other in their own folder; only this one is typed.
ln -s ../lib/bramble/bramble "$root/usr/bin/bramble"
cp "$here"/*.service "$root/lib/systemd/system/"
cp "$here/default-agent" "$root/etc/default/bramble-agent"
cp "$here/default-controller" "$root/etc/default/bramble-controller"
cp "$here/modules.conf" "$root/etc/modules-load.d/bramble.conf"
cp "$here/../../LICENSE"* "$root/usr/share/doc/bramble/" 2> /dev/null || true
printf '%s\n' /etc/default/bramble-agent /etc/default/bramble-controller /etc/modules-load.d/bramble.conf \
    > "$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$root/DEBIAN/$script"; done
find "$root" -type d -exec chmod 755 {} +
find "$root/etc" "$root/lib" "$root/usr/share" -type f -exec chmod 644 {} +
# The board's token will stand in it.
chmod 600 "$root/etc/default/bramble-agent"
size=$(du -sk --exclude=DEBIAN "$root" | cut -f1)
# Programs for boards are static; others need a C library at least as new as the one they were linked with.
needed=$(objdump -T "$root"/usr/lib/bramble/* 2> /dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
libraries=${needed:+, libc6 (>= ${needed#GLIBC_}), libgcc-s1}
sed -e "s/@VERSION@/$version/" -e "s/@LIBRARIES@/$libraries/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" "$here/control" > "$root/DEBIAN/control"
chmod 644 "$root/DEBIAN/control" "$root/DEBIAN/conffiles"
find "$root" -exec touch -h -d @0 {} +
mkdir -p "$out"
SOURCE_DATE_EPOCH=0 dpkg-deb --root-owner-group -Zxz -z6 --build "$root" "$out/bramble_${version}_$arch.deb"
