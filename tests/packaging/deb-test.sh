#!/bin/sh
# Install the package in a clean Debian root, run the tests of debian/tests there, and remove it: `make deb-test`.
#
# First without systemd, in a chroot; then booted by systemd-nspawn, where the package itself starts the service, and where the commands of
# docs/cookbook/install.md are run. Needs root, debootstrap
# and Debian's mirror (or FORKPROXY_BASE, a directory with a Debian root); without systemd-nspawn only the first part is done.
set -eu
deb=$(realpath "$1")
cd "$(dirname "$0")/../.."
# shellcheck source=tests/packaging/base.sh
. tests/packaging/base.sh

root=$work/root
rm -rf "$root"
cp -a "$base" "$root"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
cp "$deb" "$root/root/forkproxy.deb"
cp -r debian/tests "$root/root/tests"
within() {
    unshare --mount --pid --fork --mount-proc="$root/proc" chroot "$root" "$@"
}
gone() {
    for path in etc/forkproxy var/lib/forkproxy run/forkproxy var/log/forkproxy.log usr/lib/python3/dist-packages/forkproxy usr/bin/forkproxy; do
        if [ -e "$root/$path" ]; then
            echo "FAILED: left behind: $path"
            exit 1
        fi
    done
    if within dpkg-query -W forkproxy 2>/dev/null; then
        echo "FAILED: not purged"
        exit 1
    fi
}

echo "== in a chroot"
within apt-get update -qq
within apt-get install -y -qq --no-install-recommends /root/forkproxy.deb curl procps > "$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
within /root/tests/command-line
within apt-get purge -y -qq forkproxy >> "$work/install.log" 2>&1
gone

echo "== with systemd"
command -v systemd-nspawn >/dev/null || skip "the second part needs systemd-nspawn (systemd-container)"
[ -c /dev/full ] || skip "the second part: systemd-nspawn needs /dev/full to be a device"
within apt-get install -y -qq --no-install-recommends systemd-sysv dbus rsyslog logrotate haproxy socat >> "$work/install.log" 2>&1
# HAProxy has something to serve; the page says how it is replaced
printf 'frontend web\n    bind *:80\n    http-request return status 200 content-type text/plain string "served\\n"\n' >> "$root/etc/haproxy/haproxy.cfg"
awk '/^```sh$/ { inside = 1; next } /^```$/ { inside = 0 } inside' docs/cookbook/install.md |
    sed -e '/^make deb$/d' -e 's,^apt install .*,dpkg -i /root/forkproxy.deb,' > "$root/root/page"
rm "$root/usr/sbin/policy-rc.d"
cat > "$root/root/run" <<'RUN'
#!/bin/sh
( set -e
  systemctl stop haproxy
  dpkg -i /root/forkproxy.deb
  /root/tests/service
  dpkg --purge forkproxy
  ! systemctl cat forkproxy.service 2>/dev/null
  echo "== docs/cookbook/install.md"
  systemctl start haproxy
  set -x
  . /root/page
) > /root/output 2>&1
echo $? > /root/status
journalctl -u forkproxy --no-pager > /root/journal 2>&1
RUN
chmod +x "$root/root/run"
cat > "$root/etc/systemd/system/deb-test.service" <<'UNIT'
[Unit]
After=rsyslog.service dbus.service
[Service]
Type=oneshot
ExecStart=/root/run
ExecStopPost=systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
UNIT
within systemctl enable -q deb-test.service
timeout 240 systemd-nspawn -q -D "$root" --register=no --keep-unit --private-network --link-journal=no --console=pipe -b \
    < /dev/null > "$work/boot.log" 2>&1 || true
[ -e "$root/root/status" ] || skip "the second part: the root does not boot here, see $work/boot.log"
cat "$root/root/output"
if [ "$(cat "$root/root/status")" != 0 ]; then
    cat "$root/root/journal"
    echo "FAILED"
    exit 1
fi
gone
rm -rf "$root"
echo "== all good"
