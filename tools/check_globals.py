#!/usr/bin/env python3
"""No mutable globals: rank threads share the process, so what a rank needs hangs on its Exec and its Mesh.

Reads the object files of megalith/ in a build directory and lists every symbol that lies in a section that stays
writable while the program runs (.data, .bss, .tdata, .tbss). Constants that need relocation (.data.rel.ro: tables of
strings, vtables) become read-only before main and are fine.

    python3 tools/check_globals.py build/cpu
"""
import pathlib
import re
import subprocess
import sys

WRITABLE = re.compile(r"^\.(data|bss|tdata|tbss|ldata|lbss|tm_clone_table|common)(\.|$)|^COMMON$|^\*COM\*$")
READ_ONLY = re.compile(r"^\.data\.rel\.ro(\.|$)")
# objdump -t: value, flags (7 columns), section, size, name
SYMBOL = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\t([0-9a-f]+)\s+(?:\.hidden |\.internal |\.protected )?(.+)$")
# What the compiler itself adds: for sanitizers, and pointers to the types that a catch names.
COMPILER = re.compile(r"^(__odr_asan|__sanitizer|__asan|__tsan|__ubsan|\.L|\$|DW\.ref\.)")


def writable_symbols(objects: list[pathlib.Path]) -> list[str]:
    listing = subprocess.run(["objdump", "-t", "-C", *map(str, objects)], capture_output=True, text=True, check=True)
    found = []
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
        is_data = WRITABLE.match(section) and not READ_ONLY.match(section)
        is_marker = "d" in flags or "f" in flags  # section and file symbols
        if is_data and not is_marker and int(size, 16) > 0 and not COMPILER.match(name):
            found.append(f"{place}: {name} ({int(size, 16)} bytes in {section})")
    return found


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    build = pathlib.Path(sys.argv[1])
    objects = [p for p in sorted(build.rglob("*.o")) if "/megalith/" in p.as_posix() and "/CMakeFiles/mg_" in p.as_posix()]
    if not objects:
        print(f"{build}: holds no object files of megalith/; build first")
        return 1
    cache = build / "CMakeCache.txt"
    sanitized = cache.exists() and re.search(r"^MEGALITH_SANITIZE:\w+=.+$", cache.read_text(), re.MULTILINE)
    if sanitized:  # sanitizers turn string constants into writable data of their own
        print("skipped: this build is instrumented by a sanitizer; the plain presets check the same sources")
        return 0
    found = writable_symbols(objects)
    print("\n".join(found) if found else f"{len(objects)} object files hold no mutable globals")
    if found:
        print("mutable globals are not allowed: hang the state on an object that its user owns")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
