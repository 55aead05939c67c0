"""One step of training after a released checkpoint, beside PyTorch's AdamW from the same file.
    peers_resume.py PROGRAM

The file has three nets and AdamW's state after seven steps, as the released trainer saves them. PROGRAM takes one step from it, and one from
the same file without the optimiser: there the first moment is (1 - beta1) x gradient, which gives the gradient of that step (weights, data and
masks are the same). PyTorch's optimiser takes its eighth step with it; weights, both moments and the target encoder must agree."""
import copy
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file

from peers_import import DEPTH, DIM, HEADS, PATCH, SIDE, Block, Encoder, pictures, positions, scramble

WIDTH, LR, DECAY, EMA, BETAS, EPS = 32, 1e-3, 0.05, 0.9, (0.9, 0.999), 1e-8
CONFIG = f"""
data: {{crop_size: {SIDE}, random_crop: false, batch_size: 3}}
mask: {{patch_size: {PATCH}, num_pred_masks: 2, min_keep: 4}}
meta: {{model_name: custom, embed_dim: {DIM}, depth: {DEPTH}, num_heads: {HEADS}, pred_emb_dim: {WIDTH}, pred_depth: 1, pred_num_heads: 2}}
optimization: {{epochs: 3, warmup: 0, start_lr: {LR}, lr: {LR}, final_lr: {LR}, weight_decay: {DECAY}, final_weight_decay: {DECAY}, ema: [{EMA}, {EMA}]}}
"""


class Predictor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.predictor_embed = torch.nn.Linear(DIM, WIDTH)
        self.mask_token = torch.nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.predictor_pos_embed = torch.nn.Parameter(positions(SIDE // PATCH, WIDTH), requires_grad=False)
        self.predictor_blocks = torch.nn.ModuleList([Block(WIDTH, 2)])
        self.predictor_norm = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.predictor_proj = torch.nn.Linear(WIDTH, DIM)


def optimiser_of(encoder, predictor):
    """The released groups: matrices of the encoder, of the predictor, then their biases and LayerNorms without decay."""
    matrix = lambda name, p: p.ndim > 1 and not name.endswith("bias")
    pick = lambda net, wanted: [p for name, p in net.named_parameters() if matrix(name, p) == wanted]
    groups = [{"params": pick(net, True)} for net in (encoder, predictor)]
    groups += [{"params": pick(net, False), "WD_exclude": True, "weight_decay": 0} for net in (encoder, predictor)]
    return torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)


def step_of(program, work, name, state):
    torch.save(state, f"{work}/{name}.pth.tar")
    run = f"{work}/{name}"
    subprocess.run([program, "train", f"{work}/config.yaml", "--data", f"{work}/data", "--checkpoint", f"{run}.pth.tar", "--steps", "1", "--out", run,
                    "--precision", "f32"], check=True, stdout=subprocess.DEVNULL)
    return load_file(f"{run}/checkpoints/step-00000001.safetensors")


def main(program):
    torch.manual_seed(11)
    with tempfile.TemporaryDirectory() as work:
        os.mkdir(f"{work}/data")
        pictures(f"{work}/data")
        open(f"{work}/config.yaml", "w").write(CONFIG)
        encoder, target, predictor = scramble(Encoder()), scramble(Encoder()), scramble(Predictor())
        optimiser = optimiser_of(encoder, predictor)
        trained = [p for net in (encoder, predictor) for p in net.parameters() if p.requires_grad]
        for _ in range(7):
            for p in trained:
                p.grad = torch.randn_like(p) * 1e-3
            optimiser.step()
        nets = {"encoder": encoder, "target_encoder": target, "predictor": predictor}
        state = {name: {"module." + k: v for k, v in net.state_dict().items()} for name, net in nets.items()}
        state |= {"epoch": 0, "loss": 0.5, "batch_size": 3, "world_size": 1, "lr": LR, "scaler": None}
        after = step_of(program, work, "with", state | {"opt": copy.deepcopy(optimiser.state_dict())})
        first = step_of(program, work, "without", state)

        names = {f"{net}.{name}": p for net, module in (("encoder", encoder), ("predictor", predictor)) for name, p in module.named_parameters()
                 if p.requires_grad}
        for name, p in names.items():
            p.grad = torch.from_numpy(first["opt.exp_avg." + name] / (1 - BETAS[0])).reshape(p.shape)
        optimiser.step()
        worst = {"weights": 0.0, "exp_avg": 0.0, "exp_avg_sq": 0.0, "target encoder": 0.0}

        def note(what, got, expected):
            error = np.linalg.norm(got.ravel() - expected.ravel()) / np.linalg.norm(expected)
            worst[what] = max(worst[what], float(error))

        with torch.no_grad():
            for name, p in names.items():
                note("weights", after[name], p.numpy())
                for moment in ("exp_avg", "exp_avg_sq"):
                    note(moment, after[f"opt.{moment}.{name}"], optimiser.state[p][moment].numpy())
            for (name, t), p in zip(target.named_parameters(), encoder.parameters()):
                note("target encoder", after["target_encoder." + name], (EMA * t + (1 - EMA) * p).numpy())
    for what, error in worst.items():
        print(f"step after a released checkpoint, {what:15s} worst relative difference of a tensor {error:.1e}")
    good = all(error <= 1e-5 for error in worst.values())
    print("agrees" if good else "DIFFERS")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
