#!/bin/sh
# Build etc/docker/Dockerfile with buildah on a Debian root made by debootstrap, and run the image in a network of its own: `make image-test`.
#
# No registry of images is asked. Needs root, debootstrap, buildah, iproute2, curl; the packages of Debian and of PyPI must be reachable.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/packaging/base.sh
. tests/packaging/base.sh
for program in buildah ip curl; do
    command -v "$program" >/dev/null || skip "needs $program"
done
export BUILDAH_ISOLATION=chroot
images() {
    buildah --root "$work/images" --runroot "$work/run" "$@"
}
container=
tidy() {
    [ -z "$container" ] || images rm "$container" > /dev/null 2>&1 || true
    images rmi --all --force > /dev/null 2>&1 || true
    rm -rf "$work"
}
trap tidy EXIT

echo "== build"
container=$(images from scratch)
images add -q "$container" "$base" / > /dev/null
if [ -d /usr/local/share/ca-certificates ]; then # whom this machine trusts besides, pip must trust inside
    images add -q "$container" /usr/local/share/ca-certificates /usr/local/share/ca-certificates > /dev/null
fi
images commit -q "$container" localhost/debian:base > /dev/null
images rm "$container" > /dev/null
images build --format docker -f etc/docker/Dockerfile --build-arg DEBIAN=localhost/debian:base -t forkproxy . > "$work/build.log" 2>&1 || {
    tail -n 30 "$work/build.log"
    exit 1
}

echo "== run"
container=$(images from forkproxy)
images inspect --format '{{.Docker.Config.User}} {{.Docker.Config.StopSignal}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}}' "$container" |
    grep -Fx '10001:10001 SIGUSR1 [forkproxy] [-W -f /etc/forkproxy/forkproxy.cfg]'
cat > "$work/inside" <<'INSIDE'
set -eu
ip link set lo up
"$@" -- forkproxy -W -f /etc/forkproxy/forkproxy.cfg > "$LOG" 2>&1 &
runner=$!
tries=0
until curl -sf http://127.0.0.1:8080/ > /dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 150 ] || { cat "$LOG"; exit 1; }
    sleep 0.1
done
curl -sf http://127.0.0.1:8080/
# the HEALTHCHECK
"$@" -- python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8404/health', timeout=2)"
[ "$(ps -eo user:12,args | grep -c '^10001  *forkproxy: ')" -ge 2 ]
kill -USR1 "$(pgrep -o -f '^forkproxy: master')"
wait "$runner"
grep 'GET / HTTP' "$LOG"
INSIDE
grep -F "http://127.0.0.1:8404/health', timeout=2" etc/docker/Dockerfile > /dev/null
LOG=$work/log unshare --net --pid --fork --mount-proc sh "$work/inside" buildah --root "$work/images" --runroot "$work/run" run "$container"
echo "== all good"
