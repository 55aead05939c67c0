#!/usr/bin/env bash
# tools/gpu_report.sh: what a GPU machine makes of this tree, in a folder of a few small files; for machines that are there for minutes.
#
#   tools/gpu_report.sh pack           here: a portable build into build/portable (program, shaders, its libraries, Vulkan's loader,
#                                      Fashion-MNIST); build where glibc is old, it runs where glibc is newer
#   tools/gpu_report.sh run FOLDER     there: devices, selftest, replays, benchmarks, a short training, into FOLDER; takes
#                                      build/portable when it is there, else builds; needs no network then
#
# Each part has its own time limit and is reported whether it passes or not; about six minutes in all. FOLDER/report.txt has
# everything that is read, FOLDER/bench.json, selftest.json and loss.png what is compared and looked at.
set -euo pipefail
cd "$(dirname "$0")/.."
portable=build/portable
data=/usr/share/datasets/fashion-mnist

pack() {
    local library
    mkdir -p build
    if ! { cmake -G Ninja -B build/portable-build -DCMAKE_BUILD_TYPE=Release -DIJ_TESTS=OFF && ninja -C build/portable-build; } >build/portable.log 2>&1; then
        tail -20 build/portable.log
        exit 1
    fi
    rm -rf $portable
    mkdir -p $portable/lib $portable/data
    cp build/portable-build/ijepa $portable/
    strip $portable/ijepa
    # All that it links, without the C library, and what is loaded at run time: Vulkan's loader, and what NVIDIA's driver asks for.
    ldd $portable/ijepa | awk '$2 == "=>" && $3 ~ /^\// && $1 !~ /^(libc|libm|libdl|libpthread|ld-linux.*)\.so/ { print $3 }' | while read -r library; do cp -L "$library" $portable/lib/; done
    for library in libvulkan.so.1 libX11.so.6 libXext.so.6 libxcb.so.1 libXau.so.6 libXdmcp.so.6 libbsd.so.0 libmd.so.0 libGLdispatch.so.0; do
        for place in /usr/lib/x86_64-linux-gnu /lib/x86_64-linux-gnu; do [ ! -e $place/$library ] || cp -L $place/$library $portable/lib/; done
    done
    for file in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
        [ ! -e $data/$file-ubyte.gz ] || cp -L $data/$file-ubyte.gz $portable/data/
    done
    du -sh $portable
}

setup() { # sets ijepa and data; the environment for a driver that the loader would not find by itself
    local manifest
    if [ -x $portable/ijepa ]; then
        ijepa=$PWD/$portable/ijepa
        [ -e $data/train-images-idx3-ubyte.gz ] || data=$PWD/$portable/data
        export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$PWD/$portable/lib"
    else
        { cmake -G Ninja -B build/report -DCMAKE_BUILD_TYPE=Release -DIJ_TESTS=OFF && ninja -C build/report; } >"$out/build.log" 2>&1 || { tail -20 "$out/build.log"; exit 1; }
        ijepa=$PWD/build/report/ijepa
    fi
    if [ -z "${VK_DRIVER_FILES:-}" ] && [ -e /dev/nvidiactl ]; then
        for manifest in /usr/share/vulkan/icd.d/nvidia_icd.json /etc/vulkan/icd.d/nvidia_icd.json /usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json; do
            [ -e $manifest ] && { export VK_DRIVER_FILES=$manifest VK_ICD_FILENAMES=$manifest; break; }
        done
    fi
}

part() { # name, seconds, command: output into the report, verdict onto the terminal and into the list
    local name=$1 limit=$2 begin=$SECONDS code=0
    shift 2
    printf '\n\n## %s\n\n    %s\n\n' "$name" "${*/#$PWD\//}" >>"$out/report.txt"
    timeout "$limit" "$@" >>"$out/report.txt" 2>&1 </dev/null || code=$?
    printf '%-28s %s  %d s\n' "$name" "$([ $code = 0 ] && echo pass || echo "FAIL (exit code $code)")" $((SECONDS - begin)) | tee -a "$out/verdicts.txt"
}

describe() {
    date -u
    git rev-parse --short HEAD 2>/dev/null || true
    uname -srm
    grep -m1 'model name' /proc/cpuinfo; nproc
    nvidia-smi 2>/dev/null | head -20 || true
    "$ijepa" devices
}

run() {
    out=$1
    mkdir -p "$out"
    rm -f "$out"/report.txt "$out"/verdicts.txt "$out"/*.json
    setup
    export -f describe
    export ijepa out
    part "devices" 60 bash -c describe
    part "selftest" 150 bash -c '"$ijepa" selftest --json >"$out/selftest.json"; code=$?; [ $code = 0 ] || tail -c 2000 "$out/selftest.json"; exit $code'
    for record in tests/data/*.safetensors; do part "replay $(basename "$record" .safetensors)" 60 "$ijepa" replay "$record"; done
    part "bench matmul" 60 "$ijepa" bench matmul
    part "bench ops" 60 bash -c '"$ijepa" bench ops --json >"$out/bench.json"'
    part "bench step, Fashion-MNIST" 40 "$ijepa" bench step samples/configs/fashion-mnist.yaml
    part "the same, batch 512" 40 "$ijepa" bench step samples/configs/fashion-mnist.yaml --set data.batch_size=512
    part "bench step, photos" 60 "$ijepa" bench step samples/configs/photos.yaml
    part "bench step, ViT-H/14" 90 "$ijepa" bench step samples/configs/in1k_vith14_ep300.yaml --set data.batch_size=16
    part "train" 120 "$ijepa" train samples/configs/fashion-mnist.yaml --set data.path="$data/train-images-idx3-ubyte.gz" --out "$out/run" --overwrite
    part "eval" 90 "$ijepa" eval "$out/run" --train "$data/train-images-idx3-ubyte.gz" --test "$data/t10k-images-idx3-ubyte.gz" --train-limit 5000 --test-limit 2000
    cp "$out/run/loss.png" "$out/" 2>/dev/null || true
    rm -rf "$out/run"
    { echo; echo "## verdicts"; echo; cat "$out/verdicts.txt"; } >>"$out/report.txt"
    ! grep -q FAIL "$out/verdicts.txt"
}

case ${1:-} in
    pack) pack ;;
    run) run "${2:?run needs a folder}" ;;
    *) sed -n '2,12p' "$0" | sed 's/^# \{0,1\}//'; [ "${1:-}" = --help ] || exit 2 ;;
esac
