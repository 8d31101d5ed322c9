#pragma once
// defines: cuda::DecodeLayerPlaces, cuda::DecodeStackArgs, cuda::takes_decode_stack,
// cuda::decode_stack_work_bytes, cuda::decode_stack

#include <cstdint>

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// One layer; all bf16, contiguous.
struct DecodeLayerPlaces {
  const void* input_norm = nullptr;    // [hidden]
  const void* qkv = nullptr;           // [(heads + 2 groups) head_dim, hidden]
  const void* proj = nullptr;          // [hidden, heads head_dim]
  const void* pre_mlp_norm = nullptr;  // [hidden]
  const void* fc1 = nullptr;           // [2 ffn, hidden], rows [gate | linear]
  const void* fc2 = nullptr;           // [hidden, ffn]
  void* keys = nullptr;                // [length, groups, head_dim]
  void* values = nullptr;
  int32_t window = -1;  // keys before a token that it sees; -1: all
};

/// They travel as parameters of the kernel, of which there may be 32 KB.
constexpr int kMaxDecodeLayers = 128;

/// See ops/decode_stack.h.
struct DecodeStackArgs {
  int32_t num_layers = 0, hidden = 0, num_heads = 0, num_groups = 0, head_dim = 0, ffn = 0;
  int32_t num_ids = 0;        // rows of the embedding
  int32_t num_logits = 0;     // rows of the head
  int32_t num_positions = 0;  // rows of cos and sin
  float eps = 0, scale = 0;
  const void* embedding = nullptr;
  const void* final_norm = nullptr;
  const void* head = nullptr;
  const float* cos = nullptr;  // [num_positions, head_dim / 2]
  const float* sin = nullptr;
  const int32_t* id = nullptr;
  const int32_t* position = nullptr;
  const int32_t* first_key = nullptr;
  const int32_t* length = nullptr;  // tokens in the cache before this one
  void* logits = nullptr;
  void* work = nullptr;  // decode_stack_work_bytes(), aligned to 256 bytes
  DecodeLayerPlaces layers[kMaxDecodeLayers];
};

/// A GPU with bulk copies (compute capability 9.0 and later), heads of 64 or 128, at most four of them to a
/// group, rows of whole 16 bytes, and room in shared memory for two pieces of a weight to every warp.
bool takes_decode_stack(const DecodeStackArgs& args, Exec& exec);
int64_t decode_stack_work_bytes(const DecodeStackArgs& args, Exec& exec);
void decode_stack(const DecodeStackArgs& args, Exec& exec);

}  // namespace megalith::cuda
