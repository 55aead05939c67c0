#!/usr/bin/env bash
# tools/baseline_pytorch.sh: runs tools/baseline_pytorch.py, the peer that this project's training step is timed against, with
# the fastest CPU PyTorch that can be had without pip: Debian testing's, in a root of its own (Debian 13 has 2.6, Debian 12 has 1.13).
#
#   tools/baseline_pytorch.sh [ARGUMENTS]   make or complete the root (2 minutes, 2 GB), then run the baseline with ARGUMENTS
#   tools/baseline_pytorch.sh make          the root only
#   tools/baseline_pytorch.sh exec CMD...   any command in the root, in the current folder
#
# Place: $IJEPA_TORCH_ROOT [/var/cache/ijepa/forky]. Needs root and debootstrap (installed if missing). On a machine that has
# PyTorch already, run tools/baseline_pytorch.py itself. Remove: umount -R the folder's proc, dev and binds, then rm -rf it.
#
# A mirror that is a frozen snapshot fails with `Release file is expired`: set IJEPA_APT_OPTIONS=-oAcquire::Check-Valid-Until=false
# (signatures are verified all the same).
#
# OMP_NUM_THREADS [the CPU count] and OPENBLAS_NUM_THREADS=1 are set here because they decide the result: with both pools at
# their defaults the two fight for the cores. The pthread OpenBLAS must be present too; the plain BLAS is far slower.
set -euo pipefail

root=${IJEPA_TORCH_ROOT:-/var/cache/ijepa/forky}
stamp=$root/.ijepa-complete-1 # raise the number when the package list below changes
mirror=${IJEPA_MIRROR:-http://deb.debian.org/debian}
packages=(python3 python3-torch python3-numpy libopenblas0-pthread)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'baseline_pytorch: %s\n' "$*" >&2; }

mounted() { grep -q " $1 " /proc/mounts; }

enter() { # mounts what Python and the OpenMP runtime read; idempotent
    mkdir -p "$root/proc" "$root/dev" "$root/sys"
    mounted "$root/proc" || mount -t proc proc "$root/proc"
    mounted "$root/dev" || mount --rbind /dev "$root/dev"
    mounted "$root/sys" || mount --rbind /sys "$root/sys" 2>/dev/null || true
}

in_root() { chroot "$root" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" no_proxy="${no_proxy:-}" "$@"; }

make_root() {
    if [ -e "$stamp" ]; then enter; return; fi
    [ "$(id -u)" = 0 ] || { say "needs root; with a PyTorch of your own run tools/baseline_pytorch.py instead"; exit 3; }
    if ! command -v debootstrap >/dev/null; then
        say "installing debootstrap"
        { apt-get update -qq && apt-get install -y -qq debootstrap; } >/dev/null
    fi
    if [ ! -x "$root/usr/bin/apt-get" ]; then
        say "making a Debian testing root in $root (about a minute)"
        rm -rf "$root"; mkdir -p "$root"
        # The script is named because an older debootstrap does not know forky; all suites share sid's.
        debootstrap --variant=minbase forky "$root" "$mirror" sid >"$root.log" 2>&1 ||
            { tail -5 "$root.log" >&2; say "debootstrap failed, log: $root.log"; exit 3; }
    fi
    # The host's apt settings (proxy, timeouts) hold inside too.
    cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    cp /etc/apt/apt.conf "$root/etc/apt/apt.conf" 2>/dev/null || true
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
    echo "deb $mirror forky main" >"$root/etc/apt/sources.list"
    enter
    say "installing PyTorch (about a minute)"
    { in_root apt-get ${IJEPA_APT_OPTIONS:-} update && in_root apt-get ${IJEPA_APT_OPTIONS:-} install -y --no-install-recommends "${packages[@]}" && in_root apt-get clean; } \
        >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; say "installing failed, log: $root.log"; exit 3; }
    touch "$stamp"
    say "ready"
}

run_in() { # the project, the current folder and whatever $IJEPA_BIND names are visible inside at their own paths
    enter
    local bind
    for bind in "$(dirname "$here")" "$PWD" ${IJEPA_BIND:-}; do
        mkdir -p "$root$bind"
        [ "$root$bind/." -ef "$bind/." ] || mount --bind "$bind" "$root$bind"
    done
    exec chroot "$root" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}" \
        bash -c 'cd "$1" && shift && exec "$@"' _ "$PWD" "$@"
}

case ${1:-} in
    make) make_root ;;
    exec) shift; [ $# -gt 0 ] || { say "exec needs a command"; exit 2; }; make_root; run_in "$@" ;;
    --help) sed -n '2,17p' "$0" | sed 's/^# \{0,1\}//' ;;
    *) make_root; run_in python3 "$here/baseline_pytorch.py" "$@" ;;
esac
