#!/usr/bin/env python3
"""Golden orders of samples for tests/data/golden_index_test.cpp, from Megatron Core's own data set classes.

    python3 -m venv venv && venv/bin/pip install numpy && venv/bin/pip install --no-deps megatron-core==0.16.1
    venv/bin/python tools/golden_data_index.py > tests/data/golden_index.json

Only the data set code of Megatron Core is run. It needs neither tensors nor ranks, so a few names stand in for
torch and for the package's __init__, which would import the whole of it.
"""
import importlib.util
import json
import pathlib
import sys
import tempfile
import types


def stand_in_for_torch():
    torch = types.ModuleType("torch")
    torch.Tensor = type("Tensor", (), {})
    torch.utils = types.ModuleType("torch.utils")
    torch.utils.data = types.ModuleType("torch.utils.data")
    torch.utils.data.Dataset = object
    torch.distributed = types.ModuleType("torch.distributed")
    torch.distributed.is_initialized = lambda: False
    torch.distributed.get_rank = lambda: 0
    for name in ("torch", "torch.utils", "torch.utils.data", "torch.distributed"):
        module = torch
        for part in name.split(".")[1:]:
            module = getattr(module, part)
        sys.modules[name] = module


def megatron_datasets_only():
    root = pathlib.Path(next(iter(importlib.util.find_spec("megatron").submodule_search_locations)))
    core = types.ModuleType("megatron.core")
    core.__path__ = [str(root / "core")]
    sys.modules["megatron.core"] = core
    utils = types.ModuleType("megatron.core.utils")
    utils.log_single_rank = lambda *args, **kwargs: None
    utils.is_te_min_version = lambda *args, **kwargs: False
    sys.modules["megatron.core.utils"] = utils
    tokenizers = types.ModuleType("megatron.core.tokenizers")
    tokenizers.MegatronTokenizerBase = object
    sys.modules["megatron.core.tokenizers"] = tokenizers


stand_in_for_torch()
megatron_datasets_only()

import numpy  # noqa: E402
from megatron.core.datasets.blended_dataset import BlendedDataset  # noqa: E402
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder  # noqa: E402
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig, MockGPTDataset  # noqa: E402
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder  # noqa: E402
from megatron.core.datasets.utils import get_blend_from_list  # noqa: E402


class Tokenizer:
    vocab_size = 1000
    eod = 0
    unique_identifiers = {"class": "Tokenizer"}


# Each data set: sequences, longest sequence, salt. The test makes the same ones from the same formulas.
DATASETS = {
    "a": (37, 50, 1),
    "b": (211, 90, 2),
    "c": (5, 300, 3),
    "d": (1000, 20, 4),
    "e": (64, 64, 5),
    "f": (90, 33, 6),
    "g": (17, 111, 7),
    "h": (49, 71, 8),
    "i": (130, 12, 9),
}


def length(i, longest, salt):
    return 1 + (i * i * 7919 + i * 104729 + salt * 31) % longest


def token(i, j, salt):
    return 1 + (i * 131 + j * 17 + salt) % 999


def case(data_path, seq_length, sizes, split="969, 30, 1", seed=1234, drop_last=True, extra=True):
    return dict(data_path=data_path.split(), seq_length=seq_length, sizes=sizes, split=split, seed=seed,
                drop_last_partial_validation_sequence=drop_last, add_extra_token_to_sequence=extra)


CASES = [
    case("a", 16, [40, 3, None], split="60,30,10"),
    case("a", 16, [400, 30, 5], split="60,30,10"),  # several epochs
    case("b", 32, [310, 20, 20], split="8,1,1", seed=7),
    case("b", 32, [None, None, None], split="8,1,1", seed=7),  # one epoch
    case("c", 8, [200, None, None], split="1"),  # few, long sequences
    case("c", 1000, [3, None, None], split="1"),  # samples longer than an epoch
    case("d", 64, [500, 12, None], split="98,2", seed=0),  # many short sequences in a sample
    case("d", 64, [161, 4, None], split="98,2", seed=99),  # a small part of a last epoch
    case("e", 16, [50, 40, 50], split="0.5,0.25,0.25"),  # halves round to even
    case("b", 32, [100, None, 20], split="8,1,1", drop_last=False),  # a partial last validation sample
    case("b", 32, [100, 20, 20], split="8,1,1", extra=False),
    case("0.3 a 0.5 b 0.2 c", 16, [1000, 20, 20], split="60,20,20"),
    case("1 a 1 b 1 d", 16, [777, 100, 30], split="60,20,20", seed=5),
    case("a b e", 16, [200, 10, 5], split="60,20,20"),  # no weights, a size
    case("a b d", 16, [None, None, None], split="60,20,20"),  # no weights, exhaustive
    case("a b d e f g h i", 16, [100000, 100, None], split="90,10", seed=3),
    case("3 a 1 b 4 d 1 e 5 f 9 g 2 h 6 i 5 c", 16, [3000, 300, 0], split="40,60", seed=3),
    case("0.1 a 0.1 b 0.1 d 0.1 e 0.1 f 0.1 g 0.1 h 0.1 i", 8, [4000, 300, 0], split="40,60"),
]
MOCK_CASES = [dict(seq_length=4096, sizes=[100, 10, None], seed=1234), dict(seq_length=128, sizes=[1000000, 5, 5], seed=42)]


def write(directory):
    for name, (count, longest, salt) in DATASETS.items():
        prefix = str(directory / name)
        builder = IndexedDatasetBuilder(prefix + ".bin", dtype=numpy.uint16)
        for i in range(count):
            n = length(i, longest, salt)
            tokens = numpy.array([token(i, j, salt) for j in range(n)], dtype=numpy.uint16)
            builder.add_document(tokens, [n])
        builder.finalize(prefix + ".idx")


def checksum(values):
    h = 0
    for value in values:
        h = (h * 1000003 + int(value) + 1) % 2**64
    return f"{h:016x}"


def described(array):
    flat = numpy.asarray(array).reshape(-1)
    return dict(dtype=str(flat.dtype), shape=list(numpy.asarray(array).shape), first=[int(v) for v in flat[:6]],
                checksum=checksum(flat))


def text(dataset, sample):
    if isinstance(dataset, BlendedDataset):
        part = dataset.datasets[dataset.dataset_index[sample]]
        return text(part, dataset.dataset_sample_index[sample])
    return dataset._query_document_sample_shuffle_indices(sample)[0]


def result(dataset):
    if dataset is None:
        return None
    stride = max(1, len(dataset) // 64)
    shown = [t for s in range(0, len(dataset), stride) for t in text(dataset, s)]
    found = dict(samples=len(dataset), stride=stride, text_checksum=checksum(shown))
    if isinstance(dataset, BlendedDataset):
        found.update(dataset_index=described(dataset.dataset_index),
                     dataset_sample_index=described(dataset.dataset_sample_index))
    else:
        found.update(document_index=described(dataset.document_index), sample_index=described(dataset.sample_index),
                     shuffle_index=described(dataset.shuffle_index))
    return found


def run(directory, wanted):
    # A cache of its own: the reference's cache key leaves out some of what the indices depend on.
    cache = tempfile.mkdtemp(dir=directory)
    blend = [str(directory / x) if x in DATASETS else x for x in wanted["data_path"]]
    config = GPTDatasetConfig(
        random_seed=wanted["seed"], sequence_length=wanted["seq_length"], blend=get_blend_from_list(blend),
        split=wanted["split"], tokenizer=Tokenizer(), reset_position_ids=False, reset_attention_mask=False,
        eod_mask_loss=False, create_attention_mask=False, path_to_cache=cache,
        drop_last_partial_validation_sequence=wanted["drop_last_partial_validation_sequence"],
        add_extra_token_to_sequence=wanted["add_extra_token_to_sequence"])
    built = BlendedMegatronDatasetBuilder(GPTDataset, wanted["sizes"], lambda: True, config).build()
    return dict(wanted, results=[result(d) for d in built])


def run_mock(wanted):
    config = GPTDatasetConfig(
        random_seed=wanted["seed"], sequence_length=wanted["seq_length"], tokenizer=Tokenizer(),
        reset_position_ids=False, reset_attention_mask=False, eod_mask_loss=False, create_attention_mask=False)
    built = BlendedMegatronDatasetBuilder(MockGPTDataset, wanted["sizes"], lambda: True, config).build()
    return dict(wanted, results=[result(d) for d in built])


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        write(directory)
        golden = dict(
            source="megatron-core 0.16.1 through tools/golden_data_index.py",
            datasets={k: list(v) for k, v in DATASETS.items()},
            idx_checksum={k: checksum((directory / f"{k}.idx").read_bytes()) for k in DATASETS},
            bin_checksum={k: checksum((directory / f"{k}.bin").read_bytes()) for k in DATASETS},
            cases=[run(directory, c) for c in CASES], mock_cases=[run_mock(c) for c in MOCK_CASES])
    # One case a line.
    rows = []
    for key, value in golden.items():
        if key.endswith("cases"):
            value = "[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in value) + "\n]"
        else:
            value = json.dumps(value)
        rows.append(f"{json.dumps(key)}: {value}")
    print("{\n" + ",\n".join(rows) + "\n}")


if __name__ == "__main__":
    main()
