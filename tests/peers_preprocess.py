"""Pictures and positions as Python's libraries make them, for the suite `preprocess`.

    peers_preprocess.py make FILE.safetensors [--small]

Random pictures of many sizes with what PIL's Image.resize and torchvision's resize of uint8 tensors (antialias=True) make of them, and random
rows of positions with what torch's bicubic interpolation makes of those. The committed tests/data/preprocess.safetensors is made with --small.

torchvision resizes uint8 bilinearly in integers where torch reports AVX2, else in floats (up to one step apart): the recorded results are
the integers'. Where this machine reports otherwise, the script starts itself again with ATEN_CPU_CAPABILITY=avx2; where there is no AVX2
they are left out, by name.
"""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tv
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import InterpolationMode

FILTERS = {"bilinear": (Image.Resampling.BILINEAR, InterpolationMode.BILINEAR), "bicubic": (Image.Resampling.BICUBIC, InterpolationMode.BICUBIC)}
SMALL = [(7, 5, 3, 4), (5, 9, 13, 17), (1, 1, 4, 3), (31, 2, 3, 11), (12, 40, 12, 7), (2, 61, 2, 2)]  # height, width -> height, width


def side(rng):
    return int(rng.integers(1, [5, 60, 300, 900][rng.integers(0, 4)]))


def picture(rng, height, width, channels):
    kind = rng.integers(0, 3)
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    if kind == 1:
        pixels = (pixels > 127).astype(np.uint8) * 255  # a cubic overshoots
    if kind == 2:
        pixels = np.clip(np.cumsum(rng.integers(-9, 10, pixels.shape), axis=1) + 128, 0, 255).astype(np.uint8)
    return pixels


def make(path, small):
    rng = np.random.default_rng(7)
    sizes = SMALL if small else SMALL + [tuple(side(rng) for _ in range(4)) for _ in range(200)] + [(3000, 4, 7, 224), (3, 2000, 224, 5), (1200, 1600, 224, 224), (375, 500, 448, 448)]
    native = "AVX2" in torch.backends.cpu.get_cpu_capability()
    out, left_out = {}, 0
    for n, (height, width, to_height, to_width) in enumerate(sizes):
        channels = 1 if n % 3 == 1 else 3
        pixels = picture(rng, height, width, channels)
        out[f"{n}.in"] = pixels
        image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
        tensor = tv.pil_to_tensor(image)
        for name, (pil, torchvision) in FILTERS.items():
            out[f"{n}.{name}.pil"] = np.asarray(image.resize((to_width, to_height), pil)).reshape(to_height, to_width, channels)
            if to_width == 1 or (name == "bilinear" and not native):  # one pixel wide: some of torch's paths err
                left_out += 1
                continue
            out[f"{n}.{name}.torchvision"] = np.ascontiguousarray(tv.resize(tensor, [to_height, to_width], torchvision, antialias=True).permute(1, 2, 0).numpy())
    for n, (height, width, to_height, to_width, dim) in enumerate([(3, 3, 5, 4, 2), (4, 5, 2, 3, 3), (1, 2, 3, 3, 1)] + ([] if small else [(14, 14, 28, 28, 192), (16, 16, 32, 20, 64), (28, 28, 14, 9, 32)])):
        rows = rng.uniform(-1, 1, (height, width, dim)).astype(np.float32)
        grid = F.interpolate(torch.from_numpy(rows).permute(2, 0, 1)[None], size=(to_height, to_width), mode="bicubic", align_corners=False)
        out[f"{n}.rows"] = rows
        out[f"{n}.rows.out"] = np.ascontiguousarray(grid[0].permute(1, 2, 0).numpy())
    save_file(out, path)
    print(f"{path}: {len(sizes)} pictures; {left_out} results of torchvision left out (one pixel wide, or no AVX2)")


if len(sys.argv) < 3 or sys.argv[1] != "make":
    sys.exit(__doc__)
if "AVX2" not in torch.backends.cpu.get_cpu_capability() and "ATEN_CPU_CAPABILITY" not in os.environ:
    os.execve(sys.executable, [sys.executable] + sys.argv, dict(os.environ, ATEN_CPU_CAPABILITY="avx2"))
make(sys.argv[2], "--small" in sys.argv)
