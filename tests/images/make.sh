#!/bin/sh
# Makes the container images of the examples and tests from Debian's busybox-static, as
# `docker save` tars: OUT/hello-v1.tar, OUT/hello-v2.tar, OUT/busybox-1.tar. Nothing is pulled;
# the same busybox gives the same bytes.
#
#   tests/images/make.sh OUT [BUSYBOX ARCHITECTURE]
#
# BUSYBOX: a static busybox for another architecture than this machine's (amd64, arm64, arm).
set -eu

out=${1:?usage: tests/images/make.sh OUT [BUSYBOX ARCHITECTURE]}
busybox=${2:-$(command -v busybox)} || { echo "make.sh: busybox is missing: apt-get install busybox-static" >&2; exit 1; }
case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    armv6l | armv7l) arch=arm ;;
    *) arch=$(uname -m) ;;
esac
arch=${3:-$arch}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

pack() { # DIR TAR: a tar that depends on nothing but the files
    tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$2" .
}

rootfs() { # DIR: what every image holds
    mkdir -p "$1/bin" "$1/etc" "$1/tmp" "$1/www" "$1/proc" "$1/sys" "$1/dev"
    chmod 1777 "$1/tmp"
    cp "$busybox" "$1/bin/busybox"
    chmod 755 "$1/bin/busybox"
    for applet in sh cat echo env hostname httpd id kill ls mkdir mount nslookup ping printf ps \
        rm sleep test touch true false wget yes head tail wc stat sha256sum nc ip dd seq date \
        stty tar tty; do
        ln -s busybox "$1/bin/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' > "$1/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' > "$1/etc/group"
}

image() { # NAME:TAG DIR CMD-JSON TAR
    layer=$work/layer.tar
    pack "$2" "$layer"
    diff_id=$(sha256sum "$layer" | cut -d' ' -f1)
    save=$work/save
    rm -rf "$save"
    mkdir -p "$save/$diff_id"
    mv "$layer" "$save/$diff_id/layer.tar"
    printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Env":["PATH=/bin"],"Cmd":%s,"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$arch" "$3" "$diff_id" > "$work/config.json"
    config=$(sha256sum "$work/config.json" | cut -d' ' -f1)
    mv "$work/config.json" "$save/$config.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]' \
        "$config" "$1" "$diff_id" > "$save/manifest.json"
    pack "$save" "$work/image.tar"
    mv "$work/image.tar" "$4"
}

root=$work/root
rootfs "$root"
image bramble.test/busybox:1 "$root" '["sh"]' "$out/busybox-1.tar"

for version in v1 v2; do
    cat > "$root/bin/serve" <<SERVE
#!/bin/sh
# PID 1 has no default action for TERM: hand it on, so that a stop takes no grace time.
mkdir -p /tmp/www
echo "hello from Bramble $version, pod \$(hostname)" > /tmp/www/index.html
echo "hello $version listening on 8080"
httpd -f -vv -p 8080 -h /tmp/www &
trap 'echo "hello $version stops"; kill \$!; exit 0' TERM INT
wait
SERVE
    chmod 755 "$root/bin/serve"
    image "bramble.test/hello:$version" "$root" '["/bin/serve"]' "$out/hello-$version.tar"
done
