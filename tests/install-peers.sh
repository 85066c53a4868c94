#!/bin/sh
# Install the programs that system tests talk to, where this user may; otherwise say what will be skipped.
# Debian's packages need root. What comes from PyPI and npm goes into build/peers of the checkout: nothing else of the machine changes.
set -u
cd "$(dirname "$0")/.." || exit 1
wanted="haproxy hatop prometheus-haproxy-exporter monitoring-plugins-contrib nginx-light wrk hey curl prometheus redis-server mariadb-server-core postgresql slapd opensmtpd strace iproute2"
# what takes the files of etc/ and of the package
wanted="$wanted rsyslog logrotate groff-base mandoc zsh"
wanted="$wanted dpkg-dev debhelper dh-python pybuild-plugin-pyproject python3-setuptools python3-psutil python3-setproctitle python3-prometheus-client lintian"

# Services that the packages would start are held back: tests start their own, on ports of their own.
debian() {
    missing=""
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "not a Debian system: tests that need$missing are skipped where they are not found"
        return 0
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "not root, so not installed (tests that need them are skipped):$missing"
        return 0
    fi
    made_policy=no
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        made_policy=yes
    fi
    export DEBIAN_FRONTEND=noninteractive
    patience="-o Acquire::http::Timeout=20 -o Acquire::Retries=1"
    # shellcheck disable=SC2086
    apt-get $patience update -qq
    # shellcheck disable=SC2086
    apt-get $patience install -y -qq --no-install-recommends $missing >/dev/null || echo "could not install all of:$missing (tests that need them are skipped)"
    [ "$made_policy" = no ] || rm -f /usr/sbin/policy-rc.d
}

# ansible-core, and of the collections (half a gigabyte) the one module that talks to HAProxy.
ansible() {
    [ ! -e build/peers/ansible/.done ] || return 0
    rm -rf build/peers/ansible
    mkdir -p build/peers/ansible/wheel
    (
        set -e
        timeout 120 "$python" -m pip install --quiet --disable-pip-version-check --no-compile --target build/peers/ansible ansible-core
        timeout 120 "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest build/peers/ansible/wheel ansible
        "$python" - build/peers/ansible <<'END'
import glob, re, sys, zipfile
wanted = re.compile("ansible_collections/community/general/(MANIFEST.json|meta/|plugins/module_utils/[^/]*.py$|plugins/modules/haproxy.py)")
with zipfile.ZipFile(*glob.glob(f"{sys.argv[1]}/wheel/*.whl")) as wheel:
    wheel.extractall(sys.argv[1], [name for name in wheel.namelist() if wanted.match(name)])
END
        rm -r build/peers/ansible/wheel
        touch build/peers/ansible/.done
    ) || echo "could not install Ansible (its test is skipped)"
}

node() {
    [ ! -e build/peers/node/node_modules/haproxy ] || return 0
    if ! command -v npm >/dev/null; then
        echo "no npm: the test of its package haproxy is skipped"
        return 0
    fi
    mkdir -p build/peers/node
    # where its registry cannot be reached npm would go on trying for minutes
    timeout 30 npm install --silent --no-fund --no-audit --ignore-scripts --fetch-retries=1 --fetch-timeout=10000 \
        --prefix build/peers/node haproxy >/dev/null ||
        echo "could not install npm's haproxy (its test is skipped)"
}

python="${1:-python3}"
# shellcheck disable=SC2086
debian $wanted
debian chromium  # by itself: it is large, and where it cannot be had the others still can
ansible
node
exit 0
