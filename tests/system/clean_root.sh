#!/bin/sh
# Proves the set-up from nothing: a fresh Debian root (debootstrap, minbase), this checkout in it, and ./dev as a
# newcomer would use it. Run as root by ./dev prove-setup [IMAGES]; takes minutes and needs the network.
#
#   IMAGES   a folder of images to drop; without it, the tests' own
#   SUITE    which Debian (environment; bookworm)
#   SCRATCH  where the root is built (environment; needs 2 GB; /var/tmp)
#
# The new root reaches the network as this machine does: its mirror, proxies and certificates, if it has such.
# All mounts and processes are in namespaces of their own; the folder is removed at the end, whatever happens.
set -eu
checkout=$(cd -- "$(dirname -- "$0")/../.." && pwd)
suite=${SUITE:-bookworm}

if [ "${1:-}" != --inside-namespaces ]; then
    images=${1:+$(cd -- "$1" && pwd)}
    root=$(mktemp -d "${SCRATCH:-/var/tmp}/imgoptd-clean-root.XXXXXX")
    trap 'rm -rf --one-file-system "$root"' EXIT
    trap 'exit 130' INT TERM
    unshare --mount --propagation private --pid --fork --kill-child sh "$0" --inside-namespaces "$root" "$images"
    exit
fi
root=$2 images=$3

step() { printf '\n=== %s\n' "$*"; }

# The first archive of this machine that has the suite.
mirror() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' "Codename: $suite" 2>/dev/null |
        sed -n 's/^[^ ]* //p' | head -n 1
}

step "debootstrap $suite"
from=$(mirror)
debootstrap --variant=minbase "$suite" "$root" ${from:+"$from"} >"$root.log" 2>&1 || { cat "$root.log"; exit 1; }
rm -f "$root.log"
chmod 755 "$root" # mktemp made it for its owner alone, but other users live in there

# How this machine reaches the network.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
apt-config dump | grep -E '^Acquire::(http|https)::' >"$root/etc/apt/apt.conf.d/99-as-outside" || true
for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
    bundle=
    eval "bundle=\${$name:-}"
    [ -f "$bundle" ] || continue
    cp -L "$bundle" "$root/etc/certificates-outside.pem"
    export "$name=/etc/certificates-outside.pem"
done
unset SSL_CERT_DIR PIP_FIND_LINKS PYTHONPATH VIRTUAL_ENV

# The checkout, without what git ignores.
mkdir "$root/root/imgoptd"
(cd "$checkout" && git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -c) |
    tar -x -C "$root/root/imgoptd"
if [ -n "$images" ]; then cp -r "$images" "$root/root/images"; fi

mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"

cat >"$root/root/prove.sh" <<'END'
set -eu
cd /root/imgoptd
step() { printf '\n=== %s\n' "$*"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

for tool in python3 make gcc git; do
    if command -v "$tool" >/dev/null; then echo "$tool is here already: this root is not clean"; exit 1; fi
done

step "./dev setup, from nothing"
began=$(now_ms); ./dev setup; echo "took $(($(now_ms) - began)) ms"

step "./dev setup again, without a network"
began=$(now_ms); unshare --net ./dev setup; took=$(($(now_ms) - began)); echo "took $took ms"
[ "$took" -lt 2000 ]

step "./dev run, with images dropped"
[ -d /root/images ] || .venv/bin/python -c '
import os, sys
sys.path.insert(0, ".")
from tests import images
os.mkdir("/root/images")
for name, data in images.good().items():
    open("/root/images/" + name, "wb").write(data)'
./dev run >/tmp/run.log 2>&1 &
daemon=$!
tries=0
until .venv/bin/imgoptctl --socket .demo/control.sock status >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ] || ! kill -0 $daemon; then cat /tmp/run.log; exit 1; fi
    sleep 0.2
done
cp -r --preserve=all /root/images/. drop/
find drop -type f ! -name '.*' -print0 |
    xargs -0 .venv/bin/imgoptctl --socket .demo/control.sock wait --timeout 500 >/tmp/wait.log || { cat /tmp/wait.log /tmp/run.log; exit 1; }
.venv/bin/imgoptctl --socket .demo/control.sock status
kill -INT $daemon
wait $daemon # exit status 0: Ctrl-C is a graceful end
head -n 5 /tmp/run.log; echo ...; tail -n 5 /tmp/run.log

step "what was dropped against what came out"
.venv/bin/python -m tests.checker /root/images drop

step "./dev install"
./dev install
imgoptd --check --config config/demo.toml || [ $? = 1 ]
./dev install 2>/dev/null

step "./dev check"
./dev check

step "./dev test"
./dev test
END
chroot "$root" /usr/bin/env -u OLDPWD HOME=/root USER=root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh /root/prove.sh
step "all of it held"
