"""Models of others, read by ijepa and by the programs that wrote them: features must be equal.
    peers_import.py PROGRAM
Random weights, written as transformers, timm and PyTorch write them. Every picture has the size of the input, so that no resampling has a
part. Features are the mean over patches of the last LayerNorm's output, in f32; 1e-4 relative (L2) is allowed. What a missing package leaves
out is said by name."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

DIM, DEPTH, HEADS, PATCH, SIDE = 64, 3, 4, 8, 48
failed = False


def positions(grid, dim):
    """The fixed table: columns in the first half, rows in the second; each [sin | cos]."""
    omega = 10000.0 ** (-np.arange(dim // 4) / (dim // 4))
    half = lambda at: np.concatenate([np.sin(at[:, None] * omega), np.cos(at[:, None] * omega)], 1)
    y, x = np.divmod(np.arange(grid * grid), grid)
    return torch.from_numpy(np.concatenate([half(x), half(y)], 1).astype(np.float32))[None]


class Block(torch.nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = torch.nn.LayerNorm(dim, eps=1e-6)
        self.attn = torch.nn.ModuleDict({"qkv": torch.nn.Linear(dim, 3 * dim), "proj": torch.nn.Linear(dim, dim)})
        self.norm2 = torch.nn.LayerNorm(dim, eps=1e-6)
        self.mlp = torch.nn.ModuleDict({"fc1": torch.nn.Linear(dim, 4 * dim), "fc2": torch.nn.Linear(4 * dim, dim)})

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5, -1) @ v
        x = x + self.attn["proj"](a.transpose(1, 2).reshape(b, n, d))
        return x + self.mlp["fc2"](torch.nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))


class Encoder(torch.nn.Module):
    def __init__(self, dim=DIM, depth=DEPTH, heads=HEADS):
        super().__init__()
        self.pos_embed = torch.nn.Parameter(positions(SIDE // PATCH, dim), requires_grad=False)
        self.patch_embed = torch.nn.ModuleDict({"proj": torch.nn.Conv2d(3, dim, PATCH, PATCH)})
        self.blocks = torch.nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = torch.nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def scramble(model):
    """Weights large enough that every one of them shows in the features."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "pos" not in name:
                p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


def pictures(folder):
    random = np.random.default_rng(3)
    pixels = []
    for i in range(3):
        coarse = random.integers(0, 256, (6, 6, 3), np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.BICUBIC))
        Image.fromarray(image).save(f"{folder}/{i}.png")
        pixels.append(image)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def embed(program, model, work, *options):
    out = f"{work}/features.npy"
    images = [f"{work}/{i}.png" for i in range(3)]
    command = [program, "embed", model, *images, "-o", out, "--precision", "f32", "--whole", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return np.load(out)


def compare(what, got, expected):
    global failed
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    good = got.shape == expected.shape and error <= 1e-4
    failed |= not good
    print(f"{what:60s} relative difference {error:.1e}  {'agrees' if good else 'DIFFERS'}")


def released(program, work, x):
    from safetensors.torch import save_file

    imagenet = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    context, target = scramble(Encoder()), scramble(Encoder())
    for prefix in ("", "module."):
        tensors = {f"encoder.{prefix}{k}": v for k, v in context.state_dict().items()}
        tensors |= {f"target_encoder.{prefix}{k}": v for k, v in target.state_dict().items()}
        path = f"{work}/released{prefix}safetensors"
        save_file(tensors, path)
        open(path + ".yaml", "w").write(f"meta: {{num_heads: {HEADS}}}\n")
        for name, net in (("context", context), ("target", target)):
            with torch.no_grad():
                expected = net(imagenet).mean(1).numpy()
            compare(f"released names, prefix \"{prefix}\", {name} encoder", embed(program, path, work, "--encoder", name), expected)


def transformers(program, work, x):
    import transformers as t

    config = t.IJepaConfig(hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * DIM, image_size=SIDE,
                           patch_size=PATCH, num_labels=5)
    for name, kind, shard in (("IJepaModel", t.IJepaModel, "1GB"), ("IJepaModel, shards", t.IJepaModel, "100KB"),
                              ("IJepaForImageClassification", t.IJepaForImageClassification, "1GB")):
        model = scramble(kind(config))
        base = getattr(model, "ijepa", model)
        base.embeddings.position_embeddings.data = positions(SIDE // PATCH, DIM)
        folder = tempfile.mkdtemp(dir=work)
        model.save_pretrained(folder, max_shard_size=shard)
        t.ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
        with torch.no_grad():
            expected = base((x - 0.5) / 0.5).last_hidden_state.mean(1).numpy()
        compare(f"transformers {t.__version__}, {name}", embed(program, folder, work), expected)


def timm(program, work, x):
    import timm as t
    from timm.models._hub import save_for_hf

    arguments = dict(img_size=SIDE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, class_token=False, global_pool="avg",
                     fc_norm=False, num_classes=0)
    model = scramble(t.create_model("vit_tiny_patch16_224", **arguments))
    model.pos_embed.data = positions(SIDE // PATCH, DIM)
    folder = f"{work}/timm"
    save_for_hf(model, folder, model_args=arguments, safe_serialization=True)
    said = json.load(open(folder + "/config.json"))["pretrained_cfg"]
    mean, std = (torch.tensor(said[k]).view(3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        expected = model.forward_features((x - mean) / std).mean(1).numpy()
    compare(f"timm {t.__version__}", embed(program, folder, work), expected)


def main(program):
    torch.manual_seed(7)
    with tempfile.TemporaryDirectory() as work:
        x = pictures(work)
        for name, package, run in (("released names", "safetensors", released), ("transformers' models", "transformers", transformers),
                                   ("timm's models", "timm", timm)):
            try:
                __import__(package)
            except ImportError:
                print(f"skipped: {name}, because Python has no {package}")
                continue
            run(program, work, x)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
