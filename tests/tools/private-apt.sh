# Sourced by the tools that fetch Debian's packages: an apt of their own, which neither knows nor changes
# what is installed on this machine.

# private_apt NEW SUITE ARCHITECTURE...
#   from here on apt works in NEW/apt and sees SUITE of Debian, for the architectures named (the first is
#   the one meant where none is said); NEW/debs is there to fetch into. The caller removes both.
private_apt() {
    new=$1
    suite=$2
    shift 2
    mkdir -p "$new/apt/lists/partial" "$new/apt/cache/archives/partial" "$new/debs"
    # The mirror that this machine has for Debian itself.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | sort -u | head -n 1)
    [ -n "$mirror" ] || { echo "$(basename "$0" .sh): apt knows no Debian mirror (its sources have none that ends in /debian)" >&2; exit 1; }
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$new/apt/sources.list"
    cat > "$new/apt/conf" <<CONF
Dir::Etc::sourcelist "$new/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$new/apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$new/apt/cache";
APT::Architecture "$1";
APT::Architectures {$(printf ' "%s";' "$@") };
APT::Sandbox::User "root";
// A stored copy of the archive is as good, however old.
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
    export APT_CONFIG="$new/apt/conf"
    apt-get -q update
}
