#!/usr/bin/env python3
"""The order of the layers: a folder of megalith/ includes its own files and folders above it, never below, never sideways.

    python3 tools/check_layers.py
"""
import pathlib
import re
import sys

# One row a level, top to bottom; folders of one row do not see each other.
LEVELS = [
    ["base"],
    ["core"],
    ["io", "comm"],
    ["config"],
    ["tokenizer", "kernels", "report"],
    ["ops"],
    ["autograd"],
    ["parallel", "data"],
    ["nn", "optim"],
    ["models"],
    ["checkpoint"],
    ["train", "infer"],
    ["post", "serve", "plan"],
    ["rl"],
    ["cli"],
]
LEVEL_OF = {folder: level for level, folders in enumerate(LEVELS) for folder in folders}
INCLUDE = re.compile(r'^\s*#\s*include\s+"megalith/([a-z_]+)/')


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    wrong = []
    files = [p for p in sorted((root / "megalith").rglob("*")) if p.suffix in {".h", ".cpp", ".cu", ".cuh"}]
    for path in files:
        parts = path.relative_to(root / "megalith").parts
        if len(parts) == 1:  # main.cpp sees everything
            continue
        if parts[0] not in LEVEL_OF:
            wrong.append(f"{path.relative_to(root)}: the folder megalith/{parts[0]} is not in the list of layers")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            other = match.group(1)
            allowed = other == parts[0] or (other in LEVEL_OF and LEVEL_OF[other] < LEVEL_OF[parts[0]])
            if not allowed:
                wrong.append(f"{path.relative_to(root)}:{number}: megalith/{parts[0]} may not include megalith/{other}")
    if not files:
        wrong.append("no source file was found")
    print("\n".join(wrong) if wrong else f"{len(files)} files keep the order of the layers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
