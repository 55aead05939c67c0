"""What `ijepa convert` writes, read back by transformers, timm and PyTorch: features must be ijepa's own.
    peers_export.py PROGRAM
Small models of random weights are trained for two steps; one whole-image and grey, one of centre crops in colour, one that is not square.
Pictures are brought to the model's size first, so that no resampling has a part in the comparison of features; the image processors are
compared by themselves on whole pictures. f32: 1e-4 relative (L2). f16 and bf16 weights: rounding moves a weight by 2^-12 or 2^-9 of itself on average;
10 and 100 times 1e-4 x sqrt(blocks x 4) stand for it. What a missing package leaves out is said by name."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = [os.path.join(HERE, "data", "images", name) for name in ("progressive.jpg", "rgb.png", "rgb420.jpg")]
SAMPLE = os.path.join(HERE, "..", "samples", "load_in_pytorch.py")
MODELS = {  # height, width, channels, random_crop, mean, std
    "crops": (48, 48, 3, True, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "grey": (32, 32, 1, False, [0.286], [0.353]),
    "wide": (32, 64, 3, True, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]),
}
PATCH, DIM, DEPTH, HEADS = 8, 64, 3, 4
BOUNDS = {"f32": 1e-4, "f16": 1e-3, "bf16": 1e-2}
failed = False


def program(*arguments):
    return subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, text=True).stdout


def check(what, difference, bound):
    global failed
    good = difference <= bound
    failed |= not good
    print(f"{what:64} {difference:.1e} {'agrees' if good else f'DIFFERS (bound {bound:.0e})'}")


def relative(a, b):
    return float(np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b))


def train(folder, name):
    """A run of two steps whose weights are then large enough for every part to matter: a learning rate of 0.1 at once."""
    height, width, channels, crop, mean, std = MODELS[name]
    data, run = os.path.join(folder, "data", "a"), os.path.join(folder, name)
    os.makedirs(data, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (72, 96, 3), np.uint8)).save(os.path.join(data, f"{i}.png"))
    settings = [f"data.image_height={height}", f"data.image_width={width}", f"data.channels={channels}", f"data.random_crop={str(crop).lower()}",
                f"data.mean={mean}", f"data.std={std}", f"mask.patch_size={PATCH}", "mask.min_keep=1", "data.batch_size=4",
                "meta.model_name=custom", f"meta.embed_dim={DIM}", f"meta.depth={DEPTH}", f"meta.num_heads={HEADS}", "meta.pred_emb_dim=32",
                "meta.pred_depth=1", "meta.pred_num_heads=2", "meta.precision=f32", "optimization.start_lr=0.1", "optimization.lr=0.1",
                "optimization.warmup=0", "optimization.ema=[0.0, 0.0]", "logging.monitor_every=0"]
    config = os.path.join(folder, "config.yaml")
    with open(config, "w") as file:
        file.write("data: {batch_size: 4}\n")
    program("train", config, "--data", os.path.dirname(data), "--out", run, "--steps", "2", "--quiet",
            *[word for setting in settings for word in ("--set", setting)])
    return run


def pictures(folder, name):
    height, width, channels = MODELS[name][:3]
    paths = []
    for i, path in enumerate(IMAGES):
        paths.append(os.path.join(folder, f"{name}{i}.png"))
        Image.open(path).convert("RGB" if channels == 3 else "L").resize((width, height)).save(paths[-1])
    return paths


def normalised(paths, name):
    channels, mean, std = MODELS[name][2], *MODELS[name][4:]
    arrays = [np.asarray(Image.open(path), np.float32).reshape(*Image.open(path).size[::-1], channels) for path in paths]
    return torch.from_numpy(((np.stack(arrays) / 255 - np.float32(mean)) / np.float32(std)).astype(np.float32)).permute(0, 3, 1, 2)


def own_features(folder, run, paths, encoder="target"):
    out = os.path.join(folder, "own.npy")
    program("embed", run, *paths, "-o", out, "--precision", "f32", "--whole", "--encoder", encoder)
    return np.load(out)


def compare_transformers(folder, name, run, paths, own):
    try:
        import transformers
    except ImportError:
        print(f"skipped: {name}, transformers, because {sys.executable} has none")
        return
    version = transformers.__version__
    for dtype, bound in BOUNDS.items():
        out = os.path.join(folder, f"{name}-{dtype}")
        program("convert", run, out, "--dtype", dtype)
        model, said = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
        left = [said[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if said[key]]
        if left:
            check(f"{name}: transformers {version} finds {left}", 1, 0)
        with torch.no_grad():
            features = model.float().eval()(normalised(paths, name)).last_hidden_state.mean(1).numpy()
        check(f"{name}: {dtype}, transformers {version} AutoModel", relative(features, own), bound)
    compare_processor(transformers, name, os.path.join(folder, f"{name}-f32"), run)


def compare_processor(transformers, name, out, run):
    """What the processor gives of whole pictures: the right size and normalisation, beside PIL's own resize and crop; and beside
    features of ijepa's own resampling, whose difference is said."""
    height, width, channels, crop, mean, std = MODELS[name]
    options = {} if int(transformers.__version__.split(".")[0]) >= 5 else {"use_fast": True}
    processor = transformers.AutoImageProcessor.from_pretrained(out, **options)
    model = transformers.AutoModel.from_pretrained(out).eval()
    images = [Image.open(path).convert("RGB" if channels == 3 else "L") for path in IMAGES]
    pixels = torch.cat([processor(image, return_tensors="pt")["pixel_values"] for image in images])
    wanted = []
    for image in images:
        if not crop:
            image = image.resize((width, height), Image.BILINEAR)
        else:
            before = [(side * 256 + 112) // 224 for side in (width, height)]
            if height == width:
                shorter = min(image.size)
                before = [int(before[0] * side / shorter) for side in image.size]
            image = image.resize(before, Image.BILINEAR)
            left, top = (before[0] - width) // 2, (before[1] - height) // 2
            image = image.crop((left, top, left + width, top + height))
        wanted.append(np.asarray(image, np.float32).reshape(height, width, channels))
    wanted = ((np.stack(wanted) / 255 - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
    step = 1 / 255 / min(std)  # one of 255 steps, normalised
    check(f"{name}: AutoImageProcessor beside PIL, in 1/255", float(np.abs(pixels.numpy() - wanted).max()) / step, 1.01)
    with tempfile.TemporaryDirectory() as work, torch.no_grad():
        file = os.path.join(work, "own.npy")
        program("embed", run, *IMAGES, "-o", file, "--precision", "f32")
        features = model(pixels).last_hidden_state.mean(1).numpy()
        print(f"{name + ': whole pictures, features beside own resampling':64} {relative(features, np.load(file)):.1e} (said, not bounded)")


def compare_timm(folder, name, run, paths, own):
    try:
        import timm
    except ImportError:
        print(f"skipped: {name}, timm, because {sys.executable} has none")
        return
    out = os.path.join(folder, f"{name}-timm")
    program("convert", run, out, "--to", "timm")
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    with torch.no_grad():
        features = model(normalised(paths, name)).numpy()
    check(f"{name}: timm {timm.__version__}", relative(features, own), BOUNDS["f32"])
    check(f"{name}: the timm folder read back by ijepa", relative(own_features(folder, out, paths), own), 0)


def compare_pytorch(folder, name, run, paths, own):
    try:
        import safetensors  # noqa: F401
    except ImportError:
        print(f"skipped: {name}, samples/load_in_pytorch.py, because {sys.executable} has no safetensors")
        return
    for dtype, bound in BOUNDS.items():
        out = os.path.join(folder, f"{name}-{dtype}.safetensors")
        program("convert", run, out, "--dtype", dtype)
        features = [subprocess.run([sys.executable, SAMPLE, out, path], check=True, capture_output=True, text=True).stdout.split() for path in paths]
        check(f"{name}: {dtype}, samples/load_in_pytorch.py", relative(np.array(features, np.float64), own), bound)


def round_trips(folder, name, run, paths, own):
    """hf -> safetensors -> hf: the same bytes; and ijepa's features of each."""
    names = [os.path.join(folder, f"{name}-trip{end}") for end in ("0", "1.safetensors", "2")]
    for source, out in zip([run] + names, names):
        program("convert", source, out)
    for file in ("model.safetensors", "config.json", "preprocessor_config.json"):
        first, last = (open(os.path.join(at, file), "rb").read() for at in (names[0], names[2]))
        check(f"{name}: {file} after hf, safetensors, hf", float(first != last), 0)
    for at in names:
        check(f"{name}: {os.path.basename(at)} read back by ijepa", relative(own_features(folder, at, paths), own), 0)
    context = os.path.join(folder, f"{name}-context")
    program("convert", run, context, "--encoder", "context")
    check(f"{name}: --encoder context", relative(own_features(folder, context, paths), own_features(folder, run, paths, "context")), 0)


PROGRAM = os.path.abspath(sys.argv[1])
with tempfile.TemporaryDirectory() as work:
    for model in MODELS:
        trained = train(work, model)
        prepared = pictures(work, model)
        features = own_features(work, trained, prepared)
        compare_transformers(work, model, trained, prepared, features)
        compare_timm(work, model, trained, prepared, features)
        compare_pytorch(work, model, trained, prepared, features)
        round_trips(work, model, trained, prepared, features)
sys.exit(failed)
