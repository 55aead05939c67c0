#!/usr/bin/env bash
# tools/debian13.sh: a Debian 13 root beside an older host, for its compiler (glslang 15, validation layers 1.4) and its
# Vulkan drivers (lavapipe 26.1 from backports, lavapipe 25.0, RADV's compiler without hardware, SwiftShader).
#
#   tools/debian13.sh make            create or complete the root; seconds when it is already there
#   tools/debian13.sh run CMD...      run CMD in it, in the current folder, which is visible at its own path
#   tools/debian13.sh path            print where it is
#
# Place: $IJEPA_ROOT [/var/cache/ijepa/debian13]. Needs root and debootstrap (installed if missing). Nothing outside that folder
# is changed; remove it with: umount -R "$(tools/debian13.sh path)" 2>/dev/null; rm -rf "$(tools/debian13.sh path)".
set -euo pipefail

root=${IJEPA_ROOT:-/var/cache/ijepa/debian13}
stamp=$root/.ijepa-complete-4 # raise the number when the package lists below change
mirror=${IJEPA_MIRROR:-http://deb.debian.org/debian}

packages=(gcc g++ clang libclang-rt-19-dev make cmake ninja-build pkg-config git ca-certificates
    glslang-tools glslc spirv-tools libvulkan-dev libvulkan-volk-dev vulkan-validationlayers vulkan-tools
    check libyaml-dev libcjson-dev zlib1g-dev libjpeg62-turbo-dev libpng-dev libstb-dev python3 xz-utils
    clang-format dataset-fashion-mnist)

say() { printf 'debian13: %s\n' "$*" >&2; }

mounted() { grep -q " $1 " /proc/mounts; }

enter() { # mounts what a build and a driver need; idempotent
    mkdir -p "$root/proc" "$root/dev" "$root/sys"
    mounted "$root/proc" || mount -t proc proc "$root/proc"
    mounted "$root/dev" || mount --rbind /dev "$root/dev"
    mounted "$root/sys" || mount --rbind /sys "$root/sys" 2>/dev/null || true
    cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
    cp -L /etc/hosts "$root/etc/hosts" 2>/dev/null || true
}

in_root() { chroot "$root" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" no_proxy="${no_proxy:-}" "$@"; }

make_root() {
    if [ -e "$stamp" ]; then enter; return; fi
    [ "$(id -u)" = 0 ] || { say "needs root; as another user the host's own tools are used instead"; exit 3; }
    if ! command -v debootstrap >/dev/null; then
        say "installing debootstrap"
        { apt-get update -qq && apt-get install -y -qq debootstrap; } >/dev/null
    fi
    if [ ! -x "$root/usr/bin/apt-get" ]; then
        say "making a Debian 13 root in $root (about a minute)"
        rm -rf "$root"; mkdir -p "$root"
        debootstrap --variant=minbase trixie "$root" "$mirror" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; say "debootstrap failed, log: $root.log"; exit 3; }
    fi
    # The host's apt settings (proxy, timeouts) hold inside too.
    cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    cp /etc/apt/apt.conf "$root/etc/apt/apt.conf" 2>/dev/null || true
    cat >"$root/etc/apt/sources.list" <<SRC
deb $mirror trixie main
deb $mirror trixie-updates main
deb $mirror trixie-backports main
SRC
    enter
    say "installing compilers, libraries and drivers (about a minute)"
    {
        in_root apt-get update
        in_root apt-get install -y --no-install-recommends "${packages[@]}"
        # Two more drivers, unpacked beside the installed one: lavapipe 25.0 with RADV 25.0 (the last that compiles without hardware).
        in_root apt-get install -y --no-install-recommends -t trixie mesa-vulkan-drivers
        rm -rf "$root/opt/mesa25" && mkdir -p "$root/opt/mesa25"
        in_root bash -c 'cd /tmp && apt-get download mesa-vulkan-drivers/trixie && dpkg -x mesa-vulkan-drivers_25*.deb /opt/mesa25 && rm -f mesa-vulkan-drivers_25*.deb'
        # 25.0 needs the LLVM that trixie's package pulls; keep it when the backport replaces the package.
        in_root bash -c 'apt-mark manual $(dpkg-query -W -f "\${Package}\n" "libllvm*" "libspirv*" libdrm-amdgpu1 libelf1t64 2>/dev/null)'
        in_root apt-get install -y --no-install-recommends -t trixie-backports mesa-vulkan-drivers
        # SwiftShader: one file out of the chromium-common package, nothing installed.
        rm -rf "$root/opt/swiftshader" && mkdir -p "$root/opt/swiftshader"
        in_root bash -c 'cd /tmp && apt-get download chromium-common && dpkg -x chromium-common_*.deb c && find c -name libvk_swiftshader.so -exec cp {} /opt/swiftshader/ \; && test -e /opt/swiftshader/libvk_swiftshader.so; rm -rf c chromium-common_*.deb; test -e /opt/swiftshader/libvk_swiftshader.so'
        in_root apt-get clean
    } >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; say "installing failed, log: $root.log"; exit 3; }
    # Each driver gets a manifest with an absolute path, so that VK_DRIVER_FILES picks it alone.
    mkdir -p "$root/opt/icd"
    manifest() { printf '{"file_format_version":"1.0.0","ICD":{"library_path":"%s","api_version":"1.3.0"}}\n' "$2" >"$root/opt/icd/$1.json"; }
    manifest lavapipe26 /usr/lib/x86_64-linux-gnu/libvulkan_lvp.so
    manifest lavapipe25 /opt/mesa25/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so
    manifest radv25 /opt/mesa25/usr/lib/x86_64-linux-gnu/libvulkan_radeon.so
    manifest swiftshader /opt/swiftshader/libvk_swiftshader.so
    touch "$stamp"
    say "ready"
}

run_in() { # binds the current folder's project so that paths are the same on both sides
    enter
    local top; top=$(git rev-parse --show-toplevel 2>/dev/null || pwd)
    local bind
    for bind in "$top" ${IJEPA_BIND:-}; do
        mkdir -p "$root$bind"
        mounted "$root$bind" || mount --bind "$bind" "$root$bind"
    done
    # Names that begin with VK_, LP_, RADV_, IJEPA_ and the sanitizers' options pass through; the rest of the environment does not.
    local pass=(); while IFS='=' read -r name value; do
        case $name in VK_*|LP_*|RADV_*|MESA_*|IJEPA_*|ASAN_*|UBSAN_*|LSAN_*|CK_*|CI|CC|CXX|CFLAGS) pass+=("$name=$value") ;; esac
    done < <(env)
    exec chroot "$root" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "${pass[@]}" \
        bash -c 'cd "$1" && shift && exec "$@"' _ "$PWD" "$@"
}

case ${1:-} in
    make) make_root ;;
    run) shift; [ $# -gt 0 ] || { say "run needs a command"; exit 2; }; [ -e "$stamp" ] || make_root; run_in "$@" ;;
    path) echo "$root" ;;
    *) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; [ "${1:-}" = --help ] || exit 2 ;;
esac
