#!/usr/bin/env bash
# tools/debian13.sh: a Debian 13 root beside an older host, for its compiler (glslang 15, validation layers 1.4) and its
# Vulkan drivers (lavapipe 26.1 from backports, lavapipe 25.0, RADV's compiler without hardware, SwiftShader).
#
#   tools/debian13.sh make            create or complete the root; seconds when it is already there
#   tools/debian13.sh run CMD...      run CMD in it, in the current folder, which is visible at its own path
#   tools/debian13.sh path            print where it is
#   tools/debian13.sh packages        print what a build and the tests need, for apt-get
#   tools/debian13.sh drivers DIR     on a Debian 13 host: unpack the other drivers into DIR, one DIR/icd/NAME.json each
#
# Place: $IJEPA_ROOT [/var/cache/ijepa/debian13]; mirror: $IJEPA_MIRROR [http://deb.debian.org/debian]. Needs root, the right to
# mount, and debootstrap (installed if missing). Mounts are made in a namespace of their own and end with the command: nothing
# outside the folder changes, and `rm -rf` of the folder removes all of it.
set -euo pipefail

root=${IJEPA_ROOT:-/var/cache/ijepa/debian13}
stamp=$root/.ijepa-complete-7 # raise the number when the package lists below change
mirror=${IJEPA_MIRROR:-http://deb.debian.org/debian}

# Names that Debian 12, Debian 13 and Ubuntu 24.04 share; what only the Debian 13 root gets stands apart.
packages=(gcc g++ clang make cmake ninja-build pkg-config git ca-certificates
    glslang-tools glslc spirv-tools libvulkan-dev vulkan-validationlayers vulkan-tools
    check libyaml-dev libcjson-dev zlib1g-dev libjpeg62-turbo-dev libstb-dev python3 xz-utils dataset-fashion-mnist)
packages_root=(libclang-rt-19-dev libpng-dev clang-format)
# Independent evaluators that ours are compared with; the comparisons that need them are left out, by name, where they cannot be had.
packages_peers=(python3-numpy python3-sklearn python3-torch python3-torchvision python3-safetensors python3-pil python3-pip python3-venv)
pypi_peers=('transformers==4.57.*' 'timm==1.0.*') # in /opt/peers, a virtual environment that sees Debian's packages; transformers 5 in /opt/peers5
# bfloat16 in GLSL needs glslang 15.3; Debian 13 has 15.1, Debian testing 16. They bring nothing of testing's but themselves.
packages_newer=(glslang-tools glslc spirv-tools)

say() { printf 'debian13: %s\n' "$*" >&2; }

mounted() { grep -q " $1 " /proc/mounts; }

own_mounts() { # starts this script again in a mount namespace of its own: what it mounts ends with it
    [ -z "${IJEPA_OWN_MOUNTS:-}" ] || return 0
    [ "$(id -u)" = 0 ] || { say "needs root; as another user: tools/test.sh --host uses this machine's own tools"; exit 3; }
    unshare --mount true 2>/dev/null || { say "mounting is not allowed here (a container?); tools/test.sh --host uses this machine's own tools"; exit 3; }
    IJEPA_OWN_MOUNTS=1 exec unshare --mount --propagation private bash "$0" "$@"
}

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

# Unpacks the drivers that are not the installed one into $1 and writes a manifest for each; nothing is installed. Each manifest
# has an absolute path, so that VK_DRIVER_FILES picks that driver alone. A driver that cannot be had is left out, with a line.
unpack_drivers() {
    local to=$1 installed=/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so
    mkdir -p "$to/icd"
    fetch() { # name, package: unpacks the package into $to/name
        local work; work=$(mktemp -d)
        chmod 755 "$work"
        rm -rf "${to:?}/$1"
        (cd "$work" && apt-get download "$2" && dpkg -x ./*.deb "$to/$1") || say "no $2"
        rm -rf "$work"
    }
    manifest() { # name, library: only for a library whose own libraries are all there
        rm -f "$to/icd/$1.json"
        [ -e "$2" ] && [[ $(ldd "$2") != *'not found'* ]] || { say "driver $1 is left out"; return 0; }
        printf '{"file_format_version":"1.0.0","ICD":{"library_path":"%s","api_version":"1.3.0"}}\n' "$2" >"$to/icd/$1.json"
    }
    fetch mesa25 mesa-vulkan-drivers/trixie # 25.0 is the last whose RADV compiles without hardware
    fetch chromium chromium-common          # SwiftShader is one file of it
    mkdir -p "$to/swiftshader"
    find "$to/chromium" -name libvk_swiftshader.so -exec mv {} "$to/swiftshader/" \; 2>/dev/null || true
    rm -rf "$to/chromium"
    if [[ $(dpkg-query -W -f '${Version}' mesa-vulkan-drivers) == 26* ]]; then
        manifest lavapipe26 "$installed"
    elif [[ $(apt-cache policy mesa-vulkan-drivers) == *trixie-backports* ]]; then
        fetch mesa26 mesa-vulkan-drivers/trixie-backports
        manifest lavapipe26 "$to/mesa26$installed"
    fi
    manifest lavapipe25 "$to/mesa25$installed"
    manifest radv25 "$to/mesa25/usr/lib/x86_64-linux-gnu/libvulkan_radeon.so"
    manifest swiftshader "$to/swiftshader/libvk_swiftshader.so"
}

# From Debian testing, pinned below everything else. A mirror may be a snapshot whose list of testing has run out: its date is not
# checked, its signature is.
install_newer() {
    printf 'deb %s forky main\n' "$mirror" >"$root/etc/apt/sources.list.d/forky.list"
    printf 'Package: *\nPin: release n=forky\nPin-Priority: 100\n' >"$root/etc/apt/preferences.d/forky"
    in_root apt-get -oAcquire::Check-Valid-Until=false update &&
        in_root apt-get -oAcquire::Check-Valid-Until=false install -y --no-install-recommends -t forky "${packages_newer[@]}"
}

# What Debian does not have comes from PyPI, without its dependencies on PyTorch, which Debian has. The host's certificates hold inside too.
install_pypi() {
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt" 2>/dev/null || true
    in_root python3 -m venv --system-site-packages /opt/peers &&
        in_root /opt/peers/bin/pip install --no-input "${pypi_peers[@]}" &&
        in_root python3 -m venv --system-site-packages /opt/peers5 &&
        in_root /opt/peers5/bin/pip install --no-input 'transformers==5.*'
}

make_root() {
    if [ -e "$stamp" ]; then return; fi
    mkdir -p "$(dirname "$root")"
    exec 9>"$root.lock"
    flock 9 # two at once: the second finds the first one's root
    if [ -e "$stamp" ]; then return; fi
    if ! command -v debootstrap >/dev/null; then
        say "installing debootstrap"
        { apt-get update -qq && apt-get install -y -qq debootstrap; } </dev/null >/dev/null
    fi
    if [ ! -x "$root/usr/bin/apt-get" ]; then
        say "making a Debian 13 root in $root (about a minute)"
        rm -rf "$root"; mkdir -p "$root"
        debootstrap --variant=minbase trixie "$root" "$mirror" </dev/null >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; say "debootstrap failed, log: $root.log"; exit 3; }
    fi
    # The host's proxy settings hold inside too.
    cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    cp /etc/apt/apt.conf "$root/etc/apt/apt.conf" 2>/dev/null || true
    printf 'Acquire::Retries "5";\n' >"$root/etc/apt/apt.conf.d/80retries"
    printf 'deb %s %s main\n' "$mirror" trixie "$mirror" trixie-updates "$mirror" trixie-backports >"$root/etc/apt/sources.list"
    enter
    cp "$0" "$root/opt/debian13.sh"
    say "installing compilers, libraries and drivers (two or three minutes)"
    {
        in_root apt-get update
        in_root apt-get install -y --no-install-recommends "${packages[@]}" "${packages_root[@]}"
        in_root apt-get install -y --no-install-recommends -t trixie mesa-vulkan-drivers
        # 25.0 needs the LLVM that trixie's package pulls; keep it when the backport replaces the package.
        in_root bash -c 'apt-mark manual $(dpkg-query -W -f "\${Package}\n" "libllvm*" "libspirv*" libdrm-amdgpu1 libelf1t64 2>/dev/null)'
        in_root apt-get install -y --no-install-recommends -t trixie-backports mesa-vulkan-drivers
        in_root bash /opt/debian13.sh drivers /opt
        in_root apt-get install -y --no-install-recommends "${packages_peers[@]}" || echo "debian13: no scikit-learn or PyTorch: evaluators are not compared with them"
        install_pypi || echo "debian13: no transformers or timm: model files are not compared with them"
        install_newer || echo "debian13: no newer shader compiler: modules that need GL_EXT_bfloat16 are left out"
        in_root apt-get clean
    } </dev/null >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; say "installing failed, log: $root.log"; exit 3; }
    grep -E '^debian13: (driver|no )' "$root.log" >&2 || true
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
        case $name in
            IJEPA_OWN_MOUNTS) ;;
            VK_*|LP_*|RADV_*|MESA_*|IJEPA_*|ASAN_*|UBSAN_*|LSAN_*|CK_*|CI|CC|CXX|CFLAGS) pass+=("$name=$value") ;;
        esac
    done < <(env)
    exec chroot "$root" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "${pass[@]}" \
        bash -c 'cd "$1" && shift && exec "$@"' _ "$PWD" "$@"
}

case ${1:-} in
    make) [ -e "$stamp" ] || own_mounts "$@"; make_root ;;
    run) [ $# -gt 1 ] || { say "run needs a command"; exit 2; }; own_mounts "$@"; shift; make_root; run_in "$@" ;;
    path) echo "$root" ;;
    packages) echo "${packages[@]}" mesa-vulkan-drivers ;;
    drivers) [ $# = 2 ] || { say "drivers needs a folder"; exit 2; }; unpack_drivers "$2" ;;
    *) sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//'; [ "${1:-}" = --help ] || exit 2 ;;
esac
