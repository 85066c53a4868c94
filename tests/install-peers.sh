#!/bin/sh
# Install the programs that system tests talk to, where this user may; otherwise say what will be skipped.
# Services that the packages would start are held back: tests start their own, on ports of their own.
set -u
wanted="haproxy hatop prometheus-haproxy-exporter monitoring-plugins-contrib nginx-light wrk hey curl prometheus redis-server mariadb-server-core postgresql slapd opensmtpd"
missing=""
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "not a Debian system: tests that need$missing are skipped where they are not found"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "not root, so not installed (tests that need them are skipped):$missing"
    exit 0
fi
made_policy=no
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    made_policy=yes
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null || echo "could not install all of:$missing (tests that need them are skipped)"
[ "$made_policy" = no ] || rm -f /usr/sbin/policy-rc.d
exit 0
