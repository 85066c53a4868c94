# shellcheck shell=sh
# Sourced by the tests of packages: a clean Debian root in $base, made once (or FORKPROXY_BASE); ends with a reason where it cannot be had.

skip() {
    echo "SKIPPED: $*"
    exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root"
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
work=$PWD/build/${0##*/}
mkdir -p "$work"
base=${FORKPROXY_BASE:-$PWD/build/debian}
if [ ! -d "$base" ]; then
    command -v debootstrap >/dev/null || skip "needs debootstrap"
    # shellcheck disable=SC1091
    release=$(. /etc/os-release && if [ "$ID" = debian ]; then echo "$VERSION_CODENAME"; fi)
    rm -rf "$base.new"
    debootstrap --variant=minbase "${release:-bookworm}" "$base.new" > "$work/debootstrap.log" || skip "debootstrap failed: see $work/debootstrap.log"
    mv "$base.new" "$base"
fi
