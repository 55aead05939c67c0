"""Features of a picture by PyTorch alone, from a file that `ijepa convert RUN FILE.safetensors` wrote.
    load_in_pytorch.py FILE.safetensors PICTURE         the picture already has the model's size; prints the mean over its patches"""
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open

with safe_open(sys.argv[1], "pt") as file:
    about = file.metadata()  # "heads", "norm_eps", "mean", "std", "config", ...
    w = {name.removeprefix("target_encoder."): file.get_tensor(name).float() for name in file.keys() if name.startswith("target_encoder.")}
mean, std = (np.array(about[key].split(), np.float32) for key in ("mean", "std"))
pixels = np.asarray(Image.open(sys.argv[2]).convert("RGB" if len(mean) == 3 else "L"), np.float32) / 255
pixels = (pixels.reshape(*pixels.shape[:2], len(mean)) - mean) / std

linear = lambda name, x: F.linear(x, w[name + ".weight"], w[name + ".bias"])
norm = lambda name, x: F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], float(about["norm_eps"]))
x = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # [1, channels, height, width]
patch = w["patch_embed.proj.weight"]
x = F.conv2d(x, patch, w["patch_embed.proj.bias"], stride=patch.shape[-1]).flatten(2).transpose(1, 2) + w["pos_embed"]
for i in range(sum(name.endswith("norm1.bias") for name in w)):
    qkv = linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", x)).unflatten(-1, (3, int(about["heads"]), -1))
    x = x + linear(f"blocks.{i}.attn.proj", F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2))
    x = x + linear(f"blocks.{i}.mlp.fc2", F.gelu(linear(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", x))))
x = norm("norm", x)  # [1, patches, dim]

print(*x.mean(1)[0].tolist())
