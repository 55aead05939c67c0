#!/usr/bin/env bash
# Kill -9 at a random moment, resume, and compare the final state with that of an uninterrupted run: identical bytes.
#   tests/test_kill.sh PROGRAM [ROUNDS [PRECISION [META]]]        META: more of the meta section, "targets: pixels"
# Makes its own data set: 96 small pictures of noise, drawn by the shell.
set -euo pipefail

program=$1
rounds=${2:-3}
precision=${3:-f32}
meta=${4:-seed: 7}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/data"

# A 24-bit BMP of 20 x 20 bytes taken from a generator that needs nothing but awk.
for i in $(seq 1 96); do
    awk -v seed="$i" 'BEGIN {
        srand(seed)
        printf "424d%08x000000003600000028000000140000001400000001001800000000000000000000000000000000000000000000000000", 0
        for (p = 0; p < 20 * 20 * 3; p++) printf "%02x", int(rand() * 256)
    }' | sed 's/../\\x&/g' | xargs -0 printf >"$work/data/picture-$i.bmp"
done

cat >"$work/config.yaml" <<YAML
data: {path: $work/data, crop_size: 16, batch_size: 8, num_workers: 2}
mask: {patch_size: 4}
meta: {model_name: custom, embed_dim: 32, depth: 2, num_heads: 2, pred_emb_dim: 16, pred_depth: 1, pred_num_heads: 1, precision: $precision, $meta}
optimization: {epochs: 4, lr: 0.002, start_lr: 0.0002, warmup: 1, accumulation: 2, regularizer: vicreg}
logging: {folder: $work/none, checkpoint_every: 2, monitor_every: 2, keep: 0}
YAML

train() { "$program" train "$@" >"$work/log" 2>&1 || { cat "$work/log"; return 1; }; }
last() { ls "$1"/checkpoints/step-*.safetensors | tail -n 1; }

train "$work/config.yaml" --out "$work/whole"
final=$(last "$work/whole")
steps=$(basename "$final" .safetensors)

for round in $(seq 1 "$rounds"); do
    run=$work/killed-$round
    "$program" train "$work/config.yaml" --out "$run" >/dev/null 2>&1 &
    pid=$!
    # Any step: wait for a number of log rows that the round draws, then kill without mercy.
    rows=$((1 + (RANDOM % 18)))
    for _ in $(seq 1 600); do
        [ -f "$run/log.csv" ] && [ "$(wc -l <"$run/log.csv")" -gt "$rows" ] && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    if ls "$run"/checkpoints/step-*.safetensors >/dev/null 2>&1; then from=$(basename "$(last "$run")" .safetensors); train --resume --out "$run"
    else from=nothing; train "$work/config.yaml" --out "$run" --overwrite; fi
    # The configuration names the run's own folder; everything else must be the same bytes.
    for file in whole "killed-$round"; do
        python3 - "$work/$file/checkpoints/$steps.safetensors" >"$work/$file.tensors" <<'PY'
import hashlib, json, struct, sys
data = open(sys.argv[1], "rb").read()
size = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8 : 8 + size])
for name in sorted(k for k in head if k != "__metadata__"):
    a, b = head[name]["data_offsets"]
    print(name, head[name]["shape"], hashlib.sha256(data[8 + size + a : 8 + size + b]).hexdigest())
PY
    done
    [ "$(wc -l <"$work/whole.tensors")" -gt 100 ] || { echo "FAIL: only $(wc -l <"$work/whole.tensors") tensors"; exit 1; }
    cmp "$work/whole.tensors" "$work/killed-$round.tensors" || { echo "FAIL: killed after $rows rows, resumed from $from: other bytes"; exit 1; }
    cut -d, -f1-5,7- "$work/whole/log.csv" >"$work/a"; cut -d, -f1-5,7- "$run/log.csv" >"$work/b"
    cmp "$work/a" "$work/b" || { echo "FAIL: killed after $rows rows, resumed from $from: another log"; exit 1; }
    echo "killed after $rows rows, resumed from $from: identical bytes in $(wc -l <"$work/whole.tensors") tensors, same log"
done
