#!/usr/bin/env python3
"""kNN of 10,000 against 60,000 vectors of 384 numbers, k 200: this program's and scikit-learn's brute force in turn, wall and processor seconds.
tools/bench_knn.py BENCH_KNN [ROUNDS]      BENCH_KNN: the program build/bench_knn; needs numpy and scikit-learn"""
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from sklearn.neighbors import NearestNeighbors

TRAIN, TEST, DIM, K, CLASSES, T = 60000, 10000, 384, 200, 10, 0.07


def data(rng, count, centres):
    labels = rng.integers(0, CLASSES, count)
    return (centres[labels] + 1.5 * rng.standard_normal((count, DIM))).astype(np.float32), labels


def processor():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(work):
    wall, cpu = time.perf_counter(), processor()
    result = work()
    return time.perf_counter() - wall, processor() - cpu, result


def normalised(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def neighbours(metric, x, tx):
    """Similarities and indices of the K nearest; euclidean on vectors of length 1 finds the same neighbours as cosine."""
    if metric == "euclidean":
        x, tx = normalised(x), normalised(tx)
    model = NearestNeighbors(n_neighbors=K, algorithm="brute", metric=metric, n_jobs=-1).fit(x)
    distance, index = model.kneighbors(tx)
    return (1 - distance**2 / 2 if metric == "euclidean" else 1 - distance), index


def main():
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    rng = np.random.default_rng(0)
    centres = 0.2 * rng.standard_normal((CLASSES, DIM))
    (x, y), (tx, _) = data(rng, TRAIN, centres), data(rng, TEST, centres)
    with tempfile.TemporaryDirectory() as folder:
        for name, array in (("train", x), ("test", tx), ("labels", y.astype(np.float32))):
            np.save(f"{folder}/{name}.npy", array)
        ours = subprocess.Popen([sys.argv[1], folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        seconds = {"ijepa": [], "euclidean": [], "cosine": []}
        for _ in range(rounds):
            ours.stdin.write("\n")
            ours.stdin.flush()
            seconds["ijepa"].append(tuple(map(float, ours.stdout.readline().split())))
            for metric in ("euclidean", "cosine"):
                wall, cpu, found = timed(lambda: neighbours(metric, x, tx))
                seconds[metric].append((wall, cpu))
        ours.stdin.close()
        ours.wait()
        mine = np.load(f"{folder}/ours.npy").astype(int)
    similarity, index = found
    votes = np.zeros((TEST, CLASSES))
    for j in range(K):
        np.add.at(votes, (np.arange(TEST), y[index[:, j]]), np.exp(similarity[:, j] / T))
    print(f"{np.sum(votes.argmax(1) != mine)} of {TEST} predictions differ from scikit-learn's")
    base = [statistics.median(v) for v in zip(*seconds["ijepa"])]
    for name, values in seconds.items():
        wall, cpu = (statistics.median(v) for v in zip(*values))
        print(f"{name:10} wall {wall:6.2f} s ({wall / base[0]:.2f} of ours)   processor {cpu:6.2f} s ({cpu / base[1]:.2f})   runs {values}")


main()
