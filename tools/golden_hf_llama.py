#!/usr/bin/env python3
"""Golden numbers of small Hugging Face models for tests/models: logits, loss and gradients in f32.

    python3 -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python tools/golden_hf_llama.py tests/data/hf

The weights are not stored. Element i (row-major) of the tensor called NAME is

    scale * (2 u - 1), + 1 for norm weights,  with u = (splitmix64(fnv1a64(NAME) + i) >> 11) * 2^-53

in double, rounded to f32; scale is 0.15, and 0.3 for norm weights and biases. Token i of the batch [2, 24] is
splitmix64(fnv1a64("tokens") + i) mod vocab_size.
Written for each model: config.json as transformers saves it, logits.npy (every 8th entry of the vocabulary), golden.json
(names and shapes of the weights, loss, norm of the logits, norm and five entries of every gradient).
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
import safetensors.torch
import torch
import transformers
from transformers import GPT2Config, LlamaConfig, MistralConfig, MixtralConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig

BATCH, SEQ, STRIDE, SAMPLES = 2, 24, 8, 5

SMALL = dict(vocab_size=320, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
             num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
MODELS = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "llama3_tied": LlamaConfig(**SMALL | dict(num_hidden_layers=2, head_dim=16, vocab_size=317), tie_word_embeddings=True,
                               rope_parameters=LLAMA3),
    "llama_bias": LlamaConfig(**SMALL | dict(num_hidden_layers=1), attention_bias=True, mlp_bias=True,
                              tie_word_embeddings=False),
    "mistral": MistralConfig(**SMALL | dict(num_hidden_layers=1), sliding_window=None, tie_word_embeddings=False),
    "mistral_window": MistralConfig(**SMALL | dict(num_hidden_layers=2), sliding_window=7, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SMALL | dict(num_hidden_layers=2), tie_word_embeddings=True),
    "qwen2_window": Qwen2Config(**SMALL | dict(num_hidden_layers=2), tie_word_embeddings=True, use_sliding_window=True,
                                sliding_window=5, max_window_layers=1),
    "qwen3": Qwen3Config(**SMALL | dict(num_hidden_layers=1), head_dim=16, tie_word_embeddings=True),
    "qwen3_moe": Qwen3MoeConfig(**SMALL, head_dim=16, tie_word_embeddings=False, num_experts=6, num_experts_per_tok=2,
                                moe_intermediate_size=48, mlp_only_layers=[1], norm_topk_prob=False),
    "mixtral": MixtralConfig(**SMALL | dict(num_hidden_layers=2), tie_word_embeddings=False, num_local_experts=4,
                             num_experts_per_tok=2, sliding_window=None),
    "gpt2": GPT2Config(vocab_size=320, n_embd=64, n_layer=2, n_head=4, n_positions=128, resid_pdrop=0.0, embd_pdrop=0.0,
                       attn_pdrop=0.0),
}


def fnv1a64(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return value


def splitmix64(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = state + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def random_words(name: str, count: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return splitmix64(np.uint64(fnv1a64(name)) + np.arange(count, dtype=np.uint64))


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    unit = (random_words(name, int(np.prod(shape))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    is_norm = "norm" in name or ".ln_" in name
    small = 0.15 if len(shape) > 1 else 0.3
    values = small * (2 * unit - 1) + (1 if is_norm and name.endswith("weight") else 0)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def as_stored(name: str, tensor: torch.Tensor, model_type: str) -> list[tuple[str, torch.Tensor]]:
    """What a parameter is called in a file, where experts lie one by one: names and views."""
    if model_type == "mixtral":
        name = name.replace(".mlp.gate.", ".block_sparse_moe.gate.")
    if ".mlp.experts." not in name:
        return [(name, tensor)]
    place, kind = name.replace(".mlp.", ".block_sparse_moe." if model_type == "mixtral" else ".mlp.").rsplit(".", 1)
    gate, up, down = ("w1", "w3", "w2") if model_type == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    stored = []
    for e, matrix in enumerate(tensor):
        if kind == "down_proj":
            stored.append((f"{place}.{e}.{down}.weight", matrix))
        else:
            half = matrix.shape[0] // 2
            stored += [(f"{place}.{e}.{gate}.weight", matrix[:half]), (f"{place}.{e}.{up}.weight", matrix[half:])]
    return stored


def check_names(model: transformers.PreTrainedModel, parameters: dict) -> None:
    """transformers itself writes these names and values."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        stored = {}
        for file in pathlib.Path(directory).glob("*.safetensors"):
            stored |= safetensors.torch.load_file(file)
    for name, value in stored.items():
        assert torch.equal(value, parameters[name]), name
    assert stored.keys() == parameters.keys(), stored.keys() ^ parameters.keys()


def golden(config: transformers.PretrainedConfig, out: pathlib.Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    config.architectures = [f"{type(config).__name__.removesuffix('Config')}"
                            f"{'LMHeadModel' if config.model_type == 'gpt2' else 'ForCausalLM'}"]
    config.save_pretrained(out)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    named = list(model.named_parameters())
    parameters = dict(item for name, p in named for item in as_stored(name, p.data, config.model_type))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weight(name, tuple(parameter.shape)))
    check_names(model, parameters)
    model.eval()  # no dropout
    tokens = torch.from_numpy((random_words("tokens", BATCH * SEQ) % np.uint64(config.vocab_size)).astype(np.int64))
    tokens = tokens.reshape(BATCH, SEQ)
    result = model(input_ids=tokens, labels=tokens)  # the labels are shifted inside
    result.loss.backward()
    gradients = dict(item for name, p in named for item in as_stored(name, p.grad, config.model_type))
    logits = result.logits.detach()
    np.save(out / "logits.npy", logits[:, :, ::STRIDE].contiguous().numpy())

    def entries(gradient: torch.Tensor) -> dict:
        flat = gradient.reshape(-1)
        places = [int(word % np.uint64(flat.numel())) for word in random_words("places", SAMPLES)]
        return {str(place): float(flat[place]) for place in places}

    report = {
        "made_with": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "batch": BATCH,
        "seq": SEQ,
        "logits_stride": STRIDE,
        "logits_norm": float(logits.double().norm()),
        "loss": float(result.loss.detach()),
        "shapes": {name: list(p.shape) for name, p in parameters.items()},
        "gradient_norms": {name: float(g.double().norm()) for name, g in gradients.items()},
        "gradient_entries": {name: entries(g) for name, g in gradients.items()},
    }
    (out / "golden.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"{out}: loss {report['loss']:.6f}, |logits| {report['logits_norm']:.4f}")


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    for name, config in MODELS.items():
        golden(config, pathlib.Path(sys.argv[1]) / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
