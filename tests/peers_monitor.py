#!/usr/bin/env python3
"""The collapse monitor beside NumPy, in double, on what a run's last look saw.

peers_monitor.py FOLDER     after `IJEPA_PEER_MONITOR=FOLDER IJEPA_PEER_PICTURES=IDX CK_RUN_SUITE=collapse ijepa_tests`

FOLDER has run/ (events.jsonl, checkpoints), features.npy [images patches, dim], targets.npy, predictions.npy [rows, dim] and place.npy
[rows], image x patches + position of each target row. Ends with 1 where a number is farther off than its bound."""
import glob
import json
import struct
import sys

import numpy as np

IMAGES = 16
folder = sys.argv[1]
failed = False


def compare(name, ours, theirs, bound):
    global failed
    error = abs(ours - theirs) / max(abs(theirs), 1e-30)
    good = error <= bound
    failed |= not good
    print(f"{'ok  ' if good else 'FAIL'} {name}: ours {ours:.9g}, NumPy {theirs:.9g}, relative {error:.1e}, bound {bound:.0e}")


def load(name):
    return np.load(f"{folder}/{name}.npy").astype(np.float64)


def rankme(x):
    s = np.linalg.svd(x, compute_uv=False)
    s = s[s > 1e-3 * s[0]]  # what f32 products can tell from nothing (train/spectrum.h)
    p = s / s.sum()
    return np.exp(-(p * np.log(p)).sum())


def mean_cosine(x):
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    c = x @ x.T
    return (c.sum() - np.trace(c)) / (len(x) * (len(x) - 1))


def smooth_l1(d):
    return np.where(abs(d) < 1, d * d / 2, abs(d) - 0.5)


def tensors(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            a, b = entry["data_offsets"]
            yield name, np.frombuffer(data[8 + size + a : 8 + size + b], np.float32).astype(np.float64)


looks = [e for e in map(json.loads, open(folder + "/run/events.jsonl")) if e["event"] == "look"]
look = looks[-1]
y, targets, predictions, place = load("features"), load("targets"), load("predictions"), np.load(folder + "/place.npy")
patches = len(y) // IMAGES
image, position = place // patches, place % patches
images = y.reshape(IMAGES, patches, -1)

compare("loss", look["loss"], smooth_l1(predictions - targets).mean(), 1e-5)
compare("rankme_target", look["rankme_target"], rankme(y), 1e-4)
compare("rankme_prediction", look["rankme_prediction"], rankme(predictions), 1e-4)
compare("cosine_target", look["cosine_target"], mean_cosine(images.mean(1)), 1e-5)
compare("cosine_prediction", look["cosine_prediction"], mean_cosine(np.stack([predictions[image == i].mean(0) for i in range(IMAGES)])), 1e-5)

normed = (images - images.mean(2, keepdims=True)) / np.sqrt(images.var(2, keepdims=True) + 1e-5)
within = ((normed - normed.mean(0)) ** 2).mean()
compare("position_variance_target", look["position_variance_target"], within / ((normed - normed.mean((0, 1))) ** 2).mean(), 1e-5)
often = np.bincount(position, minlength=patches) >= 2
used = often[position]
means = np.stack([predictions[position == p].mean(0) if often[p] else np.zeros(y.shape[1]) for p in range(patches)])
rows = predictions[used]
compare("position_variance_prediction", look["position_variance_prediction"],
        ((rows - means[position[used]]) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum(), 1e-4)
# The device leaves one out by a factor that is exact for squares; hardly a difference here is larger than 1.
others = (normed.sum(0)[position] - normed[image, position]) / (IMAGES - 1)
compare("trivial_loss", look["trivial_loss"], smooth_l1(others - targets).mean(), 1e-3)

m = images.mean(1)
between = np.cov(m.T, bias=True)
inside = ((images - m[:, None]).reshape(len(y), -1).T @ (images - m[:, None]).reshape(len(y), -1)) / len(y)
total = np.trace(between) + np.trace(inside)
values = np.sort(np.linalg.eigvalsh(np.cov(y.T, bias=True)))[::-1]
compare("image_share_target", look["image_share_target"], np.trace(between) / total, 1e-5)
compare("top_share_target", look["top_share_target"], values[0] / values.sum(), 1e-5)
for at, value in zip(look["spectrum_at"], look["spectrum_target"]):
    if values[at - 1] > 1e-5 * values[0]:
        compare(f"eigenvalue {at}", value, values[at - 1], 1e-3)
ridge = 1e-4 * total / y.shape[1]
lda = np.linalg.eigvals(np.linalg.solve(inside + ridge * np.eye(len(inside)), between)).real
lda = lda[lda > 0] / lda[lda > 0].sum()
compare("lidar_target", look["lidar_target"], np.exp(-(lda * np.log(lda)).sum()), 1e-3)

# The look saw the weights before the last update: those of the checkpoint before the last.
before = dict(tensors(sorted(glob.glob(folder + "/run/checkpoints/step-*.safetensors"))[-2]))
pairs = [(v, before["target_" + k]) for k, v in before.items() if k.startswith("encoder.") and not k.endswith("pos_embed")]
compare("ema_distance", look["ema_distance"], np.sqrt(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs)), 1e-5)
sys.exit(1 if failed else 0)
