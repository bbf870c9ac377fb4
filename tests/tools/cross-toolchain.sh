#!/bin/sh
# A compiler for ARM in a folder of its own, from Debian's packages: rustc with the standard libraries of
# aarch64 and armv7 out of unstable (no stable release has one that is new enough), with the libraries
# that it runs on, so that nothing of the machine's own is replaced. About 200 MB are fetched, 750 MB lie
# there. The linkers are the machine's own packages (see `x`).
#
# usage: cross-toolchain.sh FOLDER     afterwards FOLDER/rustc is the compiler
set -eu
. "$(dirname "$0")/private-apt.sh"
folder=$1
rm -rf "$folder.new"
mkdir -p "$folder.new"
new=$(cd "$folder.new" && pwd)
trap 'rm -rf "$new"' EXIT
private_apt "$new" sid amd64 arm64 armhf
# The two that change their names with each release are found by what needs them.
needed() { apt-cache depends --important "$1" | sed -n "s/^ *Depends: \($2[0-9.]*\)$/\1/p" | head -n 1; }
std=$(needed libstd-rust-dev libstd-rust-)
llvm=$(needed "$std" libllvm)
(cd "$new/debs" && apt-get -q download rustc "$std" "$llvm" libstd-rust-dev libstd-rust-dev:arm64 libstd-rust-dev:armhf \
    libc6 libgcc-s1 libstdc++6 libedit2 libffi8 libxml2-16 libz3-4 libzstd1 zlib1g libbsd0 libmd0 libtinfo6 liblzma5)
for package in "$new"/debs/*.deb; do dpkg-deb -x "$package" "$new/root"; done
rm -rf "$new/debs" "$new/apt" "$new/root/usr/share"
cat > "$new/rustc" <<'RUSTC'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" --argv0 rustc \
    "$root/usr/bin/rustc" --sysroot "$root/usr" "$@"
RUSTC
chmod 755 "$new/rustc"
"$new/rustc" -V
rm -rf "$folder"
mv "$new" "$folder"
trap - EXIT
