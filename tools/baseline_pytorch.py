#!/usr/bin/env python3
"""tools/baseline_pytorch.py: one I-JEPA training step in plain PyTorch, to time this project's step against.

The step is the whole step of Assran et al. 2023 (arXiv 2301.08243): target encoder on all patches, context encoder on the
context's patches, predictor once per target block, smooth L1 on layer-normed targets, backward, AdamW, EMA of the target
encoder. It is written for the fastest eager PyTorch that stays simple: scaled_dot_product_attention, fused AdamW, foreach EMA.
Images are random f32 tensors made beforehand: no decoding, no crop, no augmentation is in the time.

Masks are those of the released code ("official"): block height and width drawn once per batch from one random number, positions
per image, context = a block of 85-100 % minus the targets, cut in raster order to the batch's shortest. --tokens CTX,TGT
replaces them by random patches in fixed numbers (context tokens an image, target tokens a *block*), so that another program's
step with the same counts does the same arithmetic.

Defaults are this project's benchmark: ViT 192x6, 3 heads, 64 px, patch 8, batch 32, predictor 96x3 (heads as the encoder), f32.

    tools/baseline_pytorch.sh --steps 30                       with Debian testing's PyTorch, on two cores about half a minute
    python3 tools/baseline_pytorch.py --device cuda --bf16     with a PyTorch of your own
"""
import argparse
import copy
import json
import math
import os
import statistics
import sys
import time

# Before torch is imported: OpenBLAS's own threads fight with OpenMP's (24 against 206 images/s for the default step on two cores).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import torch
import torch.nn.functional as F
from torch import nn


# --- model ------------------------------------------------------------------------------------------------------------------

def sincos_2d(dim, grid):
    """Fixed position table [grid * grid, dim]: first half of dim encodes the column, second half the row."""
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * omega  # [grid, dim / 4]
    line = torch.cat([angle.sin(), angle.cos()], dim=1)  # [grid, dim / 2]
    columns = line[None, :, :].expand(grid, grid, -1)
    rows = line[:, None, :].expand(grid, grid, -1)
    return torch.cat([columns, rows], dim=2).reshape(grid * grid, dim).float()


class Block(nn.Module):
    """Pre-norm transformer layer; x [batch, tokens, dim]."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.proj(y.transpose(1, 2).reshape(batch, tokens, dim))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    def __init__(self, image_size, patch, dim, depth, heads):
        super().__init__()
        self.patch = patch
        self.patch_embed = nn.Linear(3 * patch * patch, dim)  # the convolution of stride `patch`, as a product
        self.register_buffer("position", sincos_2d(dim, image_size // patch), persistent=False)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply(init_weights)

    def forward(self, images, keep=None):
        """images [batch, 3, size, size], keep [batch, kept] patch numbers or None for all; returns [batch, kept, dim]."""
        batch, p = images.shape[0], self.patch
        patches = F.unfold(images, p, stride=p).transpose(1, 2)  # [batch, patches, 3 * p * p]
        position = self.position.expand(batch, -1, -1)
        if keep is not None:
            patches, position = take(patches, keep), take(position, keep)
        x = self.patch_embed(patches) + position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Predictor(nn.Module):
    def __init__(self, grid, dim, width, depth, heads):
        super().__init__()
        self.embed, self.project = nn.Linear(dim, width), nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("position", sincos_2d(width, grid), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(init_weights)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, context, keep, targets):
        """context [batch, kept, dim], keep [batch, kept], targets [blocks, batch, count]; returns [blocks * batch, count, dim]."""
        blocks, batch, count = targets.shape
        position = self.position.expand(batch, -1, -1)
        x = (self.embed(context) + take(position, keep)).repeat(blocks, 1, 1)  # block outer, image inner
        queries = self.mask_token + self.position[targets.reshape(blocks * batch, count)]
        x = torch.cat([x, queries], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.project(self.norm(x[:, -count:]))


def take(x, index):
    """x [batch, tokens, dim], index [batch, kept]; returns [batch, kept, dim]."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


# --- masks ------------------------------------------------------------------------------------------------------------------

def block_size(grid, scale, aspect, u):
    """Height and width in patches; the released code draws scale and aspect with the same u."""
    area = grid * grid * (scale[0] + u * (scale[1] - scale[0]))
    ratio = aspect[0] + u * (aspect[1] - aspect[0])
    clamp = lambda side: max(1, min(grid - 1, round(side)))  # never the whole side, as released
    return clamp(math.sqrt(area * ratio)), clamp(math.sqrt(area / ratio))


def place(grid, size, generator):
    """Patch numbers of a block of `size` at a random place; the last row and column are out of reach, as released."""
    top, left = (int(torch.randint(0, grid - side, (1,), generator=generator)) for side in size)
    inside = torch.zeros(grid, grid, dtype=torch.bool)
    inside[top:top + size[0], left:left + size[1]] = True
    return inside.flatten()


def official_masks(batch, grid, blocks, generator, min_keep=4):
    """Context [batch, kept] and targets [blocks, batch, count]; retries instead of hanging where a grid is small."""
    u_target, u_context = torch.rand(2, generator=generator).tolist()
    target_size = block_size(grid, (0.15, 0.2), (0.75, 1.5), u_target)
    context_size = block_size(grid, (0.85, 1.0), (1.0, 1.0), u_context)
    contexts, targets = [], []
    for _ in range(batch):
        for _ in range(50):
            placed = [place(grid, target_size, generator) for _ in range(blocks)]
            context = place(grid, context_size, generator) & ~torch.stack(placed).any(0)
            if int(context.sum()) >= min_keep:
                break
        else:
            sys.exit(f"a grid of {grid}x{grid} patches leaves fewer than {min_keep} context patches after {blocks} target blocks")
        contexts.append(context.nonzero()[:, 0])
        targets.append(torch.stack([mask.nonzero()[:, 0] for mask in placed]))
    shortest = min(len(context) for context in contexts)
    return torch.stack([context[:shortest] for context in contexts]), torch.stack(targets, dim=1)


def fixed_masks(batch, grid, blocks, generator, context, count):
    """The same shapes with exact token numbers at random patches."""
    order = torch.rand(blocks + 1, batch, grid * grid, generator=generator).argsort(dim=2)
    return order[0, :, :context].sort(dim=1).values, order[1:, :, :count].sort(dim=2).values


# --- step -------------------------------------------------------------------------------------------------------------------

class Trainer:
    def __init__(self, args):
        self.args = args
        grid = args.image_size // args.patch
        self.encoder = Encoder(args.image_size, args.patch, args.dim, args.depth, args.heads).to(args.device)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.predictor = Predictor(grid, args.dim, args.pred_dim, args.pred_depth, args.pred_heads or args.heads).to(args.device)
        parameters = [*self.encoder.parameters(), *self.predictor.parameters()]
        decayed = [p for p in parameters if p.ndim > 1]  # mask_token is decayed, biases and norms are not
        plain = [p for p in parameters if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0}], lr=1e-3,
                                           weight_decay=0.04, fused=True)
        self.pairs = (list(self.target_encoder.parameters()), list(self.encoder.parameters()))
        self.parameters = sum(p.numel() for p in parameters)
        if args.compile:
            self.forward = torch.compile(self.forward)

    def forward(self, images, keep, targets):
        blocks, batch, count = targets.shape
        with torch.no_grad():
            full = self.target_encoder(images)
            full = F.layer_norm(full.float(), full.shape[-1:])  # no affine, eps 1e-5
            wanted = take(full.repeat(blocks, 1, 1), targets.reshape(blocks * batch, count))
        predicted = self.predictor(self.encoder(images, keep), keep, targets)
        return F.smooth_l1_loss(predicted.float(), wanted)

    def step(self, images, keep, targets):
        with torch.autocast(self.args.device, dtype=torch.bfloat16, enabled=self.args.bf16):
            loss = self.forward(images, keep, targets)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(*self.pairs, 1.0 - 0.996)
        return loss


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--dim", type=int, default=192)
    add("--depth", type=int, default=6)
    add("--heads", type=int, default=3)
    add("--image-size", type=int, default=64)
    add("--patch", type=int, default=8)
    add("--batch", type=int, default=32)
    add("--pred-dim", type=int, default=96)
    add("--pred-depth", type=int, default=3)
    add("--pred-heads", type=int, default=0, help="[as the encoder]")
    add("--blocks", type=int, default=4, help="target blocks an image")
    add("--tokens", metavar="CTX,TGT", help="fixed numbers of context tokens an image and target tokens a block")
    add("--steps", type=int, default=20, help="timed steps")
    add("--warmup", type=int, default=3, help="steps before them")
    add("--threads", type=int, default=0, help="[PyTorch's choice, or OMP_NUM_THREADS]")
    add("--seed", type=int, default=0)
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--bf16", action="store_true", help="autocast to bfloat16")
    add("--compile", action="store_true", help="torch.compile the forward pass; use it with --tokens, or every shape compiles again")
    add("--json", action="store_true", help="one line of JSON instead of text")
    args = parser.parse_args(argv)
    if args.image_size % args.patch or args.dim % args.heads or args.dim % 4 or args.pred_dim % (args.pred_heads or args.heads):
        parser.error("image size must be a multiple of the patch, dims of 4 and of their heads")
    args.tokens = tuple(int(n) for n in args.tokens.split(",")) if args.tokens else None
    return args


def main(argv=None):
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    grid = args.image_size // args.patch
    trainer = Trainer(args)
    images = torch.randn(args.batch, 3, args.image_size, args.image_size, device=args.device)

    seconds, contexts, counts, loss = [], [], [], None
    for step in range(args.warmup + args.steps):
        if args.tokens:
            masks = fixed_masks(args.batch, grid, args.blocks, generator, *args.tokens)
        else:
            masks = official_masks(args.batch, grid, args.blocks, generator)
        keep, targets = (mask.to(args.device) for mask in masks)  # sampling is a data loader's work: outside the time
        if args.device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        loss = trainer.step(images, keep, targets)
        if args.device == "cuda":
            torch.cuda.synchronize()
        if step >= args.warmup:
            seconds.append(time.perf_counter() - start)
            contexts.append(keep.shape[1])
            counts.append(targets.shape[2])

    result = {
        "images_per_second": round(args.batch / statistics.median(seconds), 2),
        "step_ms_median": round(1e3 * statistics.median(seconds), 2), "step_ms_min": round(1e3 * min(seconds), 2),
        "steps": args.steps, "batch": args.batch, "patches": grid * grid, "blocks": args.blocks,
        "context_tokens": [min(contexts), max(contexts)], "target_tokens_per_block": [min(counts), max(counts)],
        "encoder": f"{args.dim}x{args.depth}x{args.heads}",
        "predictor": f"{args.pred_dim}x{args.pred_depth}x{args.pred_heads or args.heads}",
        "trained_parameters": trainer.parameters, "precision": "bf16" if args.bf16 else "f32", "compiled": args.compile,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu", "threads": torch.get_num_threads(),
        "torch": torch.__version__, "loss": round(loss.item(), 4),
    }
    if args.device == "cuda":
        result["memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    if args.json:
        print(json.dumps(result))
        return
    print(f"torch {result['torch']}, {result['device']}, {result['threads']} threads, {result['precision']}")
    print(f"encoder {result['encoder']}, predictor {result['predictor']}: {result['trained_parameters']} trained parameters")
    print("batch {batch} of {patches} patches, {0[0]}-{0[1]} context tokens, {blocks} blocks of {1[0]}-{1[1]} target tokens".format(
        result["context_tokens"], result["target_tokens_per_block"], **result))
    print("{images_per_second} images/s (median of {steps} steps: {step_ms_median} ms, fastest {step_ms_min} ms), loss {loss}".format(**result))


if __name__ == "__main__":
    main()
