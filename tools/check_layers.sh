#!/usr/bin/env bash
# tools/check_layers.sh: the rules of the house that a machine can check. Prints each breach as FILE:LINE: what; exit code 1 if any.
#   1. A folder of src/ includes only itself and folders to its left; src/cli and samples/ see include/ijepa.h alone.
#   2. Vulkan appears in src/gpu alone.
#   3. The library never prints, exits or aborts.
#   4. Every C file of src/, every shader and every script opens with a comment.
#   5. No file names a place on somebody's own machine.
#   6. Every struct of include/ijepa.h is in IJEPA_STRUCTS, whose sizes programs compare.
set -euo pipefail
cd "$(dirname "$0")/.."
order=(base io data gpu ops model train eval view api)

breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

declare -A rank
for i in "${!order[@]}"; do rank[${order[i]}]=$i; done

# 1. and 2.
include='^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]([^">]*)[">]'
for layer in "${order[@]}" cli; do
    while IFS=: read -r file line text; do
        [[ $text =~ $include ]] || continue
        name=${BASH_REMATCH[1]}
        folder=${name%%/*}
        case $name in
            vulkan/*) [ "$layer" = gpu ] || echo "$file:$line: $name outside src/gpu" ;;
            cli/*) [ "$layer" = cli ] || echo "$file:$line: the library includes $name" ;;
            */*)
                [ -n "${rank[$folder]:-}" ] || [ "$folder" = shaders ] || continue
                if [ "$layer" = cli ]; then
                    echo "$file:$line: src/cli sees include/ijepa.h alone, not $name"
                elif [ "${rank[$folder]:-0}" -gt "${rank[$layer]}" ]; then
                    echo "$file:$line: $layer includes $name, which is to its right"
                fi ;;
        esac
    done < <(grep -rnE "$include" "src/$layer" --include='*.[ch]' || true)
done >>"$breaches"
if [ -d samples ]; then
    grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' samples --include='*.c' | grep -v '"ijepa.h"' | sed 's/$/  (samples see ijepa.h alone)/' >>"$breaches" || true
fi

# 3. snprintf and its like fill memory and are fine; comments are cut off first.
find src -name '*.[ch]' ! -path 'src/cli/*' -exec awk '
    { text = $0; sub(/\/\/.*/, "", text); gsub(/\/\*.*\*\//, "", text); if (text ~ /^ \*/) next }
    text ~ /(^|[^a-zA-Z_])(printf|puts|perror|exit|_exit|abort)[ ]*\(/ || text ~ /fprintf\((stderr|stdout)/ { print FILENAME ":" FNR ": the library prints or ends the program: " $0 }' {} + >>"$breaches"

# 4. A script's first line may be its interpreter.
find src shaders -name '*.[ch]' -o -name '*.comp' | while read -r file; do
    head -3 "$file" | grep -qE '/\*|//' || echo "$file:1: opens without a comment"
done >>"$breaches"
{ find tools .ci -type f \( -name '*.sh' -o -name '*.py' -o -name run \) 2>/dev/null || true; } | while read -r file; do
    sed -n '2,3p' "$file" | grep -qE '^(#|""")' || echo "$file:2: opens without a comment"
done >>"$breaches"

# 5. Only what git keeps; binary files are left out.
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard | xargs -0 grep -InE '(^|[^A-Za-z0-9_.$}])/(work|home|Users|mnt)/[A-Za-z]|/tmp/(ij/|bash_)' -- 2>/dev/null | sed 's/$/  (a place on one machine)/' >>"$breaches" || true
fi

# 6.
list=$(sed -n '/^#define IJEPA_STRUCTS/,/^$/p' include/ijepa.h)
sed -n 's/^typedef struct \(ijepa_[a-z_0-9]*\) {.*/\1/p' include/ijepa.h | grep -vx ijepa_struct_size | while read -r name; do
    [[ $list == *"X($name)"* ]] || echo "include/ijepa.h: $name is not in IJEPA_STRUCTS"
done >>"$breaches"

if [ -s "$breaches" ]; then
    cat "$breaches"
    echo "check_layers: $(wc -l <"$breaches") breaches"
    exit 1
fi
echo "check_layers: $(find src -name '*.[ch]' | wc -l) files keep the order ${order[*]}"
