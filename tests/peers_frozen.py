#!/usr/bin/env python3
"""The frozen evaluation beside scikit-learn and PyTorch, on the same features.

peers_frozen.py make FOLDER [DATA]   features: pixels of 10,000 and 2,000 pictures of Fashion-MNIST, in [0, 1]
peers_frozen.py compare FOLDER       after `IJEPA_PEERS=FOLDER CK_RUN_SUITE=peers ijepa_tests` wrote its predictions there

Says what it compares, and by name what it leaves out because a package is not there. Ends with 1 where a difference is too large."""
import gzip
import os
import sys

import numpy as np

DATA = "/usr/share/datasets/fashion-mnist"
failed = False


def idx(path, header):
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def make(folder, data):
    rng = np.random.default_rng(2026)
    for name, prefix, count in (("train", "train", 10000), ("test", "t10k", 2000)):
        labels = idx(f"{data}/{prefix}-labels-idx1-ubyte.gz", 8)
        images = idx(f"{data}/{prefix}-images-idx3-ubyte.gz", 16).reshape(len(labels), -1)
        chosen = rng.permutation(len(labels))[:count]
        np.save(f"{folder}/{name}_x.npy", images[chosen].astype(np.float32) / np.float32(255))
        np.save(f"{folder}/{name}_y.npy", labels[chosen].astype(np.int32))


def verdict(what, ours, theirs, limit, extra=""):
    """Accuracies in percent."""
    global failed
    good = abs(ours - theirs) <= limit
    failed |= not good
    print(f"{'ok  ' if good else 'FAIL'} {what}: ours {ours:.2f} %, theirs {theirs:.2f} %, limit {limit} points{extra}", flush=True)


def accuracy(predicted, labels):
    return 100 * float(np.mean(predicted == labels))


def knn(load):
    from sklearn.neighbors import KNeighborsClassifier

    x, y, tx, ty = load("train_x"), load("train_y"), load("test_x"), load("test_y")
    x, tx = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, tx))
    for row, k in zip(load("knn"), (10, 20, 100, 200)):
        # Of rows of length 1 the distance d has the cosine similarity 1 - d^2 / 2.
        model = KNeighborsClassifier(k, algorithm="brute", weights=lambda d: np.exp((1 - d * d / 2 - 1) / 0.07)).fit(x, y)
        theirs = model.predict(tx)
        verdict(f"kNN, k = {k}, scikit-learn", accuracy(row, ty), accuracy(theirs, ty), 0.2, f"; {np.sum(row != theirs)} predictions differ")


def logistic(load):
    from sklearn.linear_model import LogisticRegression

    x, y, tx, ty = (load(name).astype(np.float64) for name in ("train_x", "train_y", "test_x", "test_y"))
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation <= 1e-12] = np.inf
    x, tx = (x - mean) / deviation, (tx - mean) / deviation
    for i, (row, (l2, loss)) in enumerate(zip(load("logistic"), load("logistic_l2_loss").astype(np.float64))):
        model = LogisticRegression(C=1 / (l2 * len(x)), max_iter=1000).fit(x, y)
        theirs = model.predict(tx)
        p = model.predict_proba(x)[np.arange(len(x)), y.astype(int)]
        best = -np.log(p).mean() + l2 / 2 * (model.coef_**2).sum()
        name = "chosen on held-out samples" if i == 0 else "given"
        extra = f"; f {loss:.5f} and {best:.5f}, {np.sum(row != theirs)} predictions differ"
        verdict(f"logistic regression, l2 = {l2:.0e} ({name}), scikit-learn", accuracy(row, ty), accuracy(theirs, ty), 0.2, extra)


def heads(load):
    import torch

    torch.set_num_threads(1)
    x, y, tx, ty = (torch.from_numpy(load(name)) for name in ("train_x", "train_y", "test_x", "test_y"))
    y = y.long()
    for i, (batch, epochs, norm, lars, lr, decay, said) in enumerate(load("heads_settings").tolist()):
        batch, epochs = int(batch), int(epochs)
        w = load(f"heads_{i}")
        ours = accuracy((tx.numpy() @ w[:, :-1].T + w[:, -1]).argmax(1), ty.numpy())
        torch.manual_seed(i)
        linear = torch.nn.Linear(x.shape[1], 10)
        torch.nn.init.normal_(linear.weight, std=0.01)
        torch.nn.init.zeros_(linear.bias)
        model = torch.nn.Sequential(torch.nn.BatchNorm1d(x.shape[1], affine=False), linear) if norm else linear
        groups = [{"params": [linear.weight], "weight_decay": 0 if lars else decay}, {"params": [linear.bias], "weight_decay": 0}]
        optimiser = torch.optim.SGD(groups, lr=lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [epochs * 3 // 10, epochs * 6 // 10, epochs * 9 // 10])
        for _ in range(epochs):
            order = torch.randperm(len(x))
            for begin in range(0, len(x) - batch + 1, batch):
                at = order[begin : begin + batch]
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(model(x[at]), y[at]).backward()
                if lars:
                    with torch.no_grad():
                        p, g = linear.weight, linear.weight.grad
                        ratio = 0.001 * p.norm() / (g.norm() + decay * p.norm())
                        g.add_(p, alpha=decay).mul_(ratio)
                optimiser.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            theirs = accuracy(model(tx).argmax(1).numpy(), ty.numpy())
        what = f"linear head, {'LARS' if lars else 'SGD'} {lr:g}, decay {decay:g}{', BatchNorm' if norm else ''}, PyTorch"
        verdict(what, ours, theirs, 0.5, f"; the program's own count {said:.2f} %")
        if abs(ours - said) > 0.11:  # two of 2,000: the folded weights round otherwise
            verdict(what + ": weights and count", ours, said, 0.11)


def compare(folder):
    load = lambda name: np.load(f"{folder}/{name}.npy")
    for name, run, package in (("kNN", knn, "sklearn"), ("logistic regression", logistic, "sklearn"), ("linear heads", heads, "torch")):
        try:
            __import__(package)
        except ImportError:
            print(f"skipped: {name}, because Python has no {package}")
            continue
        run(load)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "make":
        os.makedirs(sys.argv[2], exist_ok=True)
        make(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else DATA)
    else:
        sys.exit(compare(sys.argv[2]))
