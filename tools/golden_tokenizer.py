#!/usr/bin/env python3
"""Writes tests/data/tokenizer/: what Hugging Face `tokenizers` trains and encodes, for our tests to agree with.

    pip install tokenizers==0.23.3 && python3 tools/golden_tokenizer.py

corpus.txt          made-up source code with some other scripts in it
tokenizer.json      byte-level BPE that `tokenizers` learned from it
golden_ids.json     texts, and their ids under each of the splitting patterns
"""
import json
import pathlib
import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/data/tokenizer"
VOCAB_SIZE = 560
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
WORDS = ("return const auto size_t vector string template class operator include namespace begin end static inline "
         "token buffer stream tensor gradient layer don't we'll it's they've I'd count index value result error "
         "naïve Größe été слово данные 模型 学习 訓練 한국어").split()
SIGNS = ["(", ")", "();", "{", "}", "->", "::", "==", "+=", "//", "&&", "<<", "[0]", "42", "1024", "3.14", "2026"]
PIECES = [" ", "  ", "\n", "\r", "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "\x1c", "\u200b", "'s", "'S", "'\u017f", "'re",
          "'LL", "'vE", "'d", "'x", "1", "23", "4567", "\u0663", "\u00bd", "\u2167", "abc", "É", "é", "漢字", "한", "ß", "\u017f",
          "_", "::", "//", "////", "🙂", "e\u0301", "\u0bbe", "\ufb00", "K", "İ", "x", "'", '"', "\u2028", "\x0b", "\x7f",
          "\u02c8", "\u00aa", "\u00b2", "$ ", "return", " const", "    "]


def make_corpus(rng: random.Random) -> str:
    lines = []
    for _ in range(500):
        items = [rng.choice(WORDS if rng.random() < 0.7 else SIGNS) for _ in range(rng.randint(0, 12))]
        lines.append("  " * rng.randint(0, 4) + rng.choice([" ", "", "_"]).join(items) + rng.choice(["", ";", " {"]))
    return "\n".join(lines) + "\n"


def make_texts(rng: random.Random) -> list:
    texts = ["", " ", "\n\n", "Hello world", "a" * 200, "ab" * 100, " " * 130, "/" * 70, "\n" * 9 + "x", "1234567 12 1"]
    texts += ["".join(rng.choice(PIECES) for _ in range(rng.randint(1, 24))) for _ in range(150)]
    return texts


def with_split(tokenizer: Tokenizer, regex: str) -> Tokenizer:
    spec = json.loads(tokenizer.to_str())
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    return Tokenizer.from_str(json.dumps(spec))


def main() -> None:
    rng = random.Random(20)
    FOLDER.mkdir(parents=True, exist_ok=True)
    corpus = make_corpus(rng)
    (FOLDER / "corpus.txt").write_text(corpus, newline="")

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, min_frequency=2, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([corpus], trainer)
    (FOLDER / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str())), encoding="utf-8")

    texts = make_texts(rng)
    golden = {"texts": texts}
    for name, encoder in [("gpt2", tokenizer), ("llama3", with_split(tokenizer, LLAMA3)),
                          ("qwen2", with_split(tokenizer, QWEN2))]:
        golden[name] = [encoder.encode(text).ids for text in texts]
    (FOLDER / "golden_ids.json").write_text(json.dumps(golden), encoding="utf-8")


if __name__ == "__main__":
    main()
