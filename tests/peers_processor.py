"""Pictures in, features out, beside transformers: ViTImageProcessor (PIL) and ViTImageProcessorFast (torchvision) with IJepaModel of random
weights, at the trained size and another, with fixed and other positions, bilinear and bicubic.

    peers_processor.py IJEPA        the program; run from anywhere, pictures are tests/data/images

torchvision resizes uint8 bilinearly in integers where torch reports AVX2, else in floats (io/resample.h): the script starts itself again with
ATEN_CPU_CAPABILITY=avx2.
"""
import os
import subprocess
import sys
import tempfile

if os.environ.get("ATEN_CPU_CAPABILITY") != "avx2":
    os.execve(sys.executable, [sys.executable] + sys.argv, dict(os.environ, ATEN_CPU_CAPABILITY="avx2"))

import numpy as np
import torch
import transformers as t
from PIL import Image

SIZE, OTHER, PATCH, DIM = 224, 160, 16, 64
TOLERANCE = 1e-5  # f32, three blocks
IMAGES = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "images", name) for name in ("progressive.jpg", "rgb.png", "rgb420.jpg")]


def fixed_positions():
    grid, quarter = SIZE // PATCH, DIM // 4
    omega = 10000.0 ** (-np.arange(quarter) / quarter)
    y, x = np.mgrid[0:grid, 0:grid].reshape(2, -1, 1)
    return np.concatenate([f(v * omega) for v in (x, y) for f in (np.sin, np.cos)], 1)[None].astype(np.float32)


def make_model(fixed):
    torch.manual_seed(0)
    model = t.IJepaModel(t.IJepaConfig(hidden_size=DIM, num_hidden_layers=3, num_attention_heads=2, intermediate_size=4 * DIM, image_size=SIZE, patch_size=PATCH)).eval()
    for p in model.parameters():
        p.data = torch.randn_like(p) * 0.2
    if fixed:
        model.embeddings.position_embeddings.data = torch.from_numpy(fixed_positions())
    return model


def compare(program, folder, model, processor, size, options, label):
    pictures = [Image.open(path).convert("RGB") for path in IMAGES]
    pixels = processor(pictures, return_tensors="pt", size={"height": size, "width": size})["pixel_values"]
    with torch.no_grad():
        want = model(pixels, interpolate_pos_encoding=size != SIZE).last_hidden_state.mean(1).numpy()
    out = os.path.join(folder, "features.npy")
    subprocess.run([program, "embed", folder, *IMAGES, "-o", out, "--precision", "f32", "--size", str(size), "--positions", "interpolated", *options],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    difference = float(np.abs(np.load(out) - want).max() / np.abs(want).max())
    print(f"{label:58} relative difference {difference:.1e}  {'agrees' if difference <= TOLERANCE else 'DIFFERS'}")
    return difference <= TOLERANCE


program, good = os.path.abspath(sys.argv[1]), True
integers = "AVX2" in torch.backends.cpu.get_cpu_capability()
for fixed in (True, False):
    model = make_model(fixed)
    for name, resample in (("bilinear", 2), ("bicubic", 3)):
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            slow = t.ViTImageProcessor(size={"height": SIZE, "width": SIZE}, resample=resample)
            slow.save_pretrained(folder)
            fast = t.ViTImageProcessorFast(size={"height": SIZE, "width": SIZE}, resample=resample)
            for size in (SIZE, OTHER):
                label = f"{'fixed' if fixed else 'other'} positions, {name}, {size}"
                good &= compare(program, folder, model, slow, size, [], f"{label}, ViTImageProcessor")
                if integers or name == "bicubic":
                    good &= compare(program, folder, model, fast, size, ["--resampler", "torchvision"], f"{label}, ViTImageProcessorFast")
                else:
                    print(f"skipped: {label}, ViTImageProcessorFast, because this CPU has no AVX2")
sys.exit(not good)
