#include "megalith/kernels/cuda/attention.h"

#include <initializer_list>
#include <limits>

#include "megalith/base/math.h"
#include "megalith/core/cuda/check.h"
#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/attention_choice.h"
#include "megalith/kernels/cuda/attention_decode.h"
#include "megalith/kernels/cuda/attention_tiled.h"
#include "megalith/kernels/cuda/vendor/attention_cudnn.h"

namespace megalith::cuda {
namespace {

HeadView view_of(const cpu::HeadRows& rows) {
  return {rows.data, rows.batch_stride, rows.token_stride, rows.head_stride};
}

bool is_aligned(std::initializer_list<HeadView> views, int64_t head_dim, DType dtype) {
  const auto size = static_cast<int64_t>(size_of(dtype));
  if (head_dim * size % 16 != 0) return false;
  for (const HeadView& view : views) {
    const int64_t strides = view.batch_stride | view.token_stride | view.head_stride;
    if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0 || strides * size % 16 != 0) return false;
  }
  return true;
}

AttentionView view_of(const cpu::AttentionProblem& p) {
  AttentionView view{
      .batch = narrow<int>(p.batch),
      .queries = narrow<int>(p.queries),
      .keys = narrow<int>(p.keys),
      .heads = narrow<int>(p.heads),
      .kv_heads = narrow<int>(p.kv_heads),
      .head_dim = narrow<int>(p.head_dim),
      .scale = static_cast<float>(p.scale),
      .is_causal = p.is_causal,
      .q = view_of(p.q),
      .k = view_of(p.k),
      .v = view_of(p.v),
      .out = view_of(p.out),
      .lse = static_cast<float*>(p.lse),
      .first_key = {p.first_key.data, p.first_key.batch_stride},
      .end_key = {p.end_key.data, p.end_key.batch_stride},
      .documents = {p.documents.data, narrow<int>(p.documents.count), narrow<int>(p.documents.longest)},
      .window = narrow<int>(p.window),
      .key_gap = narrow<int>(p.key_gap),
      .num_keys = p.num_keys,
      .dropout_threshold = p.dropout_threshold,
      .kept_scale = static_cast<float>(p.kept_scale),
      .seed = p.rng.seed,
      .stream = p.rng.stream};
  view.is_aligned = is_aligned({view.q, view.k, view.v, view.out}, p.head_dim, p.dtype);
  return view;
}

// cuDNN finds documents by the places of their first tokens in each tensor, in 32 bits, from version 9.6 with
// grouped queries and on Hopper and later.
bool has_places(const cpu::AttentionProblem& p, std::initializer_list<HeadView> views, Exec& exec) {
  constexpr int kHopper = 90;
  constexpr int64_t kFirstVersion = 90600;
  if (p.documents.data == nullptr || p.end_key.data != nullptr || exec.cuda().limits().arch < kHopper ||
      cudnn_version() < kFirstVersion)
    return false;
  for (const HeadView& view : views) {
    const bool is_one_row = p.batch == 1 || view.batch_stride == p.queries * view.token_stride;
    if (!is_one_row || p.batch * p.queries * view.token_stride > std::numeric_limits<int32_t>::max())
      return false;
  }
  return true;
}

enum class Direction { kForward, kBackward };

struct Determinism {
  bool is_on = false;
};

AttentionDesc describe(const cpu::AttentionProblem& p, const AttentionView& view, Direction direction,
                       bool has_documents, Exec& exec) {
  return {.dtype = p.dtype,
          .batch = p.batch,
          .queries = p.queries,
          .keys = p.keys,
          .heads = p.heads,
          .kv_heads = p.kv_heads,
          .head_dim = p.head_dim,
          .is_causal = p.is_causal,
          .has_window = p.window >= 0,
          .has_key_gap = p.key_gap > 0,
          .has_key_limits = p.first_key.data != nullptr || p.end_key.data != nullptr,
          .has_documents = has_documents,
          .has_num_keys = p.num_keys != nullptr,
          .has_dropout = p.dropout_threshold > 0,
          .is_backward = direction == Direction::kBackward,
          .is_deterministic = exec.slots().get<Determinism>().is_on,
          .is_aligned = view.is_aligned};
}

ElementKind kind_of(DType dtype) {
  return dtype == DType::kF32    ? ElementKind::kF32
         : dtype == DType::kBF16 ? ElementKind::kBF16
                                 : ElementKind::kF16;
}

}  // namespace

void attention(const cpu::AttentionProblem& problem, Exec& exec) {
  if (problem.batch * problem.queries * problem.heads == 0) return;
  const AttentionView view = view_of(problem);
  cudaStream_t stream = exec.cuda().stream();
  const bool has_documents = has_places(problem, {view.q, view.k, view.v, view.out}, exec);
  const AttentionDesc desc = describe(problem, view, Direction::kForward, has_documents, exec);
  switch (choose_attention_kernel(desc).kernel) {
    case AttentionKernel::kCudnn:
      return attention_cudnn({problem.dtype, view}, exec);
    case AttentionKernel::kDecode: {
      const DecodeSplit split = split_decode(view, exec.cuda().limits().sm_count);
      ScratchFrame frame(exec.scratch());
      float* partials = frame.take<float>(split.floats(view), "attention decode");
      MG_CUDA_CHECK(launch_attention_decode(view, split, partials, kind_of(problem.dtype), stream));
      return;
    }
    case AttentionKernel::kTiled:
      MG_CUDA_CHECK(launch_attention_tiled(view, kind_of(problem.dtype), stream));
  }
}

void attention_backward(const cpu::AttentionProblem& problem, const cpu::AttentionGradients& gradients,
                        Exec& exec) {
  if (problem.batch * problem.heads == 0) return;
  AttentionView view = view_of(problem);
  AttentionGradientView g{.d_out = view_of(gradients.d_out),
                          .d_q = view_of(gradients.d_q),
                          .d_k = view_of(gradients.d_k),
                          .d_v = view_of(gradients.d_v)};
  view.is_aligned =
      view.is_aligned && is_aligned({g.d_out, g.d_q, g.d_k, g.d_v}, problem.head_dim, problem.dtype);
  const bool has_documents =
      has_places(problem, {view.q, view.k, view.v, view.out, g.d_out, g.d_q, g.d_k, g.d_v}, exec);
  const AttentionDesc desc = describe(problem, view, Direction::kBackward, has_documents, exec);
  if (choose_attention_kernel(desc).kernel == AttentionKernel::kCudnn)
    return attention_cudnn_backward({problem.dtype, view}, g,
                                    desc.is_deterministic ? SumOrder::kRepeatable : SumOrder::kAny, exec);
  ScratchFrame frame(exec.scratch());
  g.delta = frame.take<float>(problem.batch * problem.heads * problem.queries, "attention delta");
  MG_CUDA_CHECK(launch_attention_tiled_backward(view, g, kind_of(problem.dtype), exec.cuda().stream()));
}

void set_deterministic_attention(bool is_deterministic, Exec& exec) {
  exec.slots().get<Determinism>().is_on = is_deterministic;
}

}  // namespace megalith::cuda
