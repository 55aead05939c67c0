#!/usr/bin/env python3
"""Seeds of the pickle fuzzer: the data.pkl of every archive in a folder.
    python3 tests/make_fuzz_seeds.py FROM TO
"""
import os, sys, zipfile

source, to = sys.argv[1:]
os.makedirs(to, exist_ok=True)
for name in os.listdir(source):
    if not zipfile.is_zipfile(os.path.join(source, name)):
        continue
    with zipfile.ZipFile(os.path.join(source, name)) as archive:
        for member in archive.namelist():
            info = archive.getinfo(member)
            if not member.endswith("data.pkl") or info.file_size > 20000:
                continue
            try:
                data = archive.read(member)
            except zipfile.BadZipFile:  # hostile on purpose
                continue
            with open(os.path.join(to, name), "wb") as out:
                out.write(data)
