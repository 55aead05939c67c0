#!/usr/bin/env python3
"""Steps of fine-tuning that the tests recorded (IJEPA_PEER_FINETUNE), done again by PyTorch in double: its layers, its cross entropy with
label smoothing, its AdamW with a parameter group a layer.   tests/peers_finetune.py FILE.safetensors"""
import json
import struct
import sys

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    print(f"skipped: fine-tuning beside PyTorch, because Python has no {missing.name}")
    sys.exit(0)

LR, WEIGHT_DECAY, LAYER_DECAY, SMOOTHING, HEADS, EPS, GRID, TRAINED_BLOCKS = 1e-3, 0.05, 0.7, 0.1, 3, 1e-6, (2, 3), 2


def load(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    types = {"F32": np.float32, "U32": np.uint32}
    return {name: np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


def positions(grid, dim):
    def axis(at):
        angles = at[:, None] / 10000 ** (np.arange(dim // 4) / (dim // 4))[None]
        return np.concatenate([np.sin(angles), np.cos(angles)], 1)
    y, x = np.meshgrid(np.arange(grid[0]), np.arange(grid[1]), indexing="ij")
    return torch.tensor(np.concatenate([axis(x.ravel()), axis(y.ravel())], 1).astype(np.float32).astype(np.float64))


def forward(p, rows, depth):
    def linear(name, x):
        weight = p[name + ".weight"]
        return F.linear(x, weight.reshape(weight.shape[0], -1), p[name + ".bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], EPS)

    x = linear("patch_embed.proj", rows)
    batch, tokens, dim = x.shape
    x = x + positions(GRID, dim)
    for i in range(depth):
        qkv = linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", x)).reshape(batch, tokens, 3, HEADS, dim // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = x + linear(f"blocks.{i}.attn.proj", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, dim))
        x = x + linear(f"blocks.{i}.mlp.fc2", F.gelu(linear(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", x))))
    return linear("head", norm("norm", x).mean(1))


def layer(name, depth):
    if name.startswith("patch_embed."):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1


def main():
    file = load(sys.argv[1])
    before = {n[7:]: v for n, v in file.items() if n.startswith("before.")}
    depth = 1 + max(int(n.split(".")[1]) for n in before if n.startswith("blocks."))
    p = {n: torch.tensor(v.astype(np.float64)) for n, v in before.items()}
    groups = []
    for n, value in p.items():
        if layer(n, depth) <= depth - TRAINED_BLOCKS:
            continue
        value.requires_grad_(True)
        groups.append({"params": [value], "lr": LR * LAYER_DECAY ** (depth + 1 - layer(n, depth)),
                       "weight_decay": WEIGHT_DECAY if value.dim() > 1 else 0})
    optimizer = torch.optim.AdamW(groups)
    rows, labels = torch.tensor(file["rows"].astype(np.float64)), torch.tensor(file["labels"].astype(np.int64))
    failed = False
    for step, got in enumerate(file["losses"]):
        loss = F.cross_entropy(forward(p, rows, depth), labels, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        failed |= abs(loss.item() - got) > 2e-6 * abs(loss.item())
        print(f"step {step + 1}: loss {got:.7f}, PyTorch {loss.item():.7f}")
    # The gradient of a key's bias is nothing (softmax does not see it), and AdamW divides nothing by nothing: these are left out.
    squares, moved = 0.0, 0.0
    for n, value in p.items():
        after, start, mine = file["after." + n].astype(np.float64), before[n].astype(np.float64), value.detach().numpy()
        if n.endswith("qkv.bias"):
            after, start, mine = (np.delete(a, np.s_[a.size // 3:2 * a.size // 3]) for a in (after, start, mine))
        squares += ((after - mine) ** 2).sum()
        moved += ((mine - start) ** 2).sum()
        if not value.requires_grad and (after != start).any():
            print(f"{n} is frozen and has changed")
            failed = True
    error = (squares / moved) ** 0.5
    print(f"parameters after {len(file['losses'])} steps: |difference| / |moved| = {error:.2e}")
    return 1 if failed or not error < 1e-4 else 0


sys.exit(main())
