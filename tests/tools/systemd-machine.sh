#!/bin/sh
# Installs a Debian package of Bramble on an emulated PC that starts with systemd, and runs
# tests/emulated/trial there: over a reboot, to the removal of the package. Ends with its verdict.
#
# usage: systemd-machine.sh PARTS ROOT DEB IMAGES KUBECTL
#   PARTS   a folder made by board-parts.sh amd64
#   ROOT    a folder made by systemd-root.sh
set -eu
parts=$1 base=$2 deb=$3 images=$4 kubectl=$5
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# The disk.
root=$work/root
cp -a "$base" "$root"
mkdir -p "$root/trial/images"
# Unpacked slowly where every instruction is emulated: the same package without compression.
dpkg-deb -R "$deb" "$work/deb"
dpkg-deb --root-owner-group -Znone --build "$work/deb" "$root/trial/bramble.deb" > "$work/log"
cp "$images"/*.tar "$root/trial/images/"
cp -L "$kubectl" "$root/usr/bin/kubectl"
install -m 755 "$here/emulated/trial" "$root/trial/trial"
version=$(modinfo -F vermagic "$parts/modules/overlay.ko" | cut -d' ' -f1)
mkdir -p "$root/lib/modules/$version/kernel"
cp "$parts"/modules/*.ko "$root/lib/modules/$version/kernel/"
depmod -b "$root" "$version" 2> "$work/log"
echo trial > "$root/etc/hostname"
printf '127.0.0.1 localhost\n10.0.2.15 trial\n' > "$root/etc/hosts"
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
cat > "$root/etc/systemd/system/trial.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=exec
ExecStart=/trial/trial
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/console
SyslogIdentifier=trial
TimeoutStopSec=5
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../trial.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -s /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
ln -s /dev/null "$root/etc/systemd/system/getty@tty1.service"
truncate -s 2G "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"
rm -rf "$root" "$work/deb"

# What finds the disk.
root=$work/first
mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/disk"
cp "$parts/busybox" "$root/bin/busybox"
# Up to the file system; the rest is loaded from the disk, as on any PC.
sed '/^ext4.ko$/q' "$parts/modules.order" > "$root/modules/order"
while read -r module; do cp "$parts/modules/$module" "$root/modules/"; done < "$root/modules/order"
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mount -t ext4 /dev/vda /disk || echo "TRIAL-FAILED no disk"
umount /proc /sys
mount --move /dev /disk/dev
exec switch_root /disk /sbin/init
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) > "$work/initramfs"

# Hardware support is not asked for: where it is half there the machine does not boot.
boot() {
    { code=0; run || code=$?; echo $code > "$work/status"; } | sed -u 's|\r||g' | tee "$1"
    [ "$(cat "$work/status")" = 0 ] || { echo "the machine did not go down by itself" >&2; exit 1; }
}
run() {
    timeout "${MACHINE_PATIENCE:-600}" qemu-system-x86_64 -M q35 -accel tcg -cpu max -m "${MACHINE_MEMORY:-1024}" -smp 2 \
        -display none -no-reboot -nodefaults -serial stdio -netdev user,id=n -device virtio-net-pci,netdev=n \
        -device virtio-rng-pci -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
        -kernel "$parts/kernel" -initrd "$work/initramfs" \
        -append "console=ttyS0 quiet panic=-1 systemd.show_status=no" < /dev/null
}
boot "$work/first.log"
! grep -q TRIAL-FAILED "$work/first.log" || exit 1
grep -q '^TRIAL .*reboot$' "$work/first.log" || { echo "the first boot did not come to its end" >&2; exit 1; }
boot "$work/second.log"
! grep -q TRIAL-FAILED "$work/second.log" && grep -q TRIAL-PASSED "$work/second.log"
