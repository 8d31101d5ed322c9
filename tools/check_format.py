#!/usr/bin/env python3
"""Formatting by clang-format 14 and .clang-format; `make format` repairs.

    python3 tools/check_format.py          # lists what differs, exit 1
    python3 tools/check_format.py --fix    # rewrites the files
"""
import pathlib
import shutil
import subprocess
import sys

FOLDERS = ["megalith", "tests", "bench"]
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
VERSION = "14"


def find_formatter() -> str | None:
    for name in (f"clang-format-{VERSION}", "clang-format"):
        path = shutil.which(name)
        if path is None:
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if f"version {VERSION}." in version:
            return path
    return None


def main() -> int:
    if sys.argv[1:] not in ([], ["--fix"]):
        print(__doc__, file=sys.stderr)
        return 2
    formatter = find_formatter()
    if formatter is None:
        print(f"clang-format {VERSION} is missing; `apt-get install clang-format-{VERSION}` or tools/setup.sh installs it")
        return 1
    root = pathlib.Path(__file__).resolve().parent.parent
    files = [p for folder in FOLDERS for p in sorted((root / folder).rglob("*")) if p.suffix in SUFFIXES]
    if not files:
        print("no source file was found")
        return 1
    mode = ["-i"] if sys.argv[1:] else ["--dry-run", "-Werror"]
    result = subprocess.run([formatter, *mode, "--style=file", *map(str, files)], capture_output=True, text=True)
    if result.returncode != 0:
        wrong = sorted({line.split(":")[0] for line in result.stderr.splitlines() if " error: " in line})
        for path in wrong:
            print(f"{pathlib.Path(path).relative_to(root)}: not formatted")
        print(result.stderr if not wrong else "`make format` repairs them")
        return 1
    print(f"{len(files)} files are formatted" if not sys.argv[1:] else f"{len(files)} files formatted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
