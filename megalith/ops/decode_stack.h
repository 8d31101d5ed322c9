#pragma once
// defines: DecodeLayer, DecodeStack, takes_decode_stack, decode_stack

#include <vector>

#include "megalith/core/exec.h"

namespace megalith {

/// Of a layer x += attention(norm(x)); x += fc2(swiglu(fc1(norm(x)))), with RMS norms, rotary embedding and
/// no biases; bf16, contiguous.
struct DecodeLayer {
  Tensor input_norm;    // [H]
  Tensor qkv;           // [(N + 2K) D, H], rows [Q | K | V]
  Tensor proj;          // [H, N D]
  Tensor pre_mlp_norm;  // [H]
  Tensor fc1;           // [2F, H], rows [gate | linear]
  Tensor fc2;           // [H, F]
  Tensor keys;          // [1, L, K, D]: room for L tokens
  Tensor values;        // [1, L, K, D]
  int64_t window = -1;  // keys before a token that it sees; -1: all
};

struct DecodeStack {
  int64_t num_heads = 0;  // N
  double eps = 1e-5;      // of the norms
  Tensor embedding;       // [V, H]
  std::vector<DecodeLayer> layers;
  Tensor final_norm;         // [H]
  Tensor head;               // [P, H]
  Tensor cos, sin;           // [positions, D / 2] f32
  Tensor id, position;       // [1] i32
  Tensor first_key, length;  // [1] i32: keys before it are hidden; tokens in the cache so far, < L
  Tensor logits;             // [1, P] out
};

/// Whether decode_stack() can do it: on a GPU with bulk copies (compute capability 9.0 and later), bf16, D 64
/// or 128, N / K up to 4, H up to 8192, sizes in multiples of 8, up to 128 layers.
bool takes_decode_stack(const DecodeStack& stack, Exec& exec);

/// The forward of one token through all layers as one kernel: its key and value are appended to the cache,
/// its logits written. It reads each weight once and does little else, so what counts is that the reading
/// never stops: copies of the weights run ahead while the blocks of the kernel wait for each other. Every
/// intermediate result is rounded where the layers one by one round it; sums are in another order.
void decode_stack(const DecodeStack& stack, Exec& exec);

}  // namespace megalith
