#!/usr/bin/env bash
# Beside independent programs: steps of fine-tuning beside PyTorch; the collapse monitor beside NumPy; resizing and positions beside PIL, torchvision
# and PyTorch; the frozen evaluation (kNN, logistic regression, linear heads)
# beside scikit-learn and PyTorch, on pixels of Fashion-MNIST; models written by
# transformers, timm and PyTorch beside these, and what they read of ours.
#   tests/test_peers.sh TESTS [FOLDER OF FASHION-MNIST]
# TESTS is the program ijepa_tests. What a missing package leaves out is said by name.
set -euo pipefail

tests=$1
data=${2:-/usr/share/datasets/fashion-mnist}
peers=$(dirname "$0")/peers_frozen.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

IJEPA_PEER_FINETUNE=$work/finetune.safetensors CK_RUN_SUITE=finetune CK_INCLUDE_TAGS=recorded "$tests"
python3 "$(dirname "$0")/peers_finetune.py" "$work/finetune.safetensors"

if python3 -c 'import torchvision, safetensors, PIL' 2>/dev/null; then
    python3 "$(dirname "$0")/peers_preprocess.py" make "$work/preprocess.safetensors"
    IJEPA_PEER_PREPROCESS=$work/preprocess.safetensors CK_RUN_SUITE=preprocess CK_RUN_CASE=host "$tests"
else
    echo "skipped: resizing and positions, because Python has no torchvision, safetensors or PIL"
fi

for python in python3 /opt/peers/bin/python /opt/peers5/bin/python; do # transformers 4 and timm, transformers 5, where they are
    if ! "$python" -c 'import numpy, torch, PIL' 2>/dev/null; then
        echo "skipped: models of others, because $python has no numpy, torch and PIL"
        continue
    fi
    "$python" "$(dirname "$0")/peers_import.py" "$(dirname "$tests")/ijepa"
    "$python" "$(dirname "$0")/peers_export.py" "$(dirname "$tests")/ijepa"
done
if python3 -c 'import torch, safetensors, PIL' 2>/dev/null; then
    python3 "$(dirname "$0")/peers_resume.py" "$(dirname "$tests")/ijepa"
else
    echo "skipped: a step after a released checkpoint, because Python has no torch, safetensors or PIL"
fi
if [ -x /opt/peers/bin/python ]; then
    /opt/peers/bin/python "$(dirname "$0")/peers_processor.py" "$(dirname "$tests")/ijepa"
else
    echo "skipped: transformers' image processors, because there is no /opt/peers/bin/python"
fi

if ! python3 -c 'import numpy' 2>/dev/null; then
    echo "skipped: kNN, logistic regression, linear heads and the monitor, because Python has no numpy"
    exit 0
fi
if [ ! -e "$data/train-images-idx3-ubyte.gz" ]; then
    echo "skipped: kNN, logistic regression, linear heads and the monitor, because $data has no Fashion-MNIST"
    exit 0
fi
mkdir "$work/monitor"
IJEPA_PEER_MONITOR=$work/monitor IJEPA_PEER_PICTURES=$data/train-images-idx3-ubyte.gz CK_RUN_SUITE=collapse "$tests"
python3 "$(dirname "$0")/peers_monitor.py" "$work/monitor"

python3 "$peers" make "$work" "$data"
IJEPA_PEERS=$work CK_RUN_SUITE=peers "$tests"
python3 "$peers" compare "$work"
