#!/usr/bin/env bash
# Does the verdict turn before the features do? Small runs on Fashion-MNIST, kNN at every kept checkpoint, one table in Markdown.
#   tools/collapse_study.sh PROGRAM OUT [STEPS [SEEDS [VARIANTS [EVERY]]]]        EVERY: steps between two kNN [50]
#   tools/collapse_study.sh build/ijepa study 600 "0 1 2 3 4" "plain vicreg sigreg"
# Variants: plain, vicreg, sigreg, ema-slow (0.9996), ema-fast (0.9), small-predictor (depth 1, width 16), lr-low (0.0005), backoff, all.
# Resumable: a run whose knn.csv is complete is not made again. OUT/table.md is rewritten after every run.
set -euo pipefail

program=$1
out=$2
steps=${3:-600}
seeds=${4:-0 1 2 3 4}
variants=${5:-plain vicreg sigreg}
[ "$variants" = all ] && variants="plain vicreg sigreg ema-slow ema-fast small-predictor lr-low backoff"
here=$(cd "$(dirname "$0")/.." && pwd)
every=${6:-50}
mkdir -p "$out"

settings() {
    case $1 in
    plain) echo "optimization.regularizer=none" ;;
    vicreg) echo "optimization.regularizer=vicreg" ;;
    sigreg) echo "optimization.regularizer=sigreg optimization.regularizer_weight=0.003" ;;
    ema-slow) echo "optimization.regularizer=none optimization.ema=[0.9996,1.0]" ;;
    ema-fast) echo "optimization.regularizer=none optimization.ema=[0.9,1.0]" ;;
    small-predictor) echo "optimization.regularizer=none meta.pred_depth=1 meta.pred_emb_dim=16" ;;
    lr-low) echo "optimization.regularizer=none optimization.lr=0.0005" ;;
    backoff) echo "optimization.regularizer=none logging.on_collapse=backoff" ;;
    *) echo "unknown variant $1" >&2; return 1 ;;
    esac
}

# kNN in percent of a checkpoint's features, or of its random initialisation.
knn() {
    "$program" eval "$1" --methods knn --features "$2" --train-limit 5000 --test-limit 2000 --no-files --batch 64 |
        awk '/^kNN/ { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+$/) { print $i; exit } }'
}

run() {
    local run=$out/$1-$2 sets=() words
    words=$(settings "$1")
    for word in $words; do sets+=(--set "$word"); done
    [ -f "$run/knn.csv" ] && [ "$(tail -n 1 "$run/knn.csv" | cut -d, -f1)" = "$steps" ] && return
    "$program" train "$here/samples/configs/fashion-mnist.yaml" --steps "$steps" --seed "$2" "${sets[@]}" --set logging.monitor_every=10 \
        --set logging.checkpoint_every=$every --set logging.keep=0 --out "$run" --overwrite --quiet
    echo "0,$(knn "$run/checkpoints/step-$(printf %08d "$steps").safetensors" random)" >"$run/knn.part"
    for step in $(seq $every $every "$steps"); do
        echo "$step,$(knn "$run/checkpoints/step-$(printf %08d "$step").safetensors" trained)" >>"$run/knn.part"
    done
    mv "$run/knn.part" "$run/knn.csv"
    rm -r "$run/checkpoints"
}

table() {
    python3 - "$out" $variants <<'PY'
import glob, json, os, sys
out, variants = sys.argv[1], sys.argv[2:]
print("| variant | seed | first warning | collapsed | kNN falls | kNN random, best (step), last | rank start, last | EMA distance, last |")
print("|---|---|---|---|---|---|---|---|")
for variant in variants:
    for path in sorted(glob.glob(f"{out}/{variant}-[0-9]*/knn.csv")):
        run = os.path.dirname(path)
        if os.path.basename(run).rsplit("-", 1)[0] != variant: continue
        knn = [(int(s), float(v)) for s, v in (line.split(",") for line in open(path))]
        events = [json.loads(line) for line in open(run + "/events.jsonl")]
        looks = [e for e in events if e["event"] == "look"]
        first = lambda name: next((str(e["step"]) for e in events if e["event"] == "verdict" and e["verdict"] == name), "-")
        best, falls = (0, 0.0), "-"
        for step, value in knn:
            if value > best[1]: best = (step, value)
            # 5 points below the best so far: more than twice the half width of a 95 % interval of 2,000 images
            if falls == "-" and value < best[1] - 5: falls = str(step)
        print(f"| {variant} | {run.rsplit('-', 1)[1]} | {first('warning')} | {first('collapsed')} | {falls} | {knn[0][1]:.1f}, {best[1]:.1f} ({best[0]}), "
              f"{knn[-1][1]:.1f} | {looks[0]['rankme_target']:.1f}, {looks[-1]['rankme_target']:.1f} | {looks[-1]['ema_distance']:.3f} |")
PY
}

for variant in $variants; do settings "$variant" >/dev/null; done
for seed in $seeds; do
    for variant in $variants; do
        run "$variant" "$seed"
        table >"$out/table.md"
    done
done
cat "$out/table.md"
