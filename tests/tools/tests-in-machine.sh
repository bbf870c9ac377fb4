#!/bin/sh
# Runs test programs of the node on an emulated PC with a kernel of its own and nothing but cgroup v2: what
# the machine that builds can't show when it has v1. Ends with the programs' verdict.
#
# usage: tests-in-machine.sh PARTS PROGRAMS TEST [FILTER...]
#   PARTS     a folder made by board-parts.sh amd64
#   PROGRAMS  a folder with bramble-shim and bramble-oci
#   TEST      the test program, as `cargo test -p bramble-agent --test node --no-run` names it
#   FILTER    which of its tests; rights, escapes and frozen unless given
set -eu
parts=$1 programs=$2 test=$3
shift 3
[ $# -gt 0 ] || set -- rights:: escapes:: frozen::
filters=$*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
mkdir -p "$root/bin" "$root/lib/modules" "$root/t/deps" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp" "$root/etc"
cp "$parts/busybox" "$root/bin/busybox"
cp "$parts/modules/overlay.ko" "$root/lib/modules/"
put() { # FILE PLACE
    strip -s -o "$2" "$1"
    ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
}
put "$programs/bramble-shim" "$root/t/bramble-shim"
put "$programs/bramble-oci" "$root/t/bramble-oci"
put "$test" "$root/t/deps/node"
printf '%s\n' "$filters" > "$root/t/filters"
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin
if [ ! -e /switched ]; then
    /bin/busybox mkdir -p /new
    /bin/busybox mount -t tmpfs -o size=90% board /new
    for entry in bin etc init lib lib64 usr t proc sys dev run tmp; do
        [ ! -e /$entry ] || /bin/busybox cp -a /$entry /new/
    done
    : > /new/switched
    exec /bin/busybox switch_root /new /init
fi
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
insmod /lib/modules/overlay.ko
ip link set lo up
echo "MACHINE-UP $(uname -rm), $(cat /sys/fs/cgroup/cgroup.controllers)"
RUST_BACKTRACE=0 /t/deps/node --test-threads=2 $(cat /t/filters) && echo MACHINE-PASSED || echo MACHINE-FAILED
echo MACHINE-END
poweroff -f
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) > "$work/initramfs"
# Hardware support is not asked for: where it is half there the machine does not boot.
timeout "${MACHINE_PATIENCE:-400}" qemu-system-x86_64 -M q35 -accel tcg -cpu max -m "${MACHINE_MEMORY:-1024}" -smp 2 -nographic \
    -no-reboot -nodefaults -serial stdio -kernel "$parts/kernel" -initrd "$work/initramfs" \
    -append "console=ttyS0 quiet panic=-1" < /dev/null | sed -u 's|\r||g' | tee "$work/log"
grep -q MACHINE-END "$work/log" && ! grep -q MACHINE-FAILED "$work/log" && grep -q MACHINE-PASSED "$work/log"
