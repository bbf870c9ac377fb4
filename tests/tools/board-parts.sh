#!/bin/sh
# What an emulated board is made of besides Bramble itself, from Debian's packages for its
# architecture: kernel, the modules that a node needs (in the order to load them) and a static busybox.
#
# usage: board-parts.sh amd64|arm64|armhf FOLDER
#   FOLDER/kernel  FOLDER/modules/*.ko  FOLDER/modules.order  FOLDER/busybox
set -eu
. "$(dirname "$0")/private-apt.sh"
arch=$1
folder=$2
case $arch in
    amd64 | arm64) image=linux-image-$arch ;;
    # The one that reaches devices above 4 GiB, where the emulated machine has its bus.
    armhf) image=linux-image-armmp-lpae ;;
    *) echo "board-parts: no architecture '$arch' (amd64, arm64, armhf)" >&2; exit 1 ;;
esac
rm -rf "$folder.new"
mkdir -p "$folder.new"
new=$(cd "$folder.new" && pwd)
trap 'rm -rf "$new"' EXIT
private_apt "$new" bookworm "$arch"
kernel=$(apt-cache depends --important "$image" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
(cd "$new/debs" && apt-get -q download "$kernel" busybox-static)
for package in "$new"/debs/*.deb; do dpkg-deb -x "$package" "$new/root"; done
version=$(ls "$new/root/lib/modules")
cp "$new/root/boot/vmlinuz-$version" "$new/kernel"
cp "$new/root/bin/busybox" "$new/busybox"
mkdir "$new/modules"
depmod -b "$new/root" "$version"
for module in virtio_pci virtio_mmio virtio_net virtio_blk virtio_rng ext4 overlay veth bridge br_netfilter \
    nf_tables nft_masq nft_chain_nat nft_ct vxlan tun; do
    # Built in, or not there on this architecture: nothing to load.
    modprobe -d "$new/root" -S "$version" --show-depends "$module" 2> /dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' > "$new/paths"
while read -r path; do
    cp "$path" "$new/modules/"
    basename "$path"
done < "$new/paths" > "$new/modules.order"
rm -rf "$new/debs" "$new/apt" "$new/root" "$new/paths"
rm -rf "$folder"
mv "$new" "$folder"
trap - EXIT
echo "board-parts: $arch, Linux $version"
