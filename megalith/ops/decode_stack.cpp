#include "megalith/ops/decode_stack.h"

#include <cmath>

#include "megalith/base/math.h"
#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/decode_stack.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

constexpr const char* kOp = "decode_stack";

void check_weight(const char* name, const Tensor& x, const Shape& shape, const Exec& exec) {
  check_tensor(kOp, name, x, DType::kBF16, shape, exec);
  check_contiguous(kOp, name, x);
}

void check_number(const char* name, const Tensor& x, const Exec& exec) {
  check_tensor(kOp, name, x, DType::kI32, {1}, exec);
}

void check(const DecodeStack& s, const Exec& exec) {
  MG_CHECK(!s.layers.empty(), "{}: there are no layers", kOp);
  const DecodeLayer& first = s.layers.front();
  MG_CHECK(first.keys.defined() && first.keys.rank() == 4 && first.fc2.defined() && first.fc2.rank() == 2,
           "{}: keys are [1, L, K, D], fc2 is [H, F]", kOp);
  MG_CHECK(s.embedding.defined() && s.embedding.rank() == 2 && s.head.defined() && s.head.rank() == 2 &&
               s.cos.defined() && s.cos.rank() == 2,
           "{}: embedding and head are [rows, H], cos is [positions, D / 2]", kOp);
  const Shape cache = first.keys.shape();
  const int64_t hidden = first.fc2.dim(0), ffn = first.fc2.dim(1), groups = cache[2], head_dim = cache[3];
  for (const DecodeLayer& layer : s.layers) {
    check_weight("input_norm", layer.input_norm, {hidden}, exec);
    check_weight("qkv", layer.qkv, {(s.num_heads + 2 * groups) * head_dim, hidden}, exec);
    check_weight("proj", layer.proj, {hidden, s.num_heads * head_dim}, exec);
    check_weight("pre_mlp_norm", layer.pre_mlp_norm, {hidden}, exec);
    check_weight("fc1", layer.fc1, {2 * ffn, hidden}, exec);
    check_weight("fc2", layer.fc2, {hidden, ffn}, exec);
    check_weight("keys", layer.keys, {1, cache[1], groups, head_dim}, exec);
    check_weight("values", layer.values, {1, cache[1], groups, head_dim}, exec);
  }
  check_weight("embedding", s.embedding, {s.embedding.dim(0), hidden}, exec);
  check_weight("final_norm", s.final_norm, {hidden}, exec);
  check_weight("head", s.head, {s.head.dim(0), hidden}, exec);
  check_weight("logits", s.logits, {1, s.head.dim(0)}, exec);
  for (const Tensor* table : {&s.cos, &s.sin}) {
    check_tensor(kOp, "cos or sin", *table, DType::kF32, {s.cos.dim(0), head_dim / 2}, exec);
    check_contiguous(kOp, "cos or sin", *table);
  }
  check_number("id", s.id, exec);
  check_number("position", s.position, exec);
  check_number("first_key", s.first_key, exec);
  check_number("length", s.length, exec);
}

// But for what decode_stack() adds: logits and memory to work in.
cuda::DecodeStackArgs arguments(const DecodeStack& s) {
  const DecodeLayer& first = s.layers.front();
  const int64_t head_dim = first.keys.dim(3);
  cuda::DecodeStackArgs args;
  args.num_layers = narrow<int32_t>(s.layers.size());
  args.hidden = narrow<int32_t>(first.fc2.dim(0));
  args.num_heads = narrow<int32_t>(s.num_heads);
  args.num_groups = narrow<int32_t>(first.keys.dim(2));
  args.head_dim = narrow<int32_t>(head_dim);
  args.ffn = narrow<int32_t>(first.fc2.dim(1));
  args.num_ids = narrow<int32_t>(s.embedding.dim(0));
  args.num_logits = narrow<int32_t>(s.head.dim(0));
  args.num_positions = narrow<int32_t>(s.cos.dim(0));
  args.eps = static_cast<float>(s.eps);
  args.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  args.embedding = s.embedding.raw();
  args.final_norm = s.final_norm.raw();
  args.head = s.head.raw();
  args.cos = s.cos.data<float>();
  args.sin = s.sin.data<float>();
  args.id = s.id.data<int32_t>();
  args.position = s.position.data<int32_t>();
  args.first_key = s.first_key.data<int32_t>();
  args.length = s.length.data<int32_t>();
  const size_t places = std::min<size_t>(s.layers.size(), cuda::kMaxDecodeLayers);
  for (size_t i = 0; i < places; ++i) {
    const DecodeLayer& layer = s.layers[i];
    args.layers[i] = {.input_norm = layer.input_norm.raw(),
                      .qkv = layer.qkv.raw(),
                      .proj = layer.proj.raw(),
                      .pre_mlp_norm = layer.pre_mlp_norm.raw(),
                      .fc1 = layer.fc1.raw(),
                      .fc2 = layer.fc2.raw(),
                      .keys = layer.keys.raw(),
                      .values = layer.values.raw(),
                      .window = narrow<int32_t>(layer.window)};
  }
  return args;
}

}  // namespace

bool takes_decode_stack(const DecodeStack& stack, Exec& exec) {
  if constexpr (kHasCuda) {
    if (!exec.device().is_cuda() || stack.layers.empty() || stack.embedding.dtype() != DType::kBF16)
      return false;
    if (stack.cos.dim(1) * 2 != stack.layers.front().keys.dim(3)) return false;
    return cuda::takes_decode_stack(arguments(stack), exec);
  }
  return false;
}

void decode_stack(const DecodeStack& stack, Exec& exec) {
  check(stack, exec);
  MG_CHECK(takes_decode_stack(stack, exec), "{}: takes_decode_stack() says no", kOp);
  if constexpr (kHasCuda) {
    cuda::DecodeStackArgs args = arguments(stack);
    const Tensor work = exec.empty({cuda::decode_stack_work_bytes(args, exec)}, DType::kU8);
    args.work = work.raw();
    args.logits = stack.logits.raw();
    cuda::decode_stack(args, exec);
  }
}

}  // namespace megalith
