#!/usr/bin/env python3
"""Sources with OpenMP loops also compile without OpenMP, as under the thread sanitizer: a parameter that only a pragma names
is unused there, and warnings are errors. Takes the commands of a build directory, once for each source, and writes nothing.

    python3 tools/check_without_openmp.py build/cpu
"""
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys

# A header that was compiled ahead with OpenMP does not fit, and is read as it is.
INSTEAD = {"-fopenmp": ["-fopenmp-simd", "-Wno-unknown-pragmas"], "-Winvalid-pch": [], "-c": ["-fsyntax-only"]}


def has_loops(source: str) -> bool:
    return "#pragma omp parallel" in pathlib.Path(source).read_text(encoding="utf-8")


def without_openmp(command: str) -> list[str]:
    words: list[str] = []
    is_output = False
    for word in shlex.split(command):
        if is_output or word == "-o":
            is_output = word == "-o"
            continue
        words += INSTEAD.get(word, [word])
    return words


def compile_errors(entry: dict) -> str:
    run = subprocess.run(without_openmp(entry["command"]), cwd=entry["directory"], capture_output=True, text=True, check=False)
    return run.stderr if run.returncode != 0 else ""


def main() -> int:
    entries = json.loads((pathlib.Path(sys.argv[1]) / "compile_commands.json").read_text(encoding="utf-8"))
    by_source = {entry["file"]: entry for entry in entries if entry["file"].endswith(".cpp")}
    chosen = [entry for source, entry in by_source.items() if "/megalith/" in source and has_loops(source)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        failures = [text for text in pool.map(compile_errors, chosen) if text]
    for text in failures:
        print(text, file=sys.stderr)
    print(f"{len(chosen) - len(failures)} of {len(chosen)} sources with OpenMP loops compile without it")
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
