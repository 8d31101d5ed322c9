// The attention kernels of the GPU against the CPU's in f64.

#include "megalith/ops/attention.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "megalith/core/cuda/check.h"
#include "megalith/kernels/cuda/vendor/attention_cudnn.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;

enum class Mask { kNone, kCausal, kDocuments, kLimits };

struct Case {
  int64_t batch, queries, keys, heads, kv_heads, head_dim;
  Mask mask = Mask::kCausal;
  double dropout = 0;
  int64_t window = -1;
  int64_t key_gap = 0;

  std::string name() const {
    return fmt::format("[B {}, S {} of {}, N {} of {}, D {}], mask {}, dropout {}, window {}, gap {}", batch,
                       queries, keys, heads, kv_heads, head_dim, static_cast<int>(mask), dropout, window,
                       key_gap);
  }
  Shape q_shape() const { return {batch, queries, heads, head_dim}; }
  Shape kv_shape() const { return {batch, keys, kv_heads, head_dim}; }
  std::vector<int32_t> first_keys() const {
    constexpr int64_t kDocumentLength = 23;
    std::vector<int32_t> values;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = 0; i < queries; ++i) {
        const int64_t start = (i + keys - queries + b) / kDocumentLength * kDocumentLength - b;
        const int64_t first = mask == Mask::kLimits ? (3 * i + b) % keys : std::max<int64_t>(0, start);
        values.push_back(static_cast<int32_t>(first));
      }
    }
    return values;
  }
  std::vector<int32_t> end_keys() const {
    std::vector<int32_t> values = first_keys();
    for (size_t i = 0; i < values.size(); ++i)
      values[i] =
          i % 5 == 4 ? 0 : std::min(static_cast<int32_t>(keys), values[i] + 1 + static_cast<int32_t>(i % 90));
    return values;
  }
};

class CudaAttention : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    gpu_ = std::make_unique<Exec>(ExecOptions{.device = {DeviceKind::kCuda, 0}});
  }

  Tensor on_gpu(const Tensor& host) {
    std::vector<std::byte> staging;
    const Tensor tensor = gpu_->empty(host.shape(), host.dtype());
    gpu_->upload(bytes_on_host(host, staging), tensor);
    return tensor;
  }

  Exec cpu_;
  std::unique_ptr<Exec> gpu_;
};

// The same problem twice: on the GPU in some dtype, on the CPU in f64 from the same rounded values.
struct Pair {
  AttentionBackwardArgs gpu, cpu;
};

// [B, S, N + 2 K, D] cut into its heads; apart when the lengths differ.
struct Heads {
  Tensor q, k, v;
};

template <class Make>
Heads make_heads(const Case& c, const Make& make) {
  if (c.queries != c.keys) return {make(c.q_shape(), 1), make(c.kv_shape(), 2), make(c.kv_shape(), 3)};
  const int64_t n = c.heads, k = c.kv_heads;
  const Tensor fused = make(Shape{c.batch, c.queries, n + 2 * k, c.head_dim}, 1);
  return {fused.slice(2, 0, n), fused.slice(2, n, n + k), fused.slice(2, n + k, n + 2 * k)};
}

template <class OnGpu>
Pair make_pair(const Case& c, DType dtype, Exec& cpu, Exec& gpu, const OnGpu& on_gpu) {
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return random_tensor(cpu, shape, dtype, seed);
  };
  const auto exact = [&](const Shape& shape, uint64_t seed) {
    return tensor_of(cpu, values_of(random(shape, seed)), shape, DType::kF64);
  };
  const auto device = [&](const Shape& shape, uint64_t seed) { return on_gpu(random(shape, seed)); };
  const auto poisoned = [&](const Shape& shape, uint64_t) {
    return on_gpu(poisoned_tensor(cpu, shape, dtype));
  };
  const auto lse_shape = Shape{c.batch, c.heads, c.queries};
  Pair pair;
  const auto fill = [&](AttentionBackwardArgs& args, Exec& exec, const Heads& heads, const Heads& gradients) {
    args.forward = {.q = heads.q,
                    .k = heads.k,
                    .v = heads.v,
                    .scale = 1 / std::sqrt(static_cast<double>(c.head_dim)),
                    .is_causal = c.mask == Mask::kCausal || c.mask == Mask::kDocuments,
                    .window = c.window,
                    .key_gap = c.key_gap,
                    .dropout = c.dropout,
                    .rng = exec.rng().fold("attention test")};
    args.d_q = gradients.q;
    args.d_k = gradients.k;
    args.d_v = gradients.v;
    if (c.mask == Mask::kDocuments || c.mask == Mask::kLimits)
      args.forward.first_key = exec.from_host<int32_t>(c.first_keys(), {c.batch, c.queries});
    if (c.mask == Mask::kLimits)
      args.forward.end_key = exec.from_host<int32_t>(c.end_keys(), {c.batch, c.queries});
  };
  const auto zeros = [&](const Shape& shape, uint64_t) { return cpu.zeros(shape, DType::kF64); };
  fill(pair.cpu, cpu, make_heads(c, exact), make_heads(c, zeros));
  fill(pair.gpu, gpu, make_heads(c, device), make_heads(c, poisoned));
  pair.cpu.d_out = exact(c.q_shape(), 4);
  pair.gpu.d_out = device(c.q_shape(), 4);
  pair.cpu.forward.out = cpu.zeros(c.q_shape(), DType::kF64);
  pair.gpu.forward.out = poisoned(c.q_shape(), 0);
  pair.cpu.forward.lse = cpu.zeros(lse_shape, DType::kF64);
  pair.gpu.forward.lse = on_gpu(poisoned_tensor(cpu, lse_shape, DType::kF32));
  return pair;
}

// Weights are rounded to the dtype before they meet the values: one roundoff of a mean of values below 1.
Tolerance forward_tolerance(const Case& c, DType dtype) {
  Tolerance allowed = tolerance(dtype, c.keys + c.head_dim, 1 / (1 - c.dropout));
  if (dtype != DType::kF32) allowed.absolute += 2 * unit_roundoff(dtype) / (1 - c.dropout);
  return allowed;
}

// Also gradients of scores are rounded before they meet keys and queries, and the backward starts from a
// rounded `out`: delta is off by up to head_dim roundings.
Tolerance backward_tolerance(const Case& c, DType dtype) {
  const double magnitude = std::sqrt(static_cast<double>(c.head_dim)) / (1 - c.dropout);
  Tolerance allowed = tolerance(dtype, c.keys + c.queries * c.heads / c.kv_heads, magnitude);
  if (dtype != DType::kF32) allowed.absolute += 4 * unit_roundoff(dtype) * magnitude;
  return allowed;
}

const Case kCases[] = {
    {2, 128, 128, 4, 2, 64},
    {2, 37, 37, 4, 2, 32},
    {1, 300, 300, 4, 4, 128},
    {2, 257, 257, 8, 2, 128},
    {1, 130, 130, 2, 1, 192},
    {1, 129, 129, 2, 1, 256},
    {1, 100, 100, 3, 1, 80},
    {1, 64, 333, 4, 2, 64},
    {1, 40, 333, 2, 1, 128},
    {2, 65, 129, 2, 1, 64, Mask::kNone},
    {1, 65, 129, 2, 1, 5, Mask::kNone},
    {1, 300, 300, 2, 2, 40, Mask::kDocuments},
    {2, 200, 200, 4, 2, 128, Mask::kDocuments},
    {1, 300, 300, 2, 1, 16, Mask::kDocuments, 0.25},
    {1, 65, 65, 3, 3, 130, Mask::kNone, 0.5},
    {2, 77, 77, 2, 1, 64, Mask::kCausal, 0.1},
    {2, 1, 600, 4, 2, 32},
    {3, 1, 1000, 8, 2, 128},
    {1, 1, 333, 4, 4, 256},
    {1, 4, 200, 6, 2, 64},
    {2, 8, 777, 8, 2, 80},
    {2, 2, 70, 4, 2, 16, Mask::kDocuments},
    {1, 8, 300, 12, 2, 128, Mask::kDocuments},
    {1, 5, 130, 16, 1, 256},
    {2, 1, 5000, 2, 1, 64, Mask::kNone},
    {1, 3, 9, 4, 2, 16},
    {1, 1, 1, 1, 1, 8},
    {0, 5, 5, 2, 1, 8},
    {2, 300, 300, 2, 1, 64, Mask::kLimits},
    {1, 70, 290, 2, 2, 128, Mask::kLimits, 0.25},
    {2, 3, 300, 2, 1, 64, Mask::kLimits},
    {2, 333, 333, 2, 1, 64, Mask::kCausal, 0, 40},
    {1, 1024, 1024, 4, 2, 128, Mask::kCausal, 0, 255},
    {1, 256, 512, 2, 1, 128, Mask::kCausal, 0, 100},
    {1, 333, 333, 2, 1, 64, Mask::kDocuments, 0.25, 10},
    {2, 1, 600, 4, 2, 64, Mask::kCausal, 0, 70},
    {1, 100, 100, 2, 1, 64, Mask::kCausal, 0, 120, 100},
    {1, 100, 100, 2, 1, 64, Mask::kNone, 0, -1, 100},
};

TEST_F(CudaAttention, MatchesTheCpu) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const Case& c : kCases) {
      if (dtype == DType::kF16 && c.queries > 512) continue;  // bf16 has the same kernels
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + c.name());
      const Pair pair = make_pair(c, dtype, cpu_, *gpu_, [&](const Tensor& host) { return on_gpu(host); });
      attention(pair.cpu.forward, cpu_);
      attention_backward(pair.cpu, cpu_);
      attention(pair.gpu.forward, *gpu_);
      expect_close(pair.gpu.forward.out, values_of(pair.cpu.forward.out), forward_tolerance(c, dtype), "out");
      expect_close(pair.gpu.forward.lse, values_of(pair.cpu.forward.lse),
                   tolerance(DType::kF32, c.head_dim, 8), "lse");
      attention_backward(pair.gpu, *gpu_);
      const Tolerance allowed = backward_tolerance(c, dtype);
      expect_close(pair.gpu.d_q, values_of(pair.cpu.d_q), allowed, "d_q");
      expect_close(pair.gpu.d_k, values_of(pair.cpu.d_k), allowed, "d_k");
      expect_close(pair.gpu.d_v, values_of(pair.cpu.d_v), allowed, "d_v");
    }
  }
}

TEST_F(CudaAttention, QueryThatSeesNoKey) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t queries : {1, 20}) {
      const Case c{1, queries, queries, 1, 1, 8};
      Pair pair = make_pair(c, dtype, cpu_, *gpu_, [&](const Tensor& host) { return on_gpu(host); });
      std::vector<int32_t> first_keys(static_cast<size_t>(queries), 0);
      first_keys.back() = static_cast<int32_t>(queries);
      pair.gpu.forward.first_key = gpu_->from_host<int32_t>(first_keys, {1, queries});
      attention(pair.gpu.forward, *gpu_);
      attention_backward(pair.gpu, *gpu_);
      const std::vector<double> out = values_of(pair.gpu.forward.out), d_q = values_of(pair.gpu.d_q);
      for (size_t d = out.size() - 8; d < out.size(); ++d) {
        EXPECT_EQ(out[d], 0);
        EXPECT_EQ(d_q[d], 0);
      }
      EXPECT_EQ(values_of(pair.gpu.forward.lse).back(), -std::numeric_limits<double>::infinity());
      for (const double value : values_of(pair.gpu.d_k)) EXPECT_TRUE(std::isfinite(value));
    }
  }
}

cuda::HeadView view_of(const Tensor& tensor) {
  return {tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

struct CudnnPair {
  cuda::CudnnAttention forward;
  cuda::AttentionGradientView gradients;
};

CudnnPair cudnn_pair(const Case& c, const AttentionBackwardArgs& args, DType dtype) {
  const AttentionArgs& f = args.forward;
  return {.forward = {.dtype = dtype,
                      .view = {.batch = static_cast<int>(c.batch),
                               .queries = static_cast<int>(c.queries),
                               .keys = static_cast<int>(c.keys),
                               .heads = static_cast<int>(c.heads),
                               .kv_heads = static_cast<int>(c.kv_heads),
                               .head_dim = static_cast<int>(c.head_dim),
                               .scale = static_cast<float>(f.scale),
                               .is_causal = f.is_causal,
                               .q = view_of(f.q),
                               .k = view_of(f.k),
                               .v = view_of(f.v),
                               .out = view_of(f.out),
                               .lse = f.lse.data<float>()},
                      .value_dim = static_cast<int>(f.v.dim(3))},
          .gradients = {.d_out = view_of(args.d_out),
                        .d_q = view_of(args.d_q),
                        .d_k = view_of(args.d_k),
                        .d_v = view_of(args.d_v)}};
}

// Documents of many lengths in the rows of a batch, and their numbers as a training step hands them over.
struct Packed {
  Packed(const Case& c, int64_t num_empty) {
    constexpr int64_t kLengths[] = {130, 1, 23, 257, 64, 7, 400};
    for (int64_t row = 0, next = 0; row < c.batch; ++row) {
      for (int64_t begin = 0; begin < c.queries;) {
        const int64_t end = std::min(c.queries, begin + kLengths[next++ % 7]);
        starts.push_back(static_cast<int32_t>(row * c.queries + begin));
        first_keys.insert(first_keys.end(), static_cast<size_t>(end - begin), static_cast<int32_t>(begin));
        longest = std::max(longest, end - begin);
        begin = end;
      }
    }
    starts.resize(starts.size() + 1 + static_cast<size_t>(num_empty),
                  static_cast<int32_t>(c.batch * c.queries));
  }
  std::vector<int32_t> starts, first_keys;
  int64_t longest = 0;
};

// Latent attention: the values are narrower than the keys. The CPU takes them filled up with zeros.
TEST_F(CudaAttention, ValuesNarrowerThanKeys) {
  const Case c{2, 200, 200, 4, 4, 192};
  constexpr int64_t kValueDim = 128;
  const Packed packed(c, 3);
  const Tensor starts = gpu_->from_host<int32_t>(packed.starts, {static_cast<int64_t>(packed.starts.size())});
  for (const auto& [dtype, is_packed] :
       {std::pair(DType::kBF16, false), std::pair(DType::kF16, false), std::pair(DType::kBF16, true)}) {
    Pair pair = make_pair(c, dtype, cpu_, *gpu_, [&](const Tensor& host) { return on_gpu(host); });
    const auto narrow_pair = [&](Tensor& exact, Tensor& device, const Shape& shape, uint64_t seed) {
      Shape narrow = shape;
      narrow.set(-1, kValueDim);
      const Tensor values = random_tensor(cpu_, narrow, dtype, seed);
      device = on_gpu(values);
      const std::vector<double> from = values_of(values);
      std::vector<double> wide;
      for (size_t i = 0; i < from.size(); ++i) {
        wide.push_back(from[i]);
        if (i % kValueDim == kValueDim - 1) wide.resize(wide.size() + 192 - kValueDim, 0.0);
      }
      exact = tensor_of(cpu_, wide, shape, DType::kF64);
    };
    narrow_pair(pair.cpu.forward.v, pair.gpu.forward.v, c.kv_shape(), 7);
    narrow_pair(pair.cpu.d_out, pair.gpu.d_out, c.q_shape(), 8);
    if (is_packed)
      pair.cpu.forward.first_key = cpu_.from_host<int32_t>(packed.first_keys, {c.batch, c.queries});
    attention(pair.cpu.forward, cpu_);
    attention_backward(pair.cpu, cpu_);
    pair.gpu.forward.out = gpu_->zeros({c.batch, c.queries, c.heads, kValueDim}, dtype);
    pair.gpu.d_v = gpu_->zeros({c.batch, c.keys, c.kv_heads, kValueDim}, dtype);
    CudnnPair cudnn = cudnn_pair(c, pair.gpu, dtype);
    if (is_packed)
      cudnn.forward.view.documents = {starts.data<int32_t>(), static_cast<int>(packed.starts.size()) - 1,
                                      static_cast<int>(packed.longest)};
    cuda::attention_cudnn(cudnn.forward, *gpu_);
    cuda::attention_cudnn_backward(cudnn.forward, cudnn.gradients, cuda::SumOrder::kAny, *gpu_);
    SCOPED_TRACE(std::string(name_of(dtype)) + (is_packed ? " packed" : ""));
    const Tolerance allowed = backward_tolerance(c, dtype);
    expect_close(pair.gpu.forward.out, values_of(pair.cpu.forward.out.slice(3, 0, kValueDim)),
                 forward_tolerance(c, dtype), "out");
    expect_close(pair.gpu.d_q, values_of(pair.cpu.d_q), allowed, "d_q");
    expect_close(pair.gpu.d_k, values_of(pair.cpu.d_k), allowed, "d_k");
    expect_close(pair.gpu.d_v, values_of(pair.cpu.d_v.slice(3, 0, kValueDim)), allowed, "d_v");
  }
}

TEST_F(CudaAttention, PackedDocumentsMatchTheCpu) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const Case& c :
         {Case{2, 300, 300, 4, 2, 64}, Case{3, 200, 200, 4, 4, 128}, Case{1, 500, 500, 4, 2, 128},
          Case{2, 160, 160, 2, 1, 192}, Case{2, 160, 160, 2, 1, 256}, Case{1, 300, 300, 2, 2, 192},
          Case{1, 257, 257, 2, 2, 80}, Case{2, 300, 300, 4, 2, 64, Mask::kCausal, 0, 40},
          Case{2, 160, 160, 2, 1, 40}}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + c.name());
      const Packed packed(c, c.batch == 2 ? 9 : 0);
      Pair pair = make_pair(c, dtype, cpu_, *gpu_, [&](const Tensor& host) { return on_gpu(host); });
      pair.cpu.forward.first_key = cpu_.from_host<int32_t>(packed.first_keys, {c.batch, c.queries});
      attention(pair.cpu.forward, cpu_);
      attention_backward(pair.cpu, cpu_);
      pair.gpu.forward.first_key = gpu_->from_host<int32_t>(packed.first_keys, {c.batch, c.queries});
      pair.gpu.forward.documents = {
          .starts = gpu_->from_host<int32_t>(packed.starts, {static_cast<int64_t>(packed.starts.size())}),
          .longest = packed.longest};
      attention(pair.gpu.forward, *gpu_);
      attention_backward(pair.gpu, *gpu_);
      expect_close(pair.gpu.forward.out, values_of(pair.cpu.forward.out), forward_tolerance(c, dtype), "out");
      expect_close(pair.gpu.forward.lse, values_of(pair.cpu.forward.lse),
                   tolerance(DType::kF32, c.head_dim, 8), "lse");
      const Tolerance allowed = backward_tolerance(c, dtype);
      expect_close(pair.gpu.d_q, values_of(pair.cpu.d_q), allowed, "d_q");
      expect_close(pair.gpu.d_k, values_of(pair.cpu.d_k), allowed, "d_k");
      expect_close(pair.gpu.d_v, values_of(pair.cpu.d_v), allowed, "d_v");
    }
  }
}

std::vector<double> results_of(const AttentionBackwardArgs& args) {
  std::vector<double> all;
  for (const Tensor& tensor : {args.forward.out, args.forward.lse, args.d_q, args.d_k, args.d_v}) {
    const std::vector<double> values = values_of(tensor);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TEST_F(CudaAttention, OwnKernelsRepeatTheirBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Case c{2, 700, 700, 4, 2, 64, Mask::kDocuments, 0.1};
    const Pair pair = make_pair(c, dtype, cpu_, *gpu_, [&](const Tensor& host) { return on_gpu(host); });
    std::vector<double> first;
    for (int round = 0; round < 5; ++round) {
      attention(pair.gpu.forward, *gpu_);
      attention_backward(pair.gpu, *gpu_);
      if (round == 0) first = results_of(pair.gpu);
      EXPECT_TRUE(results_of(pair.gpu) == first);
    }
  }
}

// Above 256 MB of scores' gradients cuDNN's default adds up d_q in any order; the last case is computed a few
// heads at a time.
TEST_F(CudaAttention, DeterministicGradientsRepeatTheirBits) {
  for (const Case& c :
       {Case{4, 1024, 1024, 8, 4, 128}, Case{2, 700, 700, 4, 2, 64, Mask::kNone}, Case{2, 300, 900, 4, 4, 80},
        Case{2, 500, 500, 4, 1, 192}, Case{1, 400, 400, 2, 2, 256},
        Case{2, 600, 600, 4, 2, 64, Mask::kCausal, 0, 40}, Case{2, 512, 512, 4, 2, 128, Mask::kDocuments},
        Case{5, 4096, 4096, 8, 2, 64}, Case{2, 8192, 8192, 12, 4, 64}}) {
    SCOPED_TRACE(c.name());
    const Pair pair =
        make_pair(c, DType::kBF16, cpu_, *gpu_, [&](const Tensor& host) { return on_gpu(host); });
    attention(pair.gpu.forward, *gpu_);
    attention_backward(pair.gpu, *gpu_);
    const std::vector<double> d_q = values_of(pair.gpu.d_q), d_k = values_of(pair.gpu.d_k),
                              d_v = values_of(pair.gpu.d_v);
    set_deterministic_attention(true, *gpu_);
    std::vector<double> first;
    for (int round = 0; round < 4; ++round) {
      for (const Tensor& gradient : {pair.gpu.d_q, pair.gpu.d_k, pair.gpu.d_v})
        gpu_->cuda().clear(gradient.raw(), gradient.nbytes());
      attention_backward(pair.gpu, *gpu_);
      if (round == 0) first = results_of(pair.gpu);
      EXPECT_TRUE(results_of(pair.gpu) == first);
    }
    set_deterministic_attention(false, *gpu_);
    const Tolerance allowed = backward_tolerance(c, DType::kBF16);
    expect_close(pair.gpu.d_q, d_q, allowed, "d_q");
    expect_close(pair.gpu.d_k, d_k, allowed, "d_k");
    expect_close(pair.gpu.d_v, d_v, allowed, "d_v");
  }
}

// Every kernel inside a captured graph: nothing waits for the host, nothing is allocated once plans exist.
TEST_F(CudaAttention, CapturedGraphGivesTheSameBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Case& c : {Case{2, 128, 128, 4, 2, 64}, Case{2, 1, 300, 4, 2, 64}}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + c.name());
      const Pair pair = make_pair(c, dtype, cpu_, *gpu_, [&](const Tensor& host) { return on_gpu(host); });
      attention(pair.gpu.forward, *gpu_);
      const std::vector<double> expected = values_of(pair.gpu.forward.out);
      cudaStream_t stream = gpu_->cuda().stream();
      cudaGraph_t graph{};
      cudaGraphExec_t instance{};
      MG_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      attention(pair.gpu.forward, *gpu_);
      MG_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
      MG_CUDA_CHECK(cudaGraphInstantiate(&instance, graph, 0));
      gpu_->cuda().clear(pair.gpu.forward.out.raw(), pair.gpu.forward.out.nbytes());
      MG_CUDA_CHECK(cudaGraphLaunch(instance, stream));
      EXPECT_TRUE(values_of(pair.gpu.forward.out) == expected);
      cudaGraphExecDestroy(instance);
      cudaGraphDestroy(graph);
    }
  }
}

}  // namespace
}  // namespace megalith
