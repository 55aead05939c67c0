#!/usr/bin/env python3
"""tools/baseline_pytorch.py: one I-JEPA training step in plain PyTorch, to time this project's step against.

    --variant simple      [default] the fastest eager PyTorch that stays simple: scaled_dot_product_attention, fused AdamW, foreach EMA
    --variant published   as the released code does it: attention as two products and a softmax, all patches embedded before the context
                          is taken, AdamW with its four groups and default implementation, EMA parameter by parameter, and with --bf16
                          a GradScaler around bf16 autocast
    --variant best        simple, with every transformer block through torch.compile where a compiler is at hand
    --attention SHAPES    no step: fused attention alone, forward and backward, at NAME:BATCH,HEADS,TOKENS,HEAD_DIM[;...]

The step is the whole step of Assran et al. 2023 (arXiv 2301.08243): target encoder on all patches, context encoder on the
context's patches, predictor once per target block, smooth L1 on layer-normed targets, backward, AdamW, EMA of the target
encoder. It is written for the fastest eager PyTorch that stays simple: scaled_dot_product_attention, fused AdamW, foreach EMA.
Images are random f32 tensors made beforehand: no decoding, no crop, no augmentation is in the time.

Masks are those of the released code ("official"): block height and width drawn once per batch from one random number, positions
per image, context = a block of 85-100 % minus the targets, cut in raster order to the batch's shortest. --tokens CTX,TGT
replaces them by random patches in fixed numbers (context tokens an image, target tokens a *block*), so that another program's
step with the same counts does the same arithmetic.

Defaults are this project's benchmark: ViT 192x6, 3 heads, 64 px, patch 8, batch 32, predictor 96x3 (heads as the encoder), f32.
--model takes a published recipe instead, at the batch that one GPU had. f32 products use TF32 only with --tf32.

    tools/baseline_pytorch.sh --steps 30                       with Debian testing's PyTorch, on two cores about half a minute
    python3 tools/baseline_pytorch.py --device cuda --bf16     with a PyTorch of your own
    python3 tools/baseline_pytorch.py --device cuda --bf16 --model vit_huge --batch 64 --variant published --json
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
    """Pre-norm transformer layer; x [batch, tokens, dim]. fused: one kernel for attention, else its formula."""

    def __init__(self, dim, hidden, heads, fused):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        else:
            scores = (qkv[0] @ qkv[1].transpose(-2, -1)) * (dim // self.heads) ** -0.5  # [batch, heads, tokens, tokens]
            y = scores.softmax(dim=-1) @ qkv[2]
        x = x + self.proj(y.transpose(1, 2).reshape(batch, tokens, dim))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    """embed_all: every patch is embedded, then the context is taken; else the other way round, which is less work."""

    def __init__(self, image_size, patch, dim, hidden, depth, heads, fused, embed_all):
        super().__init__()
        self.patch, self.embed_all = patch, embed_all
        self.patch_embed = nn.Linear(3 * patch * patch, dim)  # the convolution of stride `patch`, as a product
        self.register_buffer("position", sincos_2d(dim, image_size // patch), persistent=False)
        self.blocks = nn.ModuleList(Block(dim, hidden, heads, fused) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply(init_weights)

    def forward(self, images, keep=None):
        """images [batch, 3, size, size], keep [batch, kept] patch numbers or None for all; returns [batch, kept, dim]."""
        batch, p = images.shape[0], self.patch
        patches = F.unfold(images, p, stride=p).transpose(1, 2)  # [batch, patches, 3 * p * p]
        position = self.position.expand(batch, -1, -1)
        if keep is not None and not self.embed_all:
            patches, position = take(patches, keep), take(position, keep)
        x = self.patch_embed(patches) + position
        if keep is not None and self.embed_all:
            x = take(x, keep)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Predictor(nn.Module):
    def __init__(self, grid, dim, width, depth, heads, fused):
        super().__init__()
        self.embed, self.project = nn.Linear(dim, width), nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("position", sincos_2d(width, grid), persistent=False)
        self.blocks = nn.ModuleList(Block(width, 4 * width, heads, fused) for _ in range(depth))
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

def compiler_works(device):
    """Whether torch.compile can make anything here (it needs Triton on a GPU, a C++ compiler on a CPU)."""
    try:
        torch.compile(lambda x: (x * 2 + 1).tanh())(torch.ones(64, device=device))
        return True
    except Exception as failure:  # whatever is missing, the step runs without it
        print(f"torch.compile does not work here: {str(failure).splitlines()[0]}", file=sys.stderr)
        return False


class Trainer:
    def __init__(self, args):
        self.args = args
        grid, published = args.image_size // args.patch, args.variant == "published"
        self.encoder = Encoder(args.image_size, args.patch, args.dim, args.hidden, args.depth, args.heads, not published, published).to(args.device)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.predictor = Predictor(grid, args.dim, args.pred_dim, args.pred_depth, args.pred_heads, not published).to(args.device)
        self.parameters = sum(p.numel() for net in (self.encoder, self.predictor) for p in net.parameters())
        self.optimiser = self.make_optimiser(published)
        self.scaler = torch.amp.GradScaler(args.device) if published and args.bf16 and args.device == "cuda" else None
        self.pairs = (list(self.target_encoder.parameters()), list(self.encoder.parameters()))
        self.compiled = "no"
        if args.compile:
            self.forward, self.compiled = torch.compile(self.forward), "whole forward pass"
        elif args.variant == "best" and compiler_works(args.device):
            self.compile_blocks()

    def make_optimiser(self, published):
        """mask_token is decayed, biases and norms are not."""
        nets = (self.encoder, self.predictor)
        groups = [{"params": [p for p in net.parameters() if p.ndim > 1]} for net in nets]
        groups += [{"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0} for net in nets]
        options = {} if published else {"fused": True}
        return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.04, **options)

    def compile_blocks(self):
        """Blocks share one piece of code: it is compiled once a net and a shape, not once a block."""
        for name in ("recompile_limit", "cache_size_limit"):
            if hasattr(torch._dynamo.config, name):
                setattr(torch._dynamo.config, name, 64)
        Block.forward, self.compiled = torch.compile(Block.forward), "blocks"

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
        if self.args.variant == "published":
            self.update_as_published(loss)
            return loss
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(*self.pairs, 1.0 - 0.996)
        return loss

    def update_as_published(self, loss):
        if self.scaler:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimiser)
            self.scaler.update()
        else:
            loss.backward()
            self.optimiser.step()
        self.optimiser.zero_grad()
        with torch.no_grad():
            for target, online in zip(*self.pairs):
                target.mul_(0.996).add_((1.0 - 0.996) * online)


# --- command line -----------------------------------------------------------------------------------------------------------

MODELS = {  # dim, depth, heads, hidden, patch, predictor's depth; predictor width 384, its heads as the encoder's
    "vit_tiny": (192, 12, 3, 768, 16, 6), "vit_small": (384, 12, 6, 1536, 16, 6), "vit_base": (768, 12, 12, 3072, 16, 6),
    "vit_large": (1024, 24, 16, 4096, 16, 12), "vit_huge": (1280, 32, 16, 5120, 14, 12), "vit_giant": (1408, 40, 16, 6144, 16, 16)}
SMALL = {"dim": 192, "depth": 6, "heads": 3, "hidden": 0, "image_size": 64, "patch": 8, "batch": 32, "pred_dim": 96, "pred_depth": 3,
         "min_keep": 4}


def defaults_of(model):
    if not model:
        return SMALL
    dim, depth, heads, hidden, patch, pred_depth = MODELS[model]
    return {"dim": dim, "depth": depth, "heads": heads, "hidden": hidden, "image_size": 224, "patch": patch,
            "batch": 16 if model == "vit_giant" else 128, "pred_dim": 384, "pred_depth": pred_depth, "min_keep": 10}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--variant", choices=["simple", "published", "best"], default="simple", help="[simple]; see the head of this file")
    add("--model", choices=sorted(MODELS), help="a published recipe's sizes and batch; what is given beside it replaces its own")
    for name in ("dim", "depth", "heads", "hidden", "image-size", "patch", "batch", "pred-dim", "pred-depth", "min-keep"):
        add(f"--{name}", type=int, help=f"[{SMALL[name.replace('-', '_')] or '4 x dim'}, or the model's]")
    add("--pred-heads", type=int, default=0, help="[as the encoder]")
    add("--blocks", type=int, default=4, help="target blocks an image")
    add("--tokens", metavar="CTX,TGT", help="fixed numbers of context tokens an image and target tokens a block")
    add("--attention", metavar="SHAPES", help="time attention alone: NAME:BATCH,HEADS,TOKENS,HEAD_DIM;...")
    add("--steps", type=int, default=20, help="timed steps")
    add("--warmup", type=int, default=3, help="steps before them")
    add("--threads", type=int, default=0, help="[PyTorch's choice, or OMP_NUM_THREADS]")
    add("--seed", type=int, default=0)
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--bf16", action="store_true", help="autocast to bfloat16; with --attention, bfloat16 tensors")
    add("--f16", action="store_true", help="with --attention: float16 tensors")
    add("--tf32", action="store_true", help="f32 products in TF32")
    add("--compile", action="store_true", help="torch.compile the forward pass; use it with --tokens, or every shape compiles again")
    add("--json", action="store_true", help="one line of JSON instead of text")
    args = parser.parse_args(argv)
    for name, value in defaults_of(args.model).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.hidden = args.hidden or 4 * args.dim
    args.pred_heads = args.pred_heads or args.heads
    if args.image_size % args.patch or args.dim % args.heads or args.dim % 4 or args.pred_dim % args.pred_heads:
        parser.error("image size must be a multiple of the patch, dims of 4 and of their heads")
    if args.f16 and not args.attention:
        parser.error("--f16 goes with --attention; the step has f32 and --bf16")
    args.tokens = tuple(int(n) for n in args.tokens.split(",")) if args.tokens else None
    return args


class Clock:
    """Seconds between two places: the GPU's own events, or the host's clock."""

    def __init__(self, device):
        self.device = device

    def mark(self):
        if self.device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start, end):
        if self.device != "cuda":
            return end - start
        end.synchronize()
        return 1e-3 * start.elapsed_time(end)


def environment(args):
    result = {"device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu", "threads": torch.get_num_threads(),
              "torch": torch.__version__, "tf32": args.tf32}
    if args.device == "cuda":
        result["memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
        result["memory_reserved_mib"] = round(torch.cuda.max_memory_reserved() / 2**20)
    return result


# --- attention alone --------------------------------------------------------------------------------------------------------

def time_attention(args, batch, heads, tokens, head_dim, dtype):
    """Median seconds of fused attention without gradients, with, and of its backward pass; q, k, v are views of one tensor, as in a block."""
    clock, times = Clock(args.device), {"infer": [], "forward": [], "backward": []}
    qkv = torch.randn(batch, tokens, 3, heads, head_dim, device=args.device, dtype=dtype, requires_grad=True)
    dout = torch.randn(batch, heads, tokens, head_dim, device=args.device, dtype=dtype)
    attend = lambda: F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
    for step in range(args.warmup + args.steps):
        start = clock.mark()
        with torch.no_grad():
            attend()
        middle = clock.mark()
        out = attend()
        done = clock.mark()
        out.backward(dout)
        end = clock.mark()
        qkv.grad = None
        if step >= args.warmup:
            for name, first, last in (("infer", start, middle), ("forward", middle, done), ("backward", done, end)):
                times[name].append(clock.between(first, last))
    return {name: statistics.median(values) for name, values in times.items()}


def attention(args):
    dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.f16 else torch.float32
    element = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float32: "f32"}[dtype]
    rows = []
    for part in args.attention.split(";"):
        name, _, sizes = part.rpartition(":")
        batch, heads, tokens, head_dim = (int(size) for size in sizes.split(","))
        seconds = time_attention(args, batch, heads, tokens, head_dim, dtype)
        work = 4e-12 * batch * heads * tokens * tokens * head_dim  # TFLOP of the forward pass
        rows.append({"name": name, "element": element, "batch": batch, "heads": heads, "tokens": tokens, "head_dim": head_dim,
                     **{f"{key}_ms": round(1e3 * value, 4) for key, value in seconds.items()},
                     "forward_tflops": round(work / seconds["forward"], 3), "backward_tflops": round(2.5 * work / seconds["backward"], 3)})
    if args.json:
        print(json.dumps({"attention": rows, "steps": args.steps, **environment(args)}))
        return
    print("\t".join(rows[0]))
    for row in rows:
        print("\t".join(str(value) for value in row.values()))


# --- the step ---------------------------------------------------------------------------------------------------------------

def run_steps(args, trainer):
    """Timed steps; returns seconds of each, numbers of context and target tokens, the last loss. Sampling masks is a data loader's work:
    outside the time."""
    generator = torch.Generator().manual_seed(args.seed)
    grid = args.image_size // args.patch
    images = torch.randn(args.batch, 3, args.image_size, args.image_size, device=args.device)
    seconds, contexts, counts, loss = [], [], [], None
    for step in range(args.warmup + args.steps):
        if args.tokens:
            masks = fixed_masks(args.batch, grid, args.blocks, generator, *args.tokens)
        else:
            masks = official_masks(args.batch, grid, args.blocks, generator, args.min_keep)
        keep, targets = (mask.to(args.device) for mask in masks)
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
    return seconds, contexts, counts, loss.item()


def measure(args):
    trainer = Trainer(args)
    seconds, contexts, counts, loss = run_steps(args, trainer)
    grid = args.image_size // args.patch
    return {
        "images_per_second": round(args.batch / statistics.median(seconds), 2),
        "step_ms_median": round(1e3 * statistics.median(seconds), 2), "step_ms_min": round(1e3 * min(seconds), 2),
        "steps": args.steps, "batch": args.batch, "patches": grid * grid, "blocks": args.blocks,
        "context_tokens": [min(contexts), max(contexts)], "target_tokens_per_block": [min(counts), max(counts)],
        "context_mean": round(statistics.mean(contexts), 2), "target_mean": round(statistics.mean(counts), 2),
        "encoder": f"{args.dim}x{args.depth}x{args.heads}", "predictor": f"{args.pred_dim}x{args.pred_depth}x{args.pred_heads}",
        "model": args.model, "variant": args.variant, "trained_parameters": trainer.parameters,
        "precision": "bf16" if args.bf16 else "f32", "compiled": trainer.compiled, "loss": round(loss, 4), **environment(args)}


def main(argv=None):
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    if args.attention:
        attention(args)
        return
    try:
        result = measure(args)
    except torch.OutOfMemoryError if hasattr(torch, "OutOfMemoryError") else torch.cuda.OutOfMemoryError:
        print(f"out of memory: {args.model or 'the model'}, variant {args.variant}, batch {args.batch}", file=sys.stderr)
        sys.exit(3)
    if args.json:
        print(json.dumps(result))
        return
    print(f"torch {result['torch']}, {result['device']}, {result['threads']} threads, {result['precision']}, variant {args.variant}, "
          f"compiled: {result['compiled']}")
    print(f"encoder {result['encoder']}, predictor {result['predictor']}: {result['trained_parameters']} trained parameters")
    print("batch {batch} of {patches} patches, {0[0]}-{0[1]} context tokens, {blocks} blocks of {1[0]}-{1[1]} target tokens".format(
        result["context_tokens"], result["target_tokens_per_block"], **result))
    print("{images_per_second} images/s (median of {steps} steps: {step_ms_median} ms, fastest {step_ms_min} ms), loss {loss}".format(**result))
    if "memory_mib" in result:
        print("{memory_mib} MiB of device memory at most, {memory_reserved_mib} MiB with PyTorch's reserve".format(**result))


if __name__ == "__main__":
    main()
