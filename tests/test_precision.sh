#!/usr/bin/env bash
# The loss curve of a 16-bit run follows that of the f32 run: same data, seed, masks and steps, Fashion-MNIST.
#   tests/test_precision.sh PROGRAM [STEPS [PRECISION ...]]
# Rounding makes the runs drift apart step by step, so curves are compared as a reader would: means of 20 steps.
set -euo pipefail

program=$1 steps=${2:-300}
shift; [ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- f16 bf16
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for precision in f32 "$@"; do
    "$program" train "$here/../samples/configs/fashion-mnist.yaml" --steps "$steps" --precision "$precision" --set logging.monitor_every=0 \
        --out "$work/$precision" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    grep '^precision' "$work/log"
done

# Every window's mean within 5 % of the f32 run's and of its own curve's range; skipped steps (the search for a loss scale) are few.
for precision in "$@"; do
    paste -d, "$work/f32/log.csv" "$work/$precision/log.csv" | awk -F, -v precision="$precision" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == "loss") column[++found] = i; else if ($i == "finite") finite = i; next }
        { a += $(column[1]); b += $(column[2]); skipped += $finite == 0
          if (++n % 20 == 0) {
              a /= 20; b /= 20; d = a > b ? (a - b) / a : (b - a) / a
              if (d > worst) { worst = d; at = n }
              if (n == 20) first = a
              a = b = 0 } }
        END { printf "%s: worst window ends at step %d, %.2f %% off the f32 curve; %d steps skipped\n", precision, at, 100 * worst, skipped
              exit !(n >= 100 && worst < 0.05 && skipped <= 5) }' || { echo "the $precision curve does not follow f32"; exit 1; }
done
