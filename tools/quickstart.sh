#!/usr/bin/env bash
# tools/quickstart.sh: one command from a fresh clone to a trained encoder, its accuracy and its pictures, on whatever device there is.
#
#   tools/quickstart.sh [--minutes N] [--out RUN] [--host]
#
#   --minutes N   longest training, N minutes [5]; the learning-rate schedule is fitted to it, at most one pass over the data
#   --out RUN     the run's folder [runs/quickstart]
#   --host        build with this machine's own tools, not in a Debian 13 root
#
# Installs what is missing, builds, pretrains on Fashion-MNIST (Debian's package dataset-fashion-mnist), evaluates the frozen features
# and draws masks. Ctrl-C during the training saves a checkpoint; start again with: ijepa train --resume --out RUN.
# The build is the host's own where it has an NVIDIA driver (a root beside it would not) or is Debian 13 itself or the root cannot be
# made; a Debian 13 root otherwise, which brings new drivers for AMD, Intel and for no GPU at all.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
minutes=5 out=runs/quickstart place=''
say() { printf '\n== %s\n' "$*"; }
usage() { sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//'; }

while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=${2:?--minutes needs a number}; shift ;;
        --out) out=${2:?--out needs a folder}; shift ;;
        --host) place=host ;;
        --inside) place=inside ;; # called by itself: the tools are there
        --help|-h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "--minutes $minutes: a whole number from 1" >&2; exit 2; }

# shellcheck disable=SC1091
os=$( (. /etc/os-release 2>/dev/null && echo "${ID:-}-${VERSION_ID:-}") || true)
if [ -z "$place" ]; then
    if [ -e /dev/nvidiactl ] || [ "$os" = debian-13 ] || ! tools/debian13.sh make; then place=host; else place=root; fi
fi
if [ "$place" = root ]; then
    # The project's folder has the same path inside; a run folder elsewhere is made visible too. The root has its own drivers.
    case $out in /*) mkdir -p "$out"; export IJEPA_BIND="${IJEPA_BIND:-} $out" ;; esac
    unset VK_DRIVER_FILES VK_ICD_FILENAMES
    IJEPA_BUILD=build/quickstart exec tools/debian13.sh run bash tools/quickstart.sh --inside --minutes "$minutes" --out "$out"
fi

build=${IJEPA_BUILD:-build/quickstart-host}
if [ "$place" = host ]; then
    missing=()
    if command -v dpkg-query >/dev/null; then
        for name in $(tools/debian13.sh packages); do
            # An NVIDIA machine brings its own driver.
            [ "$name" = mesa-vulkan-drivers ] && [ -e /dev/nvidiactl ] && continue
            [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
        done
    fi
    if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ]; then
        say "installing ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 </dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } </dev/null
    elif [ ${#missing[@]} -gt 0 ]; then
        echo "missing: sudo apt-get install ${missing[*]}" >&2
    fi
fi

say "building (log: $build.log)"
mkdir -p build
if ! { cmake -G Ninja -B "$build" -DCMAKE_BUILD_TYPE=Release -DIJ_TESTS=OFF && ninja -C "$build"; } >"$build.log" 2>&1; then
    tail -20 "$build.log"
    echo "the build failed, log: $build.log" >&2
    exit 1
fi
ijepa=$build/ijepa
"$ijepa" devices

data=/usr/share/datasets/fashion-mnist
recipe=samples/configs/fashion-mnist.yaml
[ -e $data/train-images-idx3-ubyte.gz ] || { echo "no data in $data: apt-get install dataset-fashion-mnist" >&2; exit 1; }

# Forty steps on the side tell the speed; the steps that fit are then known before the schedule starts.
say "measuring the speed"
rate=$("$ijepa" train "$recipe" --no-files --steps 40 2>&1 | grep -oE '[0-9.]+ img/s' | tail -1 | cut -d' ' -f1) || true
steps=$(awk -v rate="${rate:-100}" -v minutes="$minutes" 'BEGIN { s = int(minutes * 60 * rate / 32); print (s > 1875 ? 1875 : s < 60 ? 60 : s) }')
echo "${rate:-?} images/s: $steps steps of 32 images"

say "pretraining: $recipe into $out"
"$ijepa" train "$recipe" --out "$out" --overwrite --steps "$steps"

say "classifying with the frozen features (5,000 images to learn from, 2,000 to classify)"
"$ijepa" eval "$out" --train-limit 5000 --test-limit 2000 | tee "$out/eval.txt"

"$ijepa" masks "$recipe" --out "$out/masks" >"$out/masks.txt"
case $out in /*) folder=$out ;; *) folder=$top/$out ;; esac
say "done in $((SECONDS / 60)) min $((SECONDS % 60)) s; look at"
cat <<TEXT
  $folder/loss.png              loss, trivial predictor, verdict
  $folder/masks/examples.png    what the predictor sees and must predict
  $folder/masks/coverage.png    how often each patch is context and target
  $folder/eval.txt, eval.json   accuracy, beside random features and raw pixels
  $folder/log.csv, config.yaml, checkpoints/
TEXT
# What was built in the Debian 13 root runs there.
run=$ijepa
[ "$place" != inside ] || run="tools/debian13.sh run $ijepa"
cat <<TEXT
next (ijepa is $run):
  $run help
  $run finetune $out --fraction 0.01 --epochs 10
  $run embed $out $data/t10k-images-idx3-ubyte.gz -o features.safetensors
TEXT
