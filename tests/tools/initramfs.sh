#!/bin/sh
# Packs an emulated board: the parts of board-parts.sh, Bramble's programs (with the libraries they need,
# when they are not static) and the images to load.
#
# usage: initramfs.sh PARTS PROGRAMS IMAGES STRIP OUT
set -eu
parts=$1 programs=$2 images=$3 strip=$4 out=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
mkdir -p "$root/bin" "$root/lib/modules" "$root/opt/bramble" "$root/images" "$root/etc" "$root/proc" "$root/sys" "$root/dev" \
    "$root/run" "$root/tmp" "$root/var/lib"
cp "$parts/busybox" "$root/bin/busybox"
cp "$parts"/modules/*.ko "$parts/modules.order" "$root/lib/modules/"
for program in bramble bramble-agent bramble-shim bramble-oci; do
    "$strip" -s -o "$root/opt/bramble/$program" "$programs/$program"
    # Only programs for this machine can be asked; those for others are static.
    ldd "$programs/$program" 2> /dev/null | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
done
cp "$images"/*.tar "$root/images/"
printf 'NAME="Emulated board"\nPRETTY_NAME="Emulated board"\n' > "$root/etc/os-release"
printf 'root:x:0:0:root:/:/bin/sh\n' > "$root/etc/passwd"
cp "$(dirname "$0")/../emulated/init" "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) > "$work/initramfs"
mv "$work/initramfs" "$out"
