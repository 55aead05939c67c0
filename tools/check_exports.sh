#!/usr/bin/env bash
# tools/check_exports.sh LIBIJEPA.so LIBIJEPA.a: what the two libraries give to a program and keep for themselves.
#   1. Both export the calls of include/ijepa.h and nothing else: names of ours never meet a program's own.
#   2. Neither has a global that can be written, so threads share nothing. Left are the compiler's own marks (__dso_handle, completed)
#      and, for each thread apart, stb_image's text of the last error.
# Prints each breach; exit code 1 if any.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 2 ] || { sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

declared=$(tr '\n' ' ' <include/ijepa.h | sed 's/IJEPA_API/\nIJEPA_API/g' | sed -n 's/^IJEPA_API [^(]*[ *]\(ijepa_[a-z0-9_]*\)(.*/\1/p' | sort)
exports() { nm "$@" | awk 'NF == 3 { print $3 }' | sort; }
compare() { # file, exported names
    diff <(echo "$declared") - | sed -n "s|^< |$1 lacks |p; s|^> |$1 exports |p" || true
}
exports -D --defined-only "$1" | compare "$1" >>"$breaches"
exports -g --defined-only "$2" | compare "$2" >>"$breaches"

for library; do
    # .data.rel.ro is constant: the loader makes it read-only once addresses are filled in.
    objdump -t "$library" | awk -v library="$library" '
        $NF ~ /^(__dso_handle|__TMC_END__|completed\.[0-9]+|\.(data|bss)|_edata|_end|__bss_start|__data_start)$/ { next }
        / (\.data|\.bss|\*COM\*|\.data\.[^r][^ ]*|\.bss\.[^ ]*)\t/ { print library " has a global that can be written: " $NF }'
done >>"$breaches"

if [ -s "$breaches" ]; then
    cat "$breaches"
    exit 1
fi
echo "check_exports: $(echo "$declared" | wc -l) calls, no other name, no global that can be written"
