#!/usr/bin/env python3
"""Makes tests/data/torch: small checkpoints by PyTorch in every container, what is in them as safetensors, and hostile files.
    python3 tests/make_torch_files.py FOLDER      (made with PyTorch 2.6)
"""
import collections, io, os, pickle, struct, sys, zipfile
import numpy as np
import torch
from safetensors.torch import save_file

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
path = lambda name: os.path.join(out, name)
torch.manual_seed(0)


def flatten(tree, name, into):
    if isinstance(tree, torch.Tensor):
        into[name] = tree.detach().clone().contiguous()
    elif isinstance(tree, dict):
        for key, item in tree.items():
            flatten(item, f"{name}.{key}" if name else str(key), into)
    elif isinstance(tree, (list, tuple)):
        for i, item in enumerate(tree):
            flatten(item, f"{name}.{i}" if name else str(i), into)
    return into


net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
net(torch.randn(5, 3)).sum().backward()
opt.step()
base = torch.arange(24, dtype=torch.float32)
tree = {
    "encoder": collections.OrderedDict(("module." + k, v) for k, v in net.state_dict().items()),
    "opt": opt.state_dict(),
    "kinds": {
        "f16": torch.randn(7).half(), "bf16": torch.randn(7).bfloat16(), "f64": torch.randn(3, dtype=torch.float64),
        "i64": torch.tensor([-1, 2**40]), "i32": torch.tensor([-5, 7], dtype=torch.int32), "i16": torch.tensor([-300], dtype=torch.int16),
        "i8": torch.tensor([-3], dtype=torch.int8), "u8": torch.tensor([200], dtype=torch.uint8), "bool": torch.tensor([True, False]),
    },
    "views": {
        "transposed": base.view(4, 6).t(), "strided": base.view(4, 6)[1:, ::2], "tail": base[20:], "expanded": base[3:4].expand(5, 1, 1),
        "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(base[:2].clone()), "scalar": torch.tensor(2.5),
    },
    "epoch": 12, "loss": np.float64(0.125), "count": np.int32(-7), "name": "a text", "none": None, "yes": True, "big": 2**70,
    "device": torch.device("cuda", 1), "dtype": torch.float16, "size": torch.Size([2, 3]), "bytes": b"\x00\xff\x80",
}
torch.save(tree, path("zip.pt"))
torch.save(tree, path("legacy.pt"), _use_new_zipfile_serialization=False)
torch.save({**tree, "unsigned": torch.tensor([1, 65535], dtype=torch.uint16)}, path("unsigned.pt"))
save_file(flatten(tree, "", {}), path("values.safetensors"))

with zipfile.ZipFile(path("zip.pt")) as source, zipfile.ZipFile(path("deflated.pt"), "w", zipfile.ZIP_DEFLATED) as to:
    for member in source.infolist():
        to.writestr(zipfile.ZipInfo(member.filename), source.read(member), zipfile.ZIP_DEFLATED)


# ---- hostile: NAME.bad, each with what its error must say in a line of hostile.txt ----
says_all = open(path("hostile.txt"), "w")


def bad(name, data, says):
    open(path(name + ".bad"), "wb").write(data)
    says_all.write(f"{name}.bad\t{says}\n")


def archive(pickled, members=(), compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as to:
        for key, data in [("data.pkl", pickled), *members]:
            to.writestr(zipfile.ZipInfo("archive/" + key), data, compression)
    return buffer.getvalue()


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def number(n):
    data = n.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data if not -2**63 <= n < 2**63 else b"\x8a\x08" + n.to_bytes(8, "little", signed=True)


def tensor(offset=0, size=(2,), stride=(1,), elements=4, key="0"):
    tup = lambda items: b"(" + b"".join(map(number, items)) + b"t"
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(elements) + b"tQ"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + tup(size) + tup(stride) + b"\x89ccollections\nOrderedDict\n)RtR."


data = [("data/0", struct.pack("<4f", 1, 2, 3, 4))]
bad("system", archive(b"\x80\x02cos\nsystem\n" + text("echo") + b"\x85R."), "names os.system")
bad("stack_global", archive(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04echo\x85R."), "names posix.system")
bad("offset_negative", archive(tensor(offset=-1), data), "leave its storage")
bad("offset_beyond", archive(tensor(offset=3), data), "leave its storage")
bad("offset_huge", archive(tensor(offset=2**62), data), "leave its storage")
bad("stride_negative", archive(tensor(stride=(-1,)), data), "stride -1")
bad("stride_huge", archive(tensor(size=(3,), stride=(2**62,)), data), "leave its storage")
bad("size_huge", archive(tensor(size=(2**40, 2**40), stride=(0, 0)), data), "overflows")
bad("size_repeats", archive(tensor(size=(2**40,), stride=(0,)), data), "repeats a storage")
bad("storage_small", archive(tensor(elements=1000), data), "is said to have 1000 elements")
bad("storage_missing", archive(tensor(key="1"), data), "storage is missing")
bad("loop", archive(b"\x80\x02]q\x00h\x00a."), "or in itself")
bad("depth", archive(b"\x80\x02" + b"]" * 20000 + b"a" * 19999 + b"."), "or in itself")
bomb = b"\x80\x02]q\x00" + b"".join(b"]q" + bytes([i + 1]) + b"(" + (b"h" + bytes([i])) * 10 + b"e" for i in range(30))
bad("memo_bomb", archive(bomb + b")" + b"\x86" * 31 + b"."), "the same lists over and over")
bad("big_endian", archive(tensor(), data + [("byteorder", b"big")]), "big-endian")
bad("torchscript", archive(tensor(), data + [("constants.pkl", b"")]), "TorchScript")
bad("set", archive(pickle.dumps({"a": {1, 2}}, 4)), "opcode 0x8f")
bad("tar", b"sys_info".ljust(257, b"\0") + b"ustar".ljust(300, b"\0"), "tar archive")
bad("other_pickle", pickle.dumps([1, 2], 2), "torch.save did not write")
bad("no_pickle", archive(b"").replace(b"data.pkl", b"dato.pkl"), "without data.pkl")

zeros = bytearray(archive(tensor(size=(1000,), elements=1000), [("data/0", bytes(4000))], zipfile.ZIP_DEFLATED))
at = zeros.rfind(b"PK\1\2")
assert zeros[at + 46:].startswith(b"archive/data/0")
huge = bytearray(zeros)
huge[at + 24:at + 28] = struct.pack("<I", 0xF0000000)
bad("bomb_huge", bytes(huge), "claims 4026531840 bytes")
overlap = bytearray(archive(tensor(), data + [("data/1", b"x" * 40)]))
central = overlap.rfind(b"PK\1\2")
first = overlap.rfind(b"PK\1\2", 0, central)
inner = overlap.find(b"PK\3\4", 10)
overlap[central + 42:central + 46] = overlap[first + 42:first + 46]
overlap[central + 46:central + 60] = b"archive/data/0"
bad("overlap", bytes(overlap), "overlap")
bad("local_beyond", bytes(overlap[:central + 42] + struct.pack("<I", 0xFFFFFFF0) + overlap[central + 46:]), "where none is")
# Streams that are longer and shorter than claimed load and fail when they are read.
for name, claimed in ("short", 3996), ("long", 4004):
    lie = bytearray(archive(tensor(size=(claimed // 4,), elements=claimed // 4), [("data/0", bytes(4000))], zipfile.ZIP_DEFLATED))
    at = lie.rfind(b"PK\1\2")
    lie[at + 24:at + 28] = struct.pack("<I", claimed)
    open(path(f"stream_{name}.pt"), "wb").write(lie)
says_all.close()
