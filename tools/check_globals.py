#!/usr/bin/env python3
"""Two rules that only object files show. Reads those of megalith/ in a build directory.

No mutable globals: rank threads share the process, so what a rank needs hangs on its Exec and its Mesh. Every symbol in a
section that stays writable while the program runs (.data, .bss, .tdata, .tbss) is an error. Constants that need relocation
(.data.rel.ro: tables of strings, vtables) become read-only before main and are fine.

No weak symbols in objects of one instruction set (*.simd.cpp for AVX2 and AVX-512): the linker keeps one copy of a weak
function for the whole program and may keep this one, which stops a processor without these instructions.

    python3 tools/check_globals.py build/cpu
"""
import pathlib
import re
import subprocess
import sys
from typing import Iterator, NamedTuple

WRITABLE = re.compile(r"^\.(data|bss|tdata|tbss|ldata|lbss|tm_clone_table|common)(\.|$)|^COMMON$|^\*COM\*$")
READ_ONLY = re.compile(r"^\.data\.rel\.ro(\.|$)")
# objdump -t: value, flags (7 columns), section, size, name
SYMBOL = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\t([0-9a-f]+)\s+(?:\.hidden |\.internal |\.protected )?(.+)$")
# What the compiler itself adds: for sanitizers, and pointers to the types that a catch names.
COMPILER = re.compile(r"^(__odr_asan|__sanitizer|__asan|__tsan|__ubsan|\.L|\$|DW\.ref\.)")
# What nvcc adds for its kernels, and what the inline functions of NVIDIA's headers keep.
VENDOR = re.compile(
    r"^(guard variable for )?(__device_stub__|__cuda|__nv_|_ZL?\d*__nv_|cudnn_frontend::|cub::|nvtx3::)"
    r"|^(nvtxGlobals_v3|InitializeInjectionNvtx2_fnptr)$"
)
CUDA_FOLDER = re.compile(r"/kernels/cuda/")
ONE_INSTRUCTION_SET = re.compile(r"/CMakeFiles/mg_\w+_avx\d+\.dir/")


class Symbol(NamedTuple):
    place: str  # object file
    flags: str
    section: str
    bytes: int
    name: str


def defined_symbols(objects: list[pathlib.Path]) -> Iterator[Symbol]:
    listing = subprocess.run(["objdump", "-t", "-C", *map(str, objects)], capture_output=True, text=True, check=True)
    place = ""
    for line in listing.stdout.splitlines():
        header = re.match(r"^(.+):\s+file format", line)
        if header:
            place = header.group(1)
            continue
        match = SYMBOL.match(line)
        if not match:
            continue
        flags, section, size, name = match.groups()
        is_marker = "d" in flags or "f" in flags  # section and file symbols
        if not is_marker and section != "*UND*" and not COMPILER.match(name):
            yield Symbol(place, flags, section, int(size, 16), name)


def is_vendors(symbol: Symbol) -> bool:
    is_stream_init = symbol.name == "std::__ioinit" and CUDA_FOLDER.search(symbol.place) is not None
    return is_stream_init or VENDOR.match(symbol.name) is not None


def is_mutable(symbol: Symbol) -> bool:
    if is_vendors(symbol):
        return False
    return bool(WRITABLE.match(symbol.section)) and not READ_ONLY.match(symbol.section) and symbol.bytes > 0


def is_weak_in_one_instruction_set(symbol: Symbol) -> bool:
    is_shared = symbol.flags[1] == "w" or symbol.flags[0] == "u"  # u: one copy per process
    return is_shared and bool(ONE_INSTRUCTION_SET.search(symbol.place))


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    build = pathlib.Path(sys.argv[1]).resolve()
    objects = [p for p in sorted(build.rglob("*.o")) if "/megalith/" in p.as_posix() and "/CMakeFiles/mg_" in p.as_posix()]
    if not objects:
        print(f"{build}: holds no object files of megalith/; build first")
        return 1
    cache = build / "CMakeCache.txt"
    sanitized = cache.exists() and re.search(r"^MEGALITH_SANITIZE:\w+=.+$", cache.read_text(), re.MULTILINE)
    if sanitized:  # sanitizers turn string constants into writable data of their own
        print("skipped: this build is instrumented by a sanitizer; the plain presets check the same sources")
        return 0
    symbols = list(defined_symbols(objects))
    mutable = [s for s in symbols if is_mutable(s)]
    weak = [s for s in symbols if is_weak_in_one_instruction_set(s)]
    for s in mutable:
        print(f"{s.place}: {s.name} ({s.bytes} bytes in {s.section})")
    if mutable:
        print("mutable globals are not allowed: hang the state on an object that its user owns")
    for s in weak:
        print(f"{s.place}: {s.name} is a weak symbol")
    if weak:
        print("a *.simd.cpp defines functions of internal linkage: unnamed namespace, static, or always_inline")
    if mutable or weak:
        return 1
    print(f"{len(objects)} object files hold no mutable globals; those of one instruction set define no weak symbols")
    return 0


if __name__ == "__main__":
    sys.exit(main())
