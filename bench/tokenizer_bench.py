#!/usr/bin/env python3
"""Encoding beside Hugging Face `tokenizers`: the same tokenizer.json, documents and threads; the ids must agree in number.

    python3 bench/tokenizer_bench.py BENCH_TOKENIZER TOKENIZER_JSON TEXT_FILE [THREADS]     (pip install tokenizers)
"""
import os
import re
import subprocess
import sys
import time

DOCUMENT_BYTES = 20000


def documents_of(text: bytes) -> list:
    documents = []
    begin = 0
    while begin < len(text):
        line_end = text.find(b"\n", begin + DOCUMENT_BYTES)
        end = len(text) if line_end < 0 else line_end + 1
        documents.append(text[begin:end].decode())
        begin = end
    return documents


def main() -> int:
    bench, tokenizer_json, text_file = sys.argv[1:4]
    threads = sys.argv[4] if len(sys.argv) > 4 else "1"
    os.environ["RAYON_NUM_THREADS"] = threads
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if threads == "1" else "true"
    from tokenizers import Tokenizer

    line = subprocess.run([bench, tokenizer_json, text_file, threads], check=True, capture_output=True, text=True).stdout
    ours = {key: float(value) for key, value in re.findall(r"(tokens|seconds) ([0-9.]+)", line)}
    print("megalith:    ", line.strip())

    with open(text_file, "rb") as file:
        text = file.read()
    documents = documents_of(text)
    tokenizer = Tokenizer.from_file(tokenizer_json)
    begin = time.perf_counter()
    encodings = tokenizer.encode_batch_fast(documents)
    seconds = time.perf_counter() - begin
    count = sum(len(encoding.ids) for encoding in encodings)
    print(f"hugging face: threads {threads} tokens {count} seconds {seconds:.3f} MB/s {len(text) / seconds / 1e6:.1f} "
          f"Mtokens/s {count / seconds / 1e6:.2f}")
    print(f"ratio {seconds / ours['seconds']:.1f}")
    return 0 if count == int(ours["tokens"]) else 1


if __name__ == "__main__":
    sys.exit(main())
