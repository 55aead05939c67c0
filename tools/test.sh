#!/usr/bin/env bash
# tools/test.sh: one command from a fresh machine to a verdict: installs what is missing, builds, runs every test.
#
#   tools/test.sh                 everything (about 20 minutes on two cores)
#   tools/test.sh --quick         the rules of the house, one build, the small cases on one driver
#   tools/test.sh --host          with this machine's own compilers and driver only: no Debian 13 root, nothing unpacked
#   tools/test.sh --only WORD     only builds and the steps whose name contains WORD
#   tools/test.sh --list          the steps
#
# Where the tests run:
#   Debian 13, as root            here; missing packages are installed, older and stricter drivers unpacked into /var/cache/ijepa
#   Debian 12 (or other), as root in a Debian 13 root (tools/debian13.sh), then once more with the host's older compilers and driver
#   otherwise                     here, with what is there (--host)
# Logs: build/test-logs. No network is used when everything is already there. Exit code 0: all steps passed.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
logs=$top/build/test-logs
results=$logs/results.tsv
jobs=$(nproc)
say() { printf 'test: %s\n' "$*"; }
die() { printf 'test: %s\n' "$*" >&2; exit 3; }

# ---- steps: each is a function step_NAME; a step fails when its function does ----

# Ops against the reference, replay of recorded steps, ... on one driver. No suite named: all of them, in one process.
run_suites() { # driver's name, suites
    local icd=$1 suite
    shift
    if [ "$icd" = system ]; then unset VK_DRIVER_FILES VK_ICD_FILENAMES; else export VK_DRIVER_FILES=$IJEPA_TEST_ICD/$icd.json VK_ICD_FILENAMES=$IJEPA_TEST_ICD/$icd.json; fi
    [ $# -gt 0 ] || { "$tests"; return; }
    for suite; do CK_RUN_SUITE=$suite "$tests" || return; done
}

build() { # folder, cmake options
    local folder=build/test/$1
    shift
    cmake -G Ninja -B "$folder" "$@" && ninja -C "$folder" -j "$jobs"
}

step_layers() { tools/check_layers.sh; }
step_build_gcc() { build gcc -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=gcc; }
step_build_clang() { build clang -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=clang; }
# Large cases without the layers, all others with them (synchronisation checks included).
step_lavapipe_full() { run_suites "$main"; }
step_lavapipe_validation() { IJEPA_SMALL=1 IJEPA_VALIDATION=1 run_suites "$main"; }
step_lavapipe_older() { IJEPA_SMALL=1 run_suites lavapipe25; }
# Other subgroup sizes: 4 and 16 instead of 8.
step_lavapipe_subgroup4() { LP_NATIVE_VECTOR_WIDTH=128 IJEPA_SMALL=1 run_suites "$main" ops masks replay; }
step_lavapipe_subgroup16() { LP_NATIVE_VECTOR_WIDTH=512 IJEPA_SMALL=1 run_suites "$main" ops masks replay; }
step_swiftshader() { IJEPA_SMALL=1 run_suites swiftshader ops replay; }

use_main() { [ "$main" = system ] || export VK_DRIVER_FILES=$IJEPA_TEST_ICD/$main.json VK_ICD_FILENAMES=$IJEPA_TEST_ICD/$main.json; }

# The program as a user meets it; then a short run: train, continue, evaluate, features by the sample that a reader would copy.
step_program() {
    local ijepa=$builds/ijepa record
    use_main
    "$ijepa" devices || return
    for record in tests/data/step*.safetensors; do "$ijepa" replay "$record" --validation || return; done
    "$ijepa" selftest --small || return
    sh tests/test_cli.sh "$ijepa"
}
step_short_run() {
    local ijepa=$builds/ijepa data=/usr/share/datasets/fashion-mnist
    use_main
    [ -e $data/train-images-idx3-ubyte.gz ] || { echo "no $data: apt install dataset-fashion-mnist"; return 1; }
    "$ijepa" train samples/configs/fashion-mnist.yaml --out "$work/run" --steps 20 || return
    "$ijepa" train --resume --out "$work/run" --steps 30 || return
    "$ijepa" eval "$work/run" --train $data/train-images-idx3-ubyte.gz --test $data/t10k-images-idx3-ubyte.gz --train-limit 500 --test-limit 200 || return
    "$ijepa" eval "$work/run" --train $data/train-images-idx3-ubyte.gz --methods low-shot --features trained --tune-epochs 2 --seeds 2 || return
    "$ijepa" scenes "$work/scenes" --train 60 --test 20 --size 32 || return
    "$ijepa" eval "$work/run" --tasks count,dist --scenes "$work/scenes" --epochs 5 || return
    "$ijepa" embed "$work/run" tests/data/images -o "$work/index.safetensors" || return
    "$ijepa" search "$work/index.safetensors" tests/data/images/rgb.png -k 3 --sheet "$work/sheet.png" || return
    [ -s "$work/run/loss.png" ] && [ -s "$work/run/eval.json" ] && [ -s "$work/sheet.png" ] || { echo "the run has no loss.png or eval.json, or the search no sheet"; return 1; }
    "$builds/sample_extract_features" "$work/run" tests/data/images/*.png
}

# Evaluators beside scikit-learn and PyTorch; which of them is missing is said by name.
step_peers() {
    use_main
    bash tests/test_peers.sh "$tests"
}

# Killed at random moments, resumed, compared with a run that was not.
step_kill_and_resume() {
    use_main
    bash tests/test_kill.sh "$builds/ijepa" 4 || return
    bash tests/test_kill.sh "$builds/ijepa" 1 f32 "targets: pixels" || return
    bash tests/test_kill.sh "$builds/ijepa" 1 f32 "target_mask: input" || return
    LP_NATIVE_VECTOR_WIDTH=256 bash tests/test_kill.sh "$builds/ijepa" 2 f16
}

# 300 steps in f16 and bf16 beside f32; with vectors of 8 lanes, where Mesa's CPU driver has cooperative matrices.
step_precision() {
    use_main
    LP_NATIVE_VECTOR_WIDTH=256 bash tests/test_precision.sh "$builds/ijepa" 300 f16 || return
    LP_NATIVE_VECTOR_WIDTH=512 bash tests/test_precision.sh "$builds/ijepa" 300 bf16
}

# An installed package must be enough, wherever it is moved: header, libraries, pkg-config and CMake files, nothing of the tree.
install_package() { # makes $work/moved, and $work/archive, which has no shared library
    cmake -G Ninja -B build/test/package -DCMAKE_BUILD_TYPE=Release -DIJ_TESTS=OFF -DIJ_SPIRV_FOLDER="$top/$builds/spirv" -DCMAKE_INSTALL_PREFIX="$work/first" &&
        ninja -C build/test/package -j "$jobs" install && mv "$work/first" "$work/moved" && cp -r "$work/moved" "$work/archive" &&
        find "$work/archive" -name 'libijepa.so*' -delete || return
    moved=$(dirname "$(find "$work/moved" -name libijepa.a)")
    tools/check_exports.sh "$moved/libijepa.so" "$moved/libijepa.a"
}

compile_with() { # package, pkg-config's options, source, program
    local flags
    flags=$(PKG_CONFIG_PATH=$(find "$1" -name pkgconfig) pkg-config $2 --cflags --libs ijepa) || return
    # shellcheck disable=SC2086
    gcc -std=c11 -Wall -Wextra -Wpedantic -Werror "$3" -o "$4" $flags -lm
}

step_install() {
    local sample name moved images=tests/data/images
    use_main
    install_package || return
    export LD_LIBRARY_PATH=$moved
    sed -n '/^ \*     #include <ijepa.h>/,/^ \*     }$/p' include/ijepa.h | sed 's/^ \* \{0,5\}//' >"$work/header_example.c"
    for sample in samples/*.c "$work/header_example.c"; do
        name=$(basename "$sample" .c)
        compile_with "$work/moved" '' "$sample" "$work/$name" && compile_with "$work/archive" --static "$sample" "$work/${name}_static" || return
        [[ $(ldd "$work/$name") == *"$moved/libijepa.so."* ]] || { echo "$sample does not use the shared library"; return 1; }
        [[ $(ldd "$work/${name}_static") != *libijepa* ]] || { echo "$sample does not use the archive"; return 1; }
    done
    cmake -G Ninja -S tests/consumer -B "$work/consumer" -DCMAKE_PREFIX_PATH="$work/moved" && ninja -C "$work/consumer" &&
        ctest --test-dir "$work/consumer" --output-on-failure || return
    # The same features from C, from the archive, from the header's example and from Python.
    "$work/custom_loop" "$work/shapes.safetensors" 20 || return
    "$work/extract_features" "$work/shapes.safetensors" $images/*.png >"$work/c.csv" &&
        "$work/extract_features_static" "$work/shapes.safetensors" $images/*.png >"$work/static.csv" &&
        python3 samples/extract_features.py "$work/shapes.safetensors" $images/*.png >"$work/python.csv" &&
        "$work/header_example" "$work/shapes.safetensors" $images/rgb.png >"$work/example.txt" || return
    [ -s "$work/c.csv" ] && cmp "$work/c.csv" "$work/static.csv" && cmp "$work/c.csv" "$work/python.csv" || return
    diff <(grep "rgb.png" "$work/c.csv" | cut -d, -f2- | tr , '\n') "$work/example.txt" || return
    "$work/search_folder" "$work/shapes.safetensors" $images $images/rgb.png 3 >"$work/nearest" && cat "$work/nearest" || return
    grep -qE '^ +1 +1\.0000 ' "$work/nearest" || { echo "the picture is not its own nearest"; return 1; }
    ! "$work/extract_features" "$work/nothing" x.png || { echo "a missing model is no error"; return 1; }
}

# Sanitizers stop at the first finding. What a driver keeps until the process ends is not this project's leak: lavapipe's LLVM holds
# its tables (the frames below); every other leak fails the step.
step_sanitizers() {
    build asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=gcc -DIJ_SANITIZE=ON -DIJ_SPIRV_FOLDER="$top/$builds/spirv" || return
    printf 'leak:libLLVM\nleak:libvulkan_lvp\nleak:libvulkan.so\n' >"$logs/lsan.supp"
    export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 LSAN_OPTIONS=suppressions=$logs/lsan.supp:print_suppressions=0
    tests=build/test/asan/ijepa_tests IJEPA_SMALL=1 run_suites "$main"
}

# Two contexts in two threads, and the loader's threads, on a driver whose own threads are not looked into.
step_threads() {
    build tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=gcc -DIJ_THREAD_SANITIZE=ON -DIJ_SPIRV_FOLDER="$top/$builds/spirv" || return
    printf 'called_from_lib:libvulkan_lvp.so\ncalled_from_lib:libLLVM\ncalled_from_lib:libgcc_s\nrace:libvulkan\nrace:libgcc_s\nrace:libLLVM\n' >"$logs/tsan.supp"
    export TSAN_OPTIONS=halt_on_error=1:suppressions=$logs/tsan.supp
    tests=build/test/tsan/ijepa_tests IJEPA_SMALL=1 CK_RUN_CASE=all run_suites "$main" context
}

step_fuzz() { # IJEPA_FUZZ_SECONDS [60] for each target, as many at once as there are cores
    build fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang -DIJ_SANITIZE=ON -DIJ_FUZZ=ON -DIJ_TESTS=OFF -DIJ_SPIRV_FOLDER="$top/$builds/spirv" || return
    local source name
    mkdir -p "$work/yaml" "$work/image" "$work/safetensors" "$work/npy" "$work/idx" "$work/torch" "$work/zip"
    cp samples/configs/*.yaml "$work/yaml"
    cp -r "$work/yaml" "$work/config"
    cp tests/data/images/* "$work/image" 2>/dev/null || true
    for source in tests/data/*.safetensors; do head -c 30000 "$source" >"$work/safetensors/$(basename "$source")"; done
    find tests/data/torch -name '*.pt' -o -name '*.bad' -size -10k | while read -r source; do cp "$source" "$work/torch"; cp "$source" "$work/zip"; done
    python3 tests/make_fuzz_seeds.py tests/data/torch "$work/pickle" || return
    for source in tests/fuzz_*.c; do
        name=$(basename "$source" .c)
        mkdir -p "$work/${name#fuzz_}"
        echo "${name#fuzz_}"
    done | (cd "$work" && fuzz=$top/build/test/fuzz xargs -P "$jobs" -I NAME bash -c '"$fuzz/fuzz_NAME" -max_total_time="${IJEPA_FUZZ_SECONDS:-60}" -timeout=20 -rss_limit_mb=3000 \
        -max_len=65536 -print_final_stats=1 -artifact_prefix=NAME- NAME >NAME.log 2>&1; code=$?; echo "== fuzz_NAME, exit code $code"; tail -30 NAME.log; exit $code')
}

# AMD's compiler, without the hardware: registers and spills of every kernel on RDNA2, RDNA3, RDNA4. A spill fails the step.
step_amd_compiler() {
    local family status=0
    for family in navi21 navi31 gfx1201; do
        VK_DRIVER_FILES=$IJEPA_TEST_ICD/radv25.json RADV_FORCE_FAMILY=$family "$builds/shader_stats" >"$logs/shaders-$family.tsv" || status=1
        awk -F'\t' 'NR > 1 && ($6 > 0 || $7 > 0) { print "spills: " $2 " [" $3 "]: " $6 " VGPRs, " $7 " SGPRs" }' "$logs/shaders-$family.tsv"
    done
    return $status
}

# The host's own compilers and driver (Debian 12: gcc 12, glslang 12, lavapipe 22.3, the oldest that people still run).
step_host_build() { build host -DCMAKE_BUILD_TYPE=Release; }
step_host_small() { tests=build/test/host/ijepa_tests IJEPA_SMALL=1 run_suites system; }
step_host_program() { builds=build/test/host main=system step_program; }

steps_all=(layers build_gcc build_clang lavapipe_full lavapipe_validation lavapipe_older lavapipe_subgroup4 lavapipe_subgroup16 swiftshader
    program short_run peers precision kill_and_resume install sanitizers threads fuzz amd_compiler)
steps_quick=(layers build_gcc lavapipe_small)
steps_host=(layers host_build host_small host_program)
step_lavapipe_small() { IJEPA_SMALL=1 run_suites "$main"; }

# ---- running them ----

declare -A needs=([lavapipe_older]=lavapipe25 [swiftshader]=swiftshader [amd_compiler]=radv25)

run_step() { # name; appends name, pass|fail|skip, seconds, what to the results
    local name=$1 begin end what=pass driver=${needs[$1]:-}
    if [ -n "$only" ] && [[ $name != *build* ]] && [[ $name != *$only* ]]; then return 0; fi
    if [ -n "$driver" ] && [ ! -e "$IJEPA_TEST_ICD/$driver.json" ]; then
        printf '  %-20s not run: no driver %s\n' "$name" "$driver"
        printf '%s\tskip\t0\t%s\n' "$name" "no driver $driver" >>"$results"
        return 0
    fi
    begin=$(date +%s.%N)
    # A subshell of its own, and a folder $work: what a step exports and writes there ends with it.
    if ! (set +e; work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; "step_$name") </dev/null >"$logs/$name.log" 2>&1; then what=fail; fi
    end=$(date +%s.%N)
    printf '  %-20s %s %7.1f s\n' "$name" "$what" "$(awk "BEGIN { print $end - $begin }")"
    { grep -hE '^[0-9]+%: Checks: ' "$logs/$name.log" || true; } | sed 's/^/      /'
    printf '%s\t%s\t%s\n' "$name" "$what" "$(awk "BEGIN { print $end - $begin }")" >>"$results"
    [ $what = pass ] || { grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|shader)' "$logs/$name.log" | tail -25 | cut -c1-400 | sed 's/^/      | /'; case $name in build_gcc|host_build) return 1 ;; esac; }
}

run_steps() { # stops only when there is nothing to test
    local name
    for name; do run_step "$name" || { say "$name failed: nothing can be tested without it"; return 0; }; done
}

summary() {
    local passed failed skipped name what
    passed=$(grep -c $'\tpass\t' "$results" || true)
    failed=$(grep -c $'\tfail\t' "$results" || true)
    skipped=$(grep -c $'\tskip\t' "$results" || true)
    echo
    while IFS=$'\t' read -r name what _; do
        [ "$what" = skip ] || grep -hE '^[0-9]+%: Checks: ' "$logs/$name.log" | sed "s/^/$(printf '%-20s' "$name") /" || true
    done <"$results"
    grep $'\tfail\t' "$results" | cut -f1 | sed "s|.*|FAILED &: $logs/&.log|" || true
    [ "$skipped" = 0 ] || say "$skipped not run"
    say "$((SECONDS / 60)) min $((SECONDS % 60)) s in all, logs in $logs"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# ---- where ----

# shellcheck disable=SC1091
os_version() { (. /etc/os-release 2>/dev/null && echo "${ID:-}-${VERSION_ID:-}"); }

# Installs what is missing; as another user than root, says what is.
packages() {
    local missing=() name
    command -v dpkg-query >/dev/null || { say "not a Debian machine: the tools are taken as they are"; return 0; }
    for name in $(tools/debian13.sh packages) "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "missing: sudo apt-get install ${missing[*]}"
        return 0
    fi
    say "installing ${missing[*]}"
    mkdir -p "$logs"
    if ! { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" ||
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; }; } </dev/null >"$logs/apt.log" 2>&1; then
        tail -5 "$logs/apt.log"
        die "apt-get failed, log: $logs/apt.log"
    fi
}

only='' mode=all inside=''
while [ $# -gt 0 ]; do
    case $1 in
        --quick) mode=quick ;;
        --host) mode=host ;;
        --only) only=${2:?--only needs a word}; shift ;;
        --inside) inside=$2; shift ;; # called by itself: the tools are there
        --list) printf '%s\n' "${steps_all[@]}" "${steps_host[@]:1}"; exit 0 ;;
        --help|-h) sed -n '2,15p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
        *) die "unknown option $1; see --help" ;;
    esac
    shift
done

tests=build/test/gcc/ijepa_tests
builds=build/test/gcc
main=system
if [ -n "$inside" ]; then
    for name in lavapipe25 lavapipe26; do [ ! -e "$IJEPA_TEST_ICD/$name.json" ] || main=$name; done
    if [ "$mode" = quick ]; then run_steps "${steps_quick[@]}"; else run_steps "${steps_all[@]}"; fi
    exit 0
fi

mkdir -p "$logs"
rm -f "$logs"/*
: >"$results"
export IJEPA_TEST_ICD=/nowhere
again=(); [ -z "$only" ] || again=(--only "$only")
[ "$mode" = quick ] && again+=(--quick)

if [ "$mode" != host ] && [ "$(id -u)" = 0 ] && [ "$(os_version)" = debian-13 ]; then
    packages libclang-rt-19-dev
    IJEPA_TEST_ICD=/var/cache/ijepa/drivers/icd
    [ -e $IJEPA_TEST_ICD/swiftshader.json ] || tools/debian13.sh drivers /var/cache/ijepa/drivers >"$logs/drivers.log" 2>&1 || { tail -3 "$logs/drivers.log"; say "only the installed driver is tested"; }
    say "on this Debian 13, $jobs cores"
    bash tools/test.sh --inside here "${again[@]}"
elif [ "$mode" != host ] && tools/debian13.sh make; then
    say "in the Debian 13 root $(tools/debian13.sh path), $jobs cores"
    IJEPA_TEST_ICD=/opt/icd tools/debian13.sh run bash tools/test.sh --inside root "${again[@]}"
    if [ "$mode" = all ] && [ "$(os_version)" = debian-12 ]; then
        packages
        say "with the host's own compilers and driver"
        run_steps "${steps_host[@]:1}"
    fi
else
    packages
    say "with this machine's own compilers and driver, $jobs cores"
    run_steps "${steps_host[@]}"
fi
summary
