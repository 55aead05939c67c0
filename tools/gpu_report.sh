#!/usr/bin/env bash
# tools/gpu_report.sh: what a GPU machine makes of this tree, in a folder of a few small files; for machines that are there for minutes.
#
#   tools/gpu_report.sh pack                       here: a portable build into build/portable (program, its libraries, Vulkan's loader,
#                                                  Fashion-MNIST); build where glibc is old, it runs where glibc is newer
#   tools/gpu_report.sh run FOLDER [PART ...]      there: the parts named [all of them], into FOLDER; takes build/portable when it is
#                                                  there, else builds; needs no network
#   tools/gpu_report.sh parts                      what there is, with time limits; groups: check speed step pytorch train
#
# A part has a time limit of its own, and is reported whether it passes or not; none stops the others. $IJEPA_REPORT_SECONDS [570] is the
# limit of all: what would begin too late is left out, and said to be. With 10 minutes a call and 30 in all, three calls do everything:
#   run A check train;  run B speed;  run C step pytorch
# FOLDER gets at most seven files: report.md (verdicts, and tables ready to paste), log.txt (all that was printed), rows.tsv (every row of
# every benchmark), pytorch.jsonl, matmul.png, attention.png, loss.png.
#
# Tuned kernels and compiled pipelines are kept in $IJEPA_CACHE [build/gpu-cache], so that a later call on the same machine finds them.
# cuBLAS is looked for beside CUDA and in Python's nvidia packages; PyTorch is what python3 imports. Without them their columns are empty.
set -euo pipefail
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
cd "$(dirname "$0")/.."
portable=build/portable
fashion=/usr/share/datasets/fashion-mnist
recipe=samples/configs/in1k_vith14_ep300.yaml
small=samples/configs/fashion-mnist.yaml
say() { printf 'gpu_report: %s\n' "$*"; }

# name  group  seconds  what
parts() {
    cat <<'END'
devices check 30 the machine, its driver, what Vulkan shows
selftest check 150 every op against the reference in double
replay check 100 recorded steps in f32, f16, bf16
tune check 200 kernels and tiles for the products of ViT-H/14, batch 128, f16 and bf16
train_f32 train 60 300 steps of Fashion-MNIST
train_f16 train 60 the same
train_bf16 train 60 the same
train train 180 the whole short training, then its evaluation
matmul speed 330 products of ViT-H/14, batch 128: all kernels and elements beside cuBLAS
attention speed 120 attention of ViT-H/14, batch 128, equal lengths
attention_pytorch speed 90 PyTorch's fused attention at the same shapes
step_bf16 step 110 a step of ViT-H/14, batch 128, the released masks
step_bf16_32 step 60 the same, batch 32
step_f16 step 110 batch 128
step_f32 step 110 batch 32
pytorch_published pytorch 100 the step as published, bf16, batch 128 or what fits
pytorch_best pytorch 150 fused attention, fused AdamW, compiled blocks, bf16, batch 128 or what fits
pytorch_f32 pytorch 90 the fastest eager step in f32 (no TF32), batch 32
END
}

# ---- pack ----

# Shaders need a newer compiler than an old glibc's machine has: they are compiled in the Debian 13 root where it can be had.
spirv_folder() {
    local folder=build/portable-spirv
    rm -rf $folder/spirv # of shaders that are no more
    if tools/debian13.sh run bash -c "cmake -G Ninja -B $folder -DIJ_TESTS=OFF && ninja -C $folder shader_table.c" >build/portable-spirv.log 2>&1; then
        echo "$PWD/$folder/spirv"
    else
        tail -3 build/portable-spirv.log >&2
        say "no Debian 13 root: shaders come from this machine's compiler, which may not know matrix engines" >&2
    fi
}

pack() {
    local library place file spirv
    mkdir -p build
    spirv=$(spirv_folder)
    if ! { cmake -G Ninja -B build/portable-build -DCMAKE_BUILD_TYPE=Release -DIJ_TESTS=OFF -DIJ_SPIRV_FOLDER="$spirv" && ninja -C build/portable-build; } >build/portable.log 2>&1; then
        tail -20 build/portable.log
        say "what a build needs: apt-get install $(tools/debian13.sh packages)"
        exit 1
    fi
    grep -E 'shader modules|left out' build/portable.log || true
    rm -rf $portable
    mkdir -p $portable/lib $portable/data
    cp build/portable-build/ijepa $portable/
    strip $portable/ijepa
    # All that it links, without the C library, and what is loaded at run time: Vulkan's loader, and what NVIDIA's driver asks for.
    ldd $portable/ijepa | awk '$2 == "=>" && $3 ~ /^\// && $1 !~ /^(libc|libm|libdl|libpthread|ld-linux.*)\.so/ { print $3 }' | while read -r library; do cp -L "$library" $portable/lib/; done
    for library in libvulkan.so.1 libX11.so.6 libXext.so.6 libxcb.so.1 libXau.so.6 libXdmcp.so.6 libbsd.so.0 libmd.so.0 libGLdispatch.so.0; do
        for place in /usr/lib/x86_64-linux-gnu /lib/x86_64-linux-gnu; do [ ! -e $place/$library ] || cp -L $place/$library $portable/lib/; done
    done
    [ -e $fashion/train-images-idx3-ubyte.gz ] || fashion=$(tools/debian13.sh path)$fashion
    for file in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
        if [ -e "$fashion/$file-ubyte.gz" ]; then cp -L "$fashion/$file-ubyte.gz" $portable/data/; else say "no $file: apt install dataset-fashion-mnist"; fi
    done
    [ -e $portable/lib/libvulkan.so.1 ] || say "no libvulkan.so.1 here to take along: apt install libvulkan1"
    say "$(du -sh $portable | cut -f1) in $portable, needs glibc $(objdump -T $portable/ijepa $portable/lib/*.so* 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1 | cut -d_ -f2) or newer"
}

# ---- where ----

find_cublas() { # the folder it is in
    local folder
    for folder in /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib /usr/lib/x86_64-linux-gnu \
        $(python3 -c 'import glob, sys; print(*{p.rsplit("/", 1)[0] for s in sys.path for p in glob.glob(s + "/nvidia/*/lib/libcublas.so.1[23]")})' 2>/dev/null); do
        for version in 13 12; do [ ! -e "$folder/libcublas.so.$version" ] || { echo "$folder"; return; }; done
    done
}

setup() { # sets ijepa, data, pytorch, cublas; the environment for a driver that the loader would not find by itself
    local manifest folder
    data=$fashion
    for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib; do # where containers get the driver
        [ ! -d $folder ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
    done
    if [ -x $portable/ijepa ]; then
        # What was taken along is for this program alone: Python has libraries of its own.
        ijepa=$work/ijepa
        printf '#!/bin/sh\nLD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}%s/lib" exec %s/ijepa "$@"\n' "$PWD/$portable" "$PWD/$portable" >"$ijepa"
        chmod +x "$ijepa"
        [ -e $data/train-images-idx3-ubyte.gz ] || data=$PWD/$portable/data
    else
        { cmake -G Ninja -B build/report -DCMAKE_BUILD_TYPE=Release -DIJ_TESTS=OFF && ninja -C build/report; } >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
        ijepa=$PWD/build/report/ijepa
    fi
    if [ -z "${VK_DRIVER_FILES:-}" ] && [ -e /dev/nvidiactl ]; then
        for manifest in /usr/share/vulkan/icd.d/nvidia_icd.json /etc/vulkan/icd.d/nvidia_icd.json /usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json; do
            [ -e $manifest ] && { export VK_DRIVER_FILES=$manifest VK_ICD_FILENAMES=$manifest; break; }
        done
    fi
    cublas=$(find_cublas)
    pytorch=no
    ! python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null || pytorch=yes
    export IJEPA_CACHE=${IJEPA_CACHE:-$PWD/build/gpu-cache}
    mkdir -p "$IJEPA_CACHE"
    export ijepa data cublas pytorch out work
}

# ---- parts: each is a function; it fails when its last command does ----

part_devices() {
    date -u
    git rev-parse --short HEAD 2>/dev/null || true
    uname -srm
    grep -m1 'model name' /proc/cpuinfo || true
    nproc
    nvidia-smi 2>/dev/null | head -20 || true
    echo "cuBLAS: ${cublas:-not found}; PyTorch with CUDA: $pytorch"
    "$ijepa" devices
}

part_selftest() { "$ijepa" selftest --json >"$work/selftest.json" || { tail -c 3000 "$work/selftest.json"; return 1; }; tail -c 300 "$work/selftest.json"; }

part_replay() {
    local record precision failed=0 code
    for record in tests/data/*.safetensors; do
        for precision in f32 f16 bf16; do
            code=0
            "$ijepa" replay "$record" --precision $precision || code=$?
            [ $code = 0 ] || failed=1
            printf '| %s | %s | %s |\n' "$(basename "$record" .safetensors)" $precision "$([ $code = 0 ] && echo agrees || echo "exit code $code")" >>"$work/table.replay"
        done
    done
    return $failed
}

part_tune() {
    local precision
    for precision in bf16 f16; do "$ijepa" tune $recipe --set mask.mode=official --set meta.precision=$precision || return; done
}

train_short() { # precision
    local run=$work/run-$1 code=0
    "$ijepa" train $small --set data.path="$data/train-images-idx3-ubyte.gz" --precision "$1" --steps 300 --out "$run" --overwrite | tee "$work/train.txt" || code=$?
    # Loss of the last ten steps, in the released column order: epoch, itr, loss.
    [ ! -e "$run/log.csv" ] || awk -F, -v precision="$1" -v code=$code -v rate="$(grep -o '[0-9.]* img/s' "$work/train.txt" | tail -1)" 'NR > 1 { loss[NR] = $3 }
        END { for (i = NR - 9; i <= NR; i++) sum += loss[i]; printf "| %s | %d | %.5f | %s | %s |\n", precision, NR - 1, sum / 10, rate, code == 0 ? "ended" : "exit code " code }' "$run/log.csv" >>"$work/table.train"
    return $code
}
part_train_f32() { train_short f32; }
part_train_f16() { train_short f16; }
part_train_bf16() { train_short bf16; }

part_train() {
    "$ijepa" train $small --set data.path="$data/train-images-idx3-ubyte.gz" --out "$work/run" --overwrite || return
    cp "$work/run/loss.png" "$out/" 2>/dev/null || true
    "$ijepa" eval "$work/run" --train "$data/train-images-idx3-ubyte.gz" --test "$data/t10k-images-idx3-ubyte.gz" --train-limit 5000 --test-limit 2000
}

keep_rows() { # part, file: into rows.tsv, the part's name before each row; also what a part cut short has written
    [ -s "$2" ] || return 0
    [ -e "$out/rows.tsv" ] || head -1 "$2" | sed 's/^/part\t/' >"$out/rows.tsv"
    tail -n +2 "$2" | sed "s/^/$1\t/" >>"$out/rows.tsv"
}

part_matmul() {
    local baseline=(--baseline none)
    [ -z "$cublas" ] || baseline=(--baseline cublas)
    LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}${cublas:+:$cublas}" "$ijepa" bench matmul --model vit_huge --batch 128 --element all --kernel all "${baseline[@]}" --runs 7 \
        --verbose --tsv "$work/matmul.tsv" --png "$out/matmul.png"
}

part_attention() {
    "$ijepa" bench attention $recipe --set mask.mode=official --set data.batch_size=128 --element all --kernel all --runs 9 --verbose \
        --tsv "$work/attention.tsv" --png "$out/attention.png"
}

# With the released masks all sequences of a part have one length: rows / sequences.
part_attention_pytorch() {
    local shapes element dtype
    [ $pytorch = yes ] || { echo "no PyTorch with CUDA"; return 1; }
    [ -s "$work/attention.tsv" ] || { echo "part attention has left no rows"; return 1; }
    shapes=$(awk -F'\t' 'NR > 1 && $2 == "f32" && $1 ~ / forward$/ && !seen[$1]++ { split($1, w, " "); n = w[3] == "predictor" ? 512 : 128
        printf "%s%s:%d,%d,%d,%d", sep, w[3], n, $5, $4 / n, $6; sep = ";" }' "$work/attention.tsv")
    for element in f32 f16 bf16; do
        dtype=()
        [ $element = f32 ] || dtype=("--$element")
        python3 tools/baseline_pytorch.py --device cuda --attention "$shapes" --steps 20 --warmup 5 "${dtype[@]}" | tee "$work/torch.tsv" || return
        awk -F'\t' 'NR > 1 { print $1 "\t" $2 "\t" $7 "\t" $8 "\t" $9 }' "$work/torch.tsv" >>"$work/attention-pytorch.tsv"
    done
}

step() { # precision, batch
    local code=0
    "$ijepa" bench step $recipe --set mask.mode=official --set optimization.accumulation=1 --set meta.precision="$1" --set data.batch_size="$2" --runs 7 --verbose \
        --tsv "$work/step-$1-$2.tsv" | tee "$work/step.txt" || code=$?
    awk -v precision="$1" -v batch="$2" '/^step / { rate = $4 } /^recorded / { memory = $0; sub(/.*; /, "", memory); sub(/ of device.*/, "", memory) } /^rows of an image/ { rows = $5 }
        END { if (rate) printf "| ijepa | %s | %s | %s | %s | %s |\n", precision, batch, rate, memory, rows }' "$work/step.txt" >>"$work/table.step"
    return $code
}
part_step_bf16() { step bf16 128; }
part_step_bf16_32() { step bf16 32; }
part_step_f16() { step f16 128; }
part_step_f32() { step f32 32; }

pytorch_step() { # name, arguments: at batch 128, else what fits
    local batch name=$1 code line
    shift
    [ $pytorch = yes ] || { echo "no PyTorch with CUDA"; return 1; }
    for batch in ${BATCHES:-128 96 64 32}; do
        code=0
        line=$(PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True python3 tools/baseline_pytorch.py --device cuda --model vit_huge --batch "$batch" --steps 8 --warmup 6 --json "$@") || code=$?
        [ $code != 3 ] || { echo "batch $batch does not fit"; continue; }
        [ $code = 0 ] || return $code
        echo "$line" | tee -a "$out/pytorch.jsonl"
        echo "$line" | python3 -c 'import json, sys; r = json.loads(sys.stdin.read()); print("| PyTorch", r["torch"] + ",", sys.argv[1], "|", r["precision"], "|", r["batch"], "|", r["images_per_second"],
            "|", round(r["memory_mib"] / 1024, 1), "GiB |", r["context_mean"], "|")' "$name" >>"$work/table.step"
        return
    done
    return 3
}
part_pytorch_published() { pytorch_step "as published" --variant published --bf16; }
part_pytorch_best() { pytorch_step "compiled blocks" --variant best --bf16; }
part_pytorch_f32() { BATCHES=32 pytorch_step "eager" --variant simple; }

# ---- the tables ----

# Speed against the baseline by element and kernel: geometric mean and range over products, and of all products of a step together.
matmul_table() {
    [ -s "$work/matmul.tsv" ] || return 0
    local baseline
    baseline=$(sed -n 's/^baseline  *//p' "$out/log.txt" | head -1)
    if [ -n "$baseline" ]; then baseline="speed against $baseline"; else baseline="no baseline was there"; fi
    echo; echo "Products of ViT-H/14 at batch 128; $baseline:"; echo
    echo '| element | kernel | products | TFLOP/s, fastest | of the roof, median | geometric mean | range | all of a step |'
    echo '|---|---|---|---|---|---|---|---|'
    awk -F'\t' 'NR > 1 && $9 > 0 { key = $2 " | " $3; if (!(key in n)) order[++kinds] = key; n[key]++; roof[key, n[key]] = $14 + 0
            if ($10 > fast[key]) fast[key] = $10
            if ($12 > 0) { logs[key] += log($13); m[key]++; ours[key] += $7 * $9; theirs[key] += $7 * $12
                if (!(key in low) || $13 < low[key]) low[key] = $13; if ($13 > high[key]) high[key] = $13 } }
        END { for (i = 1; i <= kinds; i++) { key = order[i]; count = n[key]
            for (a = 1; a <= count; a++) for (b = a + 1; b <= count; b++) if (roof[key, b] < roof[key, a]) { t = roof[key, a]; roof[key, a] = roof[key, b]; roof[key, b] = t }
            printf "| %s | %d | %.1f | %.0f %% | ", key, count, fast[key] / 1000, 100 * roof[key, int((count + 1) / 2)]
            if (m[key]) printf "%.2f | %.2f to %.2f | %.2f |\n", exp(logs[key] / m[key]), low[key], high[key], ours[key] > 0 ? theirs[key] / ours[key] : 0; else print "- | - | - |" } }' "$work/matmul.tsv"
    awk -F'\t' 'NR > 1 && $16 != "yes" { bad++; if (bad <= 5) print "\nNot timed: " $1 ", " $2 " " $3 ": " $18 }' "$work/matmul.tsv"
}

attention_table() {
    [ -s "$work/attention.tsv" ] || return 0
    echo; echo "Attention of ViT-H/14 at batch 128, ms:"; echo
    echo '| part | element | kernel | ijepa | PyTorch, fused | speed-up |'
    echo '|---|---|---|---|---|---|'
    touch "$work/attention-pytorch.tsv"
    awk -F'\t' 'FILENAME ~ /pytorch/ { infer[$1, $2] = $3; fwd[$1, $2] = $4; bwd[$1, $2] = $5; next }
        $9 > 0 && FNR > 1 { split($1, w, " "); torch = w[4] == "backward" ? bwd[w[3], $2] : w[3] == "target" ? infer[w[3], $2] : fwd[w[3], $2]
            printf "| %s %s | %s | %s | %.3f | %s | %s |\n", w[3], w[4], $2, $3, $9, torch ? sprintf("%.3f", torch) : "-", torch ? sprintf("%.2f", torch / $9) : "-" }' \
        "$work/attention-pytorch.tsv" "$work/attention.tsv"
}

head_table() { # file, title, head, rule: only where there are rows
    [ -s "$work/$1" ] || return 0
    printf '\n%s\n\n%s\n%s\n' "$2" "$3" "$4"
    cat "$work/$1"
}

write_report() {
    {
        echo "# $("$ijepa" devices --json 2>/dev/null | grep -B20 '"chosen": true' | grep '"name"' | tail -1 | sed 's/.*: "//; s/",$//')"
        echo; date -u '+%Y-%m-%d %H:%M UTC'; git rev-parse --short HEAD 2>/dev/null || true
        head_table verdicts 'Parts:' '| part | verdict | seconds |' '|---|---|---|'
        head_table table.replay 'Recorded steps:' '| record | precision | |' '|---|---|---|'
        head_table table.step 'A training step of ViT-H/14, 224 pixels, released masks:' '| program | precision | batch | images/s | device memory | context tokens |' '|---|---|---|---|---|---|'
        matmul_table
        attention_table
        head_table table.train 'Fashion-MNIST, 300 steps:' '| precision | steps | mean loss of the last ten | at the end | |' '|---|---|---|---|---|'
    } >"$out/report.md"
}

# ---- running ----

run_part() { # name, limit in seconds
    local name=$1 limit=$2 begin=$SECONDS code=0 left verdict
    left=$((${IJEPA_REPORT_SECONDS:-570} - SECONDS))
    if [ $left -lt 15 ]; then
        printf '| %s | not begun: no time left | 0 |\n' "$name" | tee -a "$work/verdicts"
        return
    fi
    [ "$limit" -lt $left ] || limit=$left
    printf '\n\n## %s\n\n' "$name" >>"$out/log.txt"
    printf 'gpu_report: %s ...\n' "$name"
    timeout -k 5 "$limit" bash "$self" --part "$name" >>"$out/log.txt" 2>&1 </dev/null || code=$?
    case $code in 0) verdict=pass ;; 124|137) verdict="FAIL: over $limit s" ;; *) verdict="FAIL: exit code $code" ;; esac
    printf '| %s | %s | %d |\n' "$name" "$verdict" $((SECONDS - begin)) | tee -a "$work/verdicts"
    [ $code = 0 ] || tail -4 "$out/log.txt" | cut -c1-300 | sed 's/^/    /'
    case $name in matmul|attention) keep_rows "$name" "$work/$name.tsv" ;; step_*) for file in "$work"/step-*.tsv; do [ ! -e "$file" ] || { keep_rows "$name" "$file"; rm "$file"; }; done ;; esac
    write_report # after each: what is there when the machine goes is complete
}

run() {
    local name group limit wanted=" ${*:2} " known
    out=$(mkdir -p "$1" && cd "$1" && pwd)
    for known in "${@:2}"; do parts | awk -v w="$known" '$1 == w || $2 == w { found = 1 } END { exit !found }' || { say "no part is called $known; see: tools/gpu_report.sh parts"; exit 2; }; done
    rm -f "$out"/report.md "$out"/log.txt "$out"/rows.tsv "$out"/pytorch.jsonl "$out"/matmul.png "$out"/attention.png "$out"/loss.png
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    setup
    while read -r name group limit _; do
        [ $# = 1 ] || [[ $wanted == *" $name "* || $wanted == *" $group "* ]] || continue
        run_part "$name" "$limit"
    done < <(parts)
    echo
    cat "$out/report.md"
    ! grep -q FAIL "$work/verdicts"
}

case ${1:-} in
    pack) pack ;;
    run) shift; [ $# -gt 0 ] || { say "run needs a folder"; exit 2; }; run "$@" ;;
    parts) parts | awk '{ printf "%-18s %-8s %4d s ", $1, $2, $3; for (i = 4; i <= NF; i++) printf " %s", $i; print "" }' ;;
    --part) set +e; "part_$2" ;;
    *) sed -n '2,22p' "$0" | sed 's/^# \{0,1\}//'; [ "${1:-}" = --help ] || exit 2 ;;
esac
