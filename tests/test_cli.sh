#!/bin/sh
# What a person or a script sees of the program: exit codes, one-line errors, hints, JSON, stopping and resuming.
#   tests/test_cli.sh PATH/TO/ijepa
# Needs a Vulkan device (any; IJEPA_DEVICE chooses). Prints what failed and exits 1, or one line and 0.
set -u
ijepa=$1
here=$(cd "$(dirname "$0")" && pwd)
data=$here/data
configs=$here/../samples/configs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0 failures=0

fail() { failures=$((failures + 1)); printf 'FAILED: %s\n' "$*"; sed 's/^/  out: /' "$work/out" | head -5; sed 's/^/  err: /' "$work/err" | head -5; }

# expect CODE PATTERN ARG...: the program ends with CODE and PATTERN (extended, "" for none) is in what it said.
expect() {
    code=$1 pattern=$2; shift 2
    "$ijepa" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    checks=$((checks + 1))
    if [ "$got" != "$code" ]; then fail "ijepa $*: exit code $got, expected $code"
    elif [ -n "$pattern" ] && ! cat "$work/out" "$work/err" | grep -Eq -e "$pattern"; then fail "ijepa $*: nothing matches \"$pattern\""
    elif [ "$code" = 2 ] && [ "$#" -gt 0 ] && [ "$(wc -l <"$work/err")" -gt 2 ]; then fail "ijepa $*: a usage error of more than two lines"; fi
}
holds() { # holds WHAT TEST...: a condition on what was left behind
    what=$1; shift
    checks=$((checks + 1))
    "$@" >"$work/out" 2>"$work/err" || fail "$what"
}

# ---- asked for wrongly ----
expect 2 'Usage'
expect 0 '^ijepa [0-9]+\.[0-9]+\.[0-9]+$' --version
expect 0 'Commands' help
expect 0 'IJEPA_DEVICE' help environment
for command in devices train embed eval finetune scenes search ablate masks replay selftest tune bench; do
    expect 0 "^Usage: ijepa $command" $command --help
    expect 0 '^Examples' help $command
    expect 2 "no option is called \"--devise\".*--(device|version|help)" $command --devise 1
done
expect 2 'did you mean "devices"' devcies
expect 2 'no command is called "x"' x
expect 2 'did you mean "--validation"' devices --valdation
expect 2 'one word too many' devices extra
expect 2 'takes no value' devices --json=1
expect 2 '--device needs a value' devices --device
expect 2 'a configuration is needed' train
expect 2 'is missing; usage' embed run
expect 2 '-o FILE is missing' embed run data
expect 2 'pixels are expected' embed run data -o x.npy --size 3by4
expect 1 'no such run folder' embed "$work/none" "$data" -o x.npy
expect 2 'a whole number is expected' train x.yaml --steps many
expect 2 'must be at least 1' masks x.yaml --batches 0
expect 2 'exclude each other' train x.yaml --resume --overwrite
expect 2 'go together' bench matmul --m 5
expect 2 'did you mean matmul' bench matmull
expect 2 'needs a configuration' bench step
expect 2 'no option is called "--openblas"' bench matmul --openblas
expect 2 'exclude each other' bench matmul x.yaml --model vit_base
expect 2 'goes with --model' bench attention --batch 4
expect 2 'step has no --model' bench step x.yaml --element f16
expect 2 'goes with --baseline' bench matmul --baseline-library x
expect 2 'shape of matmul' bench attention --m 1 --n 1 --k 1
expect 2 'one word too many' bench ops x.yaml
expect 2 'there are f32, f16, bf16, auto' replay x --precision f8

expect 2 'HEIGHTxWIDTH' scenes x --size 12x
expect 2 'the fewest first' scenes x --objects 3-12
expect 2 'FEWEST-MOST' scenes x --objects few

expect 2 'IMAGE is missing' search x.safetensors
expect 2 '--duplicates takes INDEX alone' search x.safetensors y.png --duplicates
expect 2 'are about a query' search x.safetensors --duplicates -k 3
expect 2 'go with --duplicates' search x.safetensors y.png --threshold 0.9
expect 2 'a cosine is expected' search x.safetensors --duplicates --threshold many

# ---- the world's errors: one line, exit 1 ----
expect 1 '^ijepa: missing.yaml: ' train missing.yaml
expect 1 'no device' devices --device 'no such device'
expect 1 "nothing that can be switched off" tune "$configs/photos.yaml" --off coopmat,tensor
expect 1 'meta.precision' train "$configs/photos.yaml" --precision f8
expect 1 'did you mean|data.batch_size' train "$configs/photos.yaml" --set data.batchsize=3
expect 1 'expected' train "$configs/photos.yaml" --set data.batch_size=many
expect 1 'is not a multiple of patch size 7' masks "$configs/photos.yaml" --set mask.patch_size=7
expect 1 'no-such-folder' train "$configs/photos.yaml" --data "$work/no-such-folder" --no-files
expect 1 'no-such-run' train --resume --out "$work/no-such-run"
expect 1 'no-such-run' eval "$work/no-such-run"
expect 1 'cuBLAS: .*nowhere/libcublas.so.13 cannot be loaded' bench matmul --m 3 --n 3 --k 3 --baseline cublas --baseline-library /nowhere/libcublas.so.13
cp "$work/err" "$work/said"
holds 'a missing library has a hint' grep -q '^  hint: .*--baseline-library' "$work/said"
expect 1 'no/such/folder' bench matmul --m 3 --n 3 --k 3 --runs 1 --tsv "$work/no/such/folder/x.tsv"
expect 0 'images/s' scenes "$work/scenes" --train 6 --test 3 --size 32x48 --objects 3-4 --samples 2
expect 0 '"kept": 9' scenes "$work/scenes" --train 6 --test 3 --size 32x48 --objects 3-4 --samples 2 --json
expect 1 'made with other parameters: it has "seed": 0' scenes "$work/scenes" --train 6 --test 3 --size 32x48 --objects 3-4 --samples 2 --seed 7
expect 1 'cannot make folder' scenes /dev/null/scenes
holds 'a row for every scene' test "$(wc -l <"$work/scenes/train/labels.csv")" = 7
if [ -w /dev/full ]; then
    "$ijepa" --version >/dev/full 2>"$work/err"
    holds 'output on a full disk is a failure' test $? = 1
fi

# ---- work ----
expect 0 '"chosen": true' devices --json
expect 0 'lr: 0.5' train "$configs/photos.yaml" --print-config --set optimization.lr=0.5 --set optimization.start_lr=0.1
expect 0 'path: "?a #b: c' train "$configs/photos.yaml" --print-config --data 'a #b: c'
expect 0 'never' masks "$configs/photos.yaml" --batches 4 --out "$work/masks"
holds 'masks writes two pictures' test -s "$work/masks/coverage.png" -a -s "$work/masks/examples.png"
expect 0 '"context_mean": 0\.[0-9]+' masks "$configs/photos.yaml" --batches 4 --json
expect 0 'passed: [0-9]+ of' selftest --small --op gelu
expect 0 'precision f16' replay "$data/step.safetensors" --precision f16
expect 0 'precision bf16' replay "$data/step.safetensors" --precision bf16 --off bf16,coopmat
export IJEPA_CACHE="$work/cache"
tiny="$configs/photos.yaml --set data.image_height=32 --set data.image_width=32 --set data.batch_size=2 --set meta.model_name=custom --set meta.embed_dim=48 --set meta.depth=1 --set meta.num_heads=2 --set meta.pred_emb_dim=24 --set meta.pred_depth=1"
# shellcheck disable=SC2086
expect 0 'of the default' tune $tiny
# shellcheck disable=SC2086
expect 0 'nothing to do' tune $tiny
# shellcheck disable=SC2086
expect 0 '"candidates": [1-9]' tune $tiny --retune --json
unset IJEPA_CACHE
expect 0 ' yes$' bench matmul --m 65 --n 33 --k 17 --runs 2
expect 0 'f32 +auto .* % of their bounds' bench matmul --m 65 --n 33 --k 17 --runs 2 --tsv "$work/rows.tsv" --png "$work/rows.png" --verbose
holds 'a TSV of three rows, 18 columns each' awk -F'\t' 'NF != 18 || (NR > 1 && ($2 != "f32" || !($9 > 0) || !($14 > 0) || $16 != "yes")) { bad = 1 } END { exit bad || NR != 4 }' "$work/rows.tsv"
holds 'a PNG' sh -c "head -c 8 '$work/rows.png' | od -An -tx1 | grep -q '89 50 4e 47 0d 0a 1a 0a'"
expect 0 '"of_roof": [01]' bench matmul --m 65 --n 33 --k 17 --runs 2 --json
expect 0 'attention predictor backward +f32 +auto' bench attention --model vit_tiny --batch 1 --runs 1 --tsv "$work/attention.tsv"
holds 'five rows of attention' test "$(wc -l <"$work/attention.tsv")" = 6

expect 0 '^agrees: [0-9]+ tensors' replay "$data/step.safetensors" --json "$work/replay.json"
holds 'replay writes its numbers' grep -Eq '"rel_l2": [0-9]' "$work/replay.json"
# The file's last number is a weight after the step; as 1.0 it must be found.
size=$(wc -c <"$data/step.safetensors")
cp "$data/step.safetensors" "$work/wrong.safetensors"
printf '\000\000\200\077' | dd of="$work/wrong.safetensors" bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
expect 1 'DIFFERS' replay "$work/wrong.safetensors" --json "$work/wrong.json"
holds 'replay says so in its JSON' grep -q '"pass": false' "$work/wrong.json"
expect 2 'safetensors' replay "$configs/photos.yaml"
expect 2 'missing' replay "$work/missing.safetensors"

# ---- a run: stopped, continued, refused ----
images=48
{ printf '\000\000\010\003\000\000\000\060\000\000\000\020\000\000\000\020'; head -c $((images * 256)) "$data/step.safetensors"; } >"$work/train-images-idx3-ubyte"
{ printf '\000\000\010\001\000\000\000\060'; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do printf '\000\001\002'; done; } >"$work/train-labels-idx1-ubyte"
cat >"$work/tiny.yaml" <<'YAML'
data: {channels: 1, crop_size: 16, random_crop: false, batch_size: 8, mean: 0.5, std: 0.25, num_workers: 2}
mask: {patch_size: 4, min_keep: 1}
meta: {model_name: custom, embed_dim: 16, depth: 2, num_heads: 2, pred_emb_dim: 8, pred_depth: 1, pred_num_heads: 1}
optimization: {epochs: 1000, warmup: 1, start_lr: 0.0001, lr: 0.001}
YAML
tiny="$work/tiny.yaml --data $work/train-images-idx3-ubyte"
expect 0 'matrix products +[0-9.]+ %' bench step "$work/tiny.yaml" --runs 1 --verbose --tsv "$work/step.tsv"
holds 'the rows of a step' grep -Eq '^fc1 context	f32		0	0	0	0	2	[0-9]' "$work/step.tsv"
expect 0 'custom fc1 context tn 64x16x[0-9]+ +f32' bench matmul "$work/tiny.yaml" --runs 1

# stop SIGNAL CODE: a run that would take long ends with CODE, soon, and keeps what it has.
stop() {
    rm -rf "$work/run"
    "$ijepa" train $tiny --out "$work/run" >"$work/out" 2>"$work/err" </dev/null &
    process=$!
    tries=0
    until [ "$tries" -gt 300 ] || { [ -f "$work/run/log.csv" ] && [ "$(wc -l <"$work/run/log.csv")" -gt 3 ]; }; do sleep 0.1; tries=$((tries + 1)); done
    kill -s "$1" $process
    [ -z "${3:-}" ] || kill -s "$1" $process 2>/dev/null # as timeout(1) does: the process, then its group
    wait $process
    got=$?
    checks=$((checks + 1))
    [ "$got" = "$2" ] || fail "SIG$1: exit code $got, expected $2"
    cp "$work/err" "$work/said"
    holds "SIG$1 $3 says that it saved" grep -q 'a checkpoint is saved' "$work/said"
    holds "SIG$1 leaves a checkpoint" sh -c "ls '$work'/run/checkpoints/step-*.safetensors"
}
stop TERM 143 ""
stop INT 130 ""
stop INT 130 twice
steps=$(($(wc -l <"$work/run/log.csv") - 1 + 7))
expect 1 'hint: --resume continues it' train $tiny --out "$work/run"
expect 0 'resumed from' train --resume --out "$work/run" --steps $steps
expect 2 "to continue: ijepa train --resume --out RUN" train --resume "$work/run"
holds 'the log has every step once' test "$(wc -l <"$work/run/log.csv")" = $((steps + 1))
holds 'the run is drawn' test -s "$work/run/loss.png"
{ printf '\000\000\010\003\000\000\000\060\000\000\000\020\000\000\000\020'; head -c $((images * 256)) /dev/zero; } >"$work/black-images-idx3-ubyte"
black="$work/tiny.yaml --data $work/black-images-idx3-ubyte --out $work/black --steps 30 --set logging.monitor_every=1"
expect 3 'collapsed, stopped after step [0-9]+; a checkpoint is saved: the pictures of a batch are alike' train $black --on-collapse stop
holds 'a run that collapsed leaves a checkpoint' sh -c "ls '$work'/black/checkpoints/step-*.safetensors"
expect 0 'backing off, 3 of 3' train $black --overwrite --on-collapse backoff
expect 1 'on_collapse' train $black --overwrite --on-collapse pray
expect 0 '' train $tiny --out "$work/run" --overwrite --steps 3 --quiet
holds 'quiet says nothing' test ! -s "$work/out" -a ! -s "$work/err"


# ---- its worth ----
cp "$work/train-images-idx3-ubyte" "$work/t10k-images-idx3-ubyte"
cp "$work/train-labels-idx1-ubyte" "$work/t10k-labels-idx1-ubyte"
expect 0 'kNN, the chosen of' eval "$work/run" --methods knn
expect 0 '"train_images":48' eval "$work/run" --methods knn --json
holds 'a run folder keeps the results' test -s "$work/run/eval.json"
expect 0 'features kept from before' eval "$work/run" --methods knn --features trained
expect 1 'method "guess": there are knn, linear' eval "$work/run" --methods guess
expect 1 'there are trained, random, pixels' eval "$work/run" --features all
expect 2 'a number above 0, at most 1' eval "$work/run" --fraction 2
expect 1 'nothing: no such folder or file' eval "$work/run" --test "$work/nothing"

# ---- fine-tuning ----
expect 0 'nothing is chosen on test images' finetune "$work/run" --epochs 2 --seeds 2 --augment flip --out "$work/tuned.safetensors"
expect 0 '"train_images": 48' finetune "$work/run" --epochs 1 --seeds 1 --random-init --precision f16 --smoothing 0 --json
expect 0 'kNN, the chosen of' eval "$work/tuned.safetensors" --methods knn # what it wrote is a checkpoint
mkdir -p "$work/many/a" "$work/many/b"
for i in 1 2 3 4 5 6; do for j in 1 2 3 4 5 6; do cp "$data/images/rgb.png" "$work/many/a/$i$j.png" && cp "$data/images/grey.jpg" "$work/many/b/$i$j.jpg"; done; done
expect 0 '72 images of 2 classes|"train_images": 72' finetune "$work/run" --train "$work/many" --test "$work/many" --epochs 1 --seeds 1 --batch 72 --json # photographs: room for the largest
expect 2 'exclude each other' finetune "$work/run" --fraction 0.5 --per-class 2
expect 2 'it is at most 1' finetune "$work/run" --fraction 1.5
expect 2 'a number is expected' finetune "$work/run" --lr fast
expect 1 'the last 99 blocks' finetune "$work/run" --last-blocks 99
rm "$work/tuned.safetensors"
"$ijepa" finetune "$work/run" --epochs 60000 --seeds 1 --out "$work/tuned.safetensors" >"$work/out" 2>"$work/err" </dev/null &
process=$!
tries=0
until [ "$tries" -gt 300 ] || grep -q 'loss [0-9]' "$work/err"; do sleep 0.1; tries=$((tries + 1)); done
kill -s INT $process
wait $process
got=$?
checks=$((checks + 1))
[ "$got" = 130 ] || fail "SIGINT: finetune: exit code $got, expected 130"
cp "$work/err" "$work/said"
holds 'a stopped fine-tuning says what it wrote' grep -q 'holds the encoder and head as they are' "$work/said"
holds 'and wrote it' test -s "$work/tuned.safetensors"

# ---- features ----
expect 0 '48 images, dim 16' embed "$work/run" "$work/train-images-idx3-ubyte" -o "$work/x.npy"
holds 'a name for each image' test "$(wc -l <"$work/x.npy.names.txt")" = 48
holds 'floats, a .npy header of 128 bytes' test "$(wc -c <"$work/x.npy")" = $((128 + 48 * 16 * 4))
expect 0 '"dim": 32' embed "$work/run" "$work/train-images-idx3-ubyte" -o "$work/x4.npy" --layers last4 --json
if python3 -c 'import numpy' 2>/dev/null; then
    holds 'numpy reads both, last are the last columns of last4' python3 -c 'import numpy, sys
a, b = (numpy.load(p) for p in sys.argv[1:]); assert a.dtype == numpy.float32 and a.shape == (48, 16) and (b[:, 16:] == a).all()' "$work/x.npy" "$work/x4.npy"
fi
expect 0 '48 images, 32 patches x dim 16' embed "$work/run" "$work/train-images-idx3-ubyte" -o "$work/x.safetensors" --patches --size 16x32 --encoder context
expect 0 '"precision": "f16' embed "$work/run" "$work/train-images-idx3-ubyte" -o "$work/x.csv" --precision f16 --json
holds 'a line an image and one above' awk -F, 'NF != 18 { bad = 1 } END { exit bad || NR != 49 }' "$work/x.csv"
expect 1 'not a multiple of patch size 4' embed "$work/run" "$work/train-images-idx3-ubyte" -o "$work/y.npy" --size 18
expect 1 'layers "first": there are last, last4' embed "$work/run" "$work/train-images-idx3-ubyte" -o "$work/y.npy" --layers first
expect 1 'are pooled' embed "$work/run" "$work/train-images-idx3-ubyte" -o "$work/y.npy" --layers last4 --patches
mkdir "$work/pictures" "$work/features"
cp "$data/images/rgb.png" "$data/images/grey.jpg" "$work/pictures"
for i in 1 2 3 4 5 6 7; do echo "no picture" >"$work/pictures/bad$i.jpg"; done
expect 0 '7 images could not be read' embed "$work/run" "$work/pictures" -o "$work/features/p.csv"
holds 'five of them are named' test "$(grep -c 'left out: .*bad' "$work/err")" = 5
expect 1 'a folder or an IDX file is given alone' embed "$work/run" "$work/pictures" "$data/images/rgb.png" -o "$work/features/p.csv"
expect 0 '2 images, dim 16' embed "$work/run" "$data/images/rgb.png" "$data/images/grey.jpg" -o "$work/features/p.csv"
rm "$work/features/p.csv"
{ printf '\000\000\010\003\000\000\352\140\000\000\000\020\000\000\000\020'; head -c $((60000 * 256)) /dev/zero; } >"$work/many-idx3"
for signal in INT TERM; do # long before its 60000 images are done
    "$ijepa" embed "$work/run" "$work/many-idx3" -o "$work/features/many.npy" --batch 1 >"$work/out" 2>"$work/err" </dev/null &
    process=$!
    tries=0
    until [ "$tries" -gt 300 ] || ls "$work"/features/* >/dev/null 2>&1; do sleep 0.1; tries=$((tries + 1)); done
    kill -s $signal $process
    wait $process
    got=$?
    checks=$((checks + 1))
    [ "$got" = "$([ $signal = INT ] && echo 130 || echo 143)" ] || fail "embed, SIG$signal: exit code $got"
    grep -q 'stopped; nothing is written' "$work/err" || fail "embed, SIG$signal: it does not say that it stopped"
    holds "embed leaves nothing after SIG$signal" sh -c "! ls '$work'/features/* 2>/dev/null"
done
# ---- ablations ----
cat >"$work/spec.yaml" <<YAML
base: tiny.yaml
set: [data.path=$work/train-images-idx3-ubyte, logging.monitor_every=2]
tables: [target_mask]
steps: 4
out: $work/ablation
eval: {seed: 3}
YAML
expect 2 'SPEC.yaml is missing' ablate
expect 2 'at most 16' ablate x.yaml --seeds 17
expect 1 'missing.yaml' ablate "$work/missing.yaml"
expect 1 'none is called "colours"; there are mask, targets' ablate "$work/spec.yaml" --tables colours
expect 0 '^24 runs of 1875 steps: 0 done' ablate "$configs/ablate-fashion-mnist.yaml" --list --out "$work/none"
expect 0 "target_mask-input" ablate "$work/spec.yaml" --list
holds 'a list trains nothing' test ! -e "$work/ablation"
expect 0 '2 runs of 4 steps: 2 done, 0 failed' ablate "$work/spec.yaml"
holds 'the report is written thrice' test -s "$work/ablation/ablation.md" -a -s "$work/ablation/ablation.csv" -a -s "$work/ablation/ablation.json"
holds 'a run folder is a run, with its score' test -s "$work/ablation/target_mask-input-s0/score.json" -a -s "$work/ablation/target_mask-input-s0/loss.png"
expect 0 '"paper_top1":56.1' ablate "$work/spec.yaml" --json
expect 1 'optimization.lr: 0.001, now it is 0.01' ablate "$work/spec.yaml" --set optimization.lr=0.01
sed 's/steps: 4/steps: 100000/; s/ablation$/stopped/' "$work/spec.yaml" >"$work/long.yaml"
"$ijepa" ablate "$work/long.yaml" >"$work/out" 2>"$work/err" </dev/null &
process=$!
tries=0
until [ "$tries" -gt 300 ] || { [ -f "$work/stopped/base-s0/log.csv" ] && [ "$(wc -l <"$work/stopped/base-s0/log.csv")" -gt 3 ]; }; do sleep 0.1; tries=$((tries + 1)); done
kill -s INT $process
wait $process
got=$?
cp "$work/err" "$work/said"
holds 'Ctrl-C ends an ablation' test $got = 130
holds 'and says how to go on' grep -q 'the same command goes on' "$work/said"
holds 'and leaves a checkpoint' sh -c "ls '$work'/stopped/base-s0/checkpoints/step-*.safetensors"

# ---- search ----
expect 0 '' embed "$work/run" "$work/scenes/train" -o "$work/index.safetensors"
expect 0 '   1 +1\.0000 .*000002.png' search "$work/index.safetensors" "$work/scenes/train/000002.png" -k 2 --sheet "$work/nearest.png"
holds 'a sheet' test -s "$work/nearest.png"
expect 0 '"name": "000002.png"' search "$work/index.safetensors" "$work/scenes/train/000002.png" --json
expect 0 ' groups?\.' search "$work/index.safetensors" --duplicates --threshold 0.5 --raw --sheet "$work/groups.png"
expect 0 '"pairs_found": 15' search "$work/index.safetensors" --duplicates --threshold -1 --json
expect 1 'missing.png' search "$work/index.safetensors" "$work/missing.png"
expect 1 'missing.safetensors' search "$work/missing.safetensors" --duplicates
expect 0 '' embed "$work/run" "$work/scenes/train" -o "$work/patches.safetensors" --patches
expect 1 'patch' search "$work/patches.safetensors" --duplicates

[ $failures = 0 ] || { printf '%d of %d checks of the program failed\n' $failures $checks; exit 1; }
printf 'program: %d checks passed\n' $checks
