#!/usr/bin/env python3
"""Writes megalith/tokenizer/unicode_ranges.h: the code points from U+0080 on that are \\p{L}, \\p{N} or \\s.

    python3 tools/make_unicode_ranges.py > megalith/tokenizer/unicode_ranges.h

\\s is the property White_Space: the separators (Z*), U+0009..U+000D and U+0085.
"""
import sys
try:
    import unicodedata2 as unicodedata  # pip install unicodedata2==16.0.0: the version of the Oniguruma in `tokenizers`
except ImportError:
    import unicodedata


def class_of(code_point: int) -> str:
    category = unicodedata.category(chr(code_point))
    if category[0] == "L":
        return "kLetter"
    if category[0] == "N":
        return "kNumber"
    if category[0] == "Z" or code_point == 0x85:
        return "kSpace"
    return "kOther"


def main() -> None:
    ranges = []  # [first, last, class]
    for code_point in range(0x80, sys.maxunicode + 1):
        name = class_of(code_point)
        if name == "kOther":
            continue
        if ranges and ranges[-1][1] == code_point - 1 and ranges[-1][2] == name:
            ranges[-1][1] = code_point
        else:
            ranges.append([code_point, code_point, name])
    short = {"kLetter": "kL", "kNumber": "kN", "kSpace": "kS"}
    items = [f"{{0x{first:04X}, 0x{last:04X}, {short[name]}}}" for first, last, name in ranges]
    rows = [", ".join(items[i:i + 4]) + "," for i in range(0, len(items), 4)]
    print(f"""#pragma once
// defines: kUnicodeRanges, made by tools/make_unicode_ranges.py from Unicode {unicodedata.unidata_version}

#include <cstdint>

#include "megalith/tokenizer/unicode_class.h"

namespace megalith::unicode_ranges {{

struct Range {{
  uint32_t first;
  uint32_t last;  ///< inclusive
  CharClass char_class;
}};

inline constexpr auto kL = CharClass::kLetter;
inline constexpr auto kN = CharClass::kNumber;
inline constexpr auto kS = CharClass::kSpace;

/// Ascending and disjoint; what is in no range is CharClass::kOther. Begins at U+0080.
// clang-format off
inline constexpr Range kUnicodeRanges[] = {{""")
    print("\n".join("    " + row for row in rows))
    print("""};
// clang-format on

}  // namespace megalith::unicode_ranges""")


if __name__ == "__main__":
    main()
