// Attention on the GPU against its ceilings: MEGALITH_PERF=1 runs it.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include <gtest/gtest.h>

#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/attention_decode.h"
#include "megalith/kernels/cuda/attention_tiled.h"
#include "megalith/kernels/cuda/vendor/attention_cudnn.h"
#include "megalith/ops/attention.h"

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using conformance::performance_wanted;

struct Case {
  int batch, queries, keys, heads, kv_heads, head_dim, value_dim;
  /// Two products of the visible half of the scores forward.
  double teraflops() const {
    return 1e-12 * static_cast<double>(batch) * heads * queries * keys * (head_dim + value_dim);
  }
};

// Median of some calls, each on its own: launches of a plain loop hide behind each other.
template <class Work>
double seconds_of(Exec& exec, const Work& work) {
  constexpr int kRounds = 10, kCalls = 5;
  std::vector<double> times;
  for (int round = 0; round < kRounds + 2; ++round) {
    exec.synchronize();
    const auto start = std::chrono::steady_clock::now();
    for (int call = 0; call < kCalls; ++call) work();
    exec.synchronize();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (round >= 2) times.push_back(time.count() / kCalls);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

class Problem {
 public:
  Problem(const Case& c, DType dtype, Exec& exec) : exec_(exec), dtype_(dtype) {
    const auto heads = [&](int tokens, int count, int dim) {
      const Tensor tensor = filled({c.batch, tokens, count, dim});
      tensors_.push_back(tensor);
      return cuda::HeadView{tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
    };
    view.batch = c.batch, view.queries = c.queries, view.keys = c.keys, view.heads = c.heads;
    view.kv_heads = c.kv_heads, view.head_dim = c.head_dim;
    view.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
    view.is_aligned = true;
    view.q = heads(c.queries, c.heads, c.head_dim);
    view.k = heads(c.keys, c.kv_heads, c.head_dim);
    view.v = heads(c.keys, c.kv_heads, c.value_dim);
    view.out = heads(c.queries, c.heads, c.value_dim);
    gradients.d_out = heads(c.queries, c.heads, c.value_dim);
    gradients.d_q = heads(c.queries, c.heads, c.head_dim);
    gradients.d_k = heads(c.keys, c.kv_heads, c.head_dim);
    gradients.d_v = heads(c.keys, c.kv_heads, c.value_dim);
    for (float** row_values : {&view.lse, &gradients.delta}) {
      tensors_.push_back(exec.zeros({c.batch, c.heads, c.queries}, DType::kF32));
      *row_values = tensors_.back().data<float>();
    }
  }

  cuda::AttentionView view;
  cuda::AttentionGradientView gradients;

 private:
  Tensor filled(const Shape& shape) {
    constexpr int64_t kPattern = 1 << 20;
    Exec cpu;
    const Tensor pattern = conformance::random_tensor(cpu, {kPattern}, dtype_, 1);
    const Tensor tensor = exec_.empty(shape, dtype_);
    const Tensor flat = tensor.view({-1});
    std::vector<std::byte> staging;
    for (int64_t begin = 0; begin < flat.numel(); begin += kPattern) {
      const int64_t count = std::min(kPattern, flat.numel() - begin);
      exec_.upload(bytes_on_host(pattern.slice(0, 0, count), staging), flat.slice(0, begin, begin + count));
    }
    return tensor;
  }

  Exec& exec_;
  DType dtype_;
  std::vector<Tensor> tensors_;
};

class CudaAttentionSpeed : public testing::Test {
 protected:
  void SetUp() override {
    if (!performance_wanted()) GTEST_SKIP() << "MEGALITH_PERF=1 runs it";
    if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    gpu_ = std::make_unique<Exec>(ExecOptions{.device = {DeviceKind::kCuda, 0}});
  }
  std::unique_ptr<Exec> gpu_;
};

TEST_F(CudaAttentionSpeed, Training) {
  std::printf("%s, cuDNN %ld\n", gpu_->cuda().limits().name.c_str(),
              static_cast<long>(cuda::cudnn_version()));
  for (const Case& c : {Case{8, 4096, 4096, 32, 32, 128, 128}, Case{8, 4096, 4096, 32, 8, 128, 128},
                        Case{8, 4096, 4096, 16, 8, 128, 128}, Case{2, 16384, 16384, 32, 32, 128, 128},
                        Case{8, 4096, 4096, 32, 32, 192, 128}, Case{8, 4096, 4096, 32, 32, 64, 64}}) {
    const Problem p(c, DType::kBF16, *gpu_);
    const cuda::CudnnAttention cudnn{DType::kBF16, p.view, c.value_dim};
    const auto first = std::chrono::steady_clock::now();
    cuda::attention_cudnn(cudnn, *gpu_);
    const std::chrono::duration<double> build = std::chrono::steady_clock::now() - first;
    const double forward = seconds_of(*gpu_, [&] { cuda::attention_cudnn(cudnn, *gpu_); });
    std::printf("cudnn bf16 B %d S %d H %d/%d D %d/%d: plan %.0f ms, forward %.3f ms %.0f TFLOP/s", c.batch,
                c.queries, c.heads, c.kv_heads, c.head_dim, c.value_dim, build.count() * 1e3, forward * 1e3,
                c.teraflops() / forward);
    for (const cuda::SumOrder order : {cuda::SumOrder::kAny, cuda::SumOrder::kRepeatable}) {
      const double backward =
          seconds_of(*gpu_, [&] { cuda::attention_cudnn_backward(cudnn, p.gradients, order, *gpu_); });
      std::printf(", backward %s %.3f ms %.0f TFLOP/s", order == cuda::SumOrder::kAny ? "any" : "repeatable",
                  backward * 1e3, 2.5 * c.teraflops() / backward);
    }
    std::printf(", scratch %.2f GiB\n", static_cast<double>(gpu_->scratch().high_water_bytes()) / 0x1p30);
  }
}

// Packed documents of one length in rows of 4096: by cuDNN, and by the tiled kernels that know first keys.
TEST_F(CudaAttentionSpeed, PackedDocuments) {
  const Case c{8, 4096, 4096, 16, 8, 128, 128};
  const auto kind = cuda::ElementKind::kBF16;
  cudaStream_t stream = gpu_->cuda().stream();
  for (const int length : {4096, 1024, 256, 64}) {
    Problem p(c, DType::kBF16, *gpu_);
    std::vector<int32_t> starts, first_keys;
    for (int token = 0; token <= c.batch * c.queries; token += length) starts.push_back(token);
    for (int token = 0; token < c.batch * c.queries; ++token)
      first_keys.push_back(token % c.queries / length * length);
    const Tensor starts_tensor = gpu_->from_host<int32_t>(starts, {static_cast<int64_t>(starts.size())});
    const Tensor first = gpu_->from_host<int32_t>(first_keys, {c.batch, c.queries});
    p.view.first_key = {first.data<int32_t>(), c.queries};
    const double teraflops = c.teraflops() * length / c.queries;
    const double tiled = seconds_of(*gpu_, [&] { cuda::launch_attention_tiled(p.view, kind, stream); });
    const double tiled_backward =
        seconds_of(*gpu_, [&] { cuda::launch_attention_tiled_backward(p.view, p.gradients, kind, stream); });
    std::printf("documents of %d: tiled forward %.3f ms, backward %.3f ms", length, tiled * 1e3,
                tiled_backward * 1e3);
    for (const int longest : {length, c.queries}) {
      cuda::AttentionView view = p.view;
      view.documents = {starts_tensor.data<int32_t>(), static_cast<int>(starts.size()) - 1, longest};
      const cuda::CudnnAttention cudnn{DType::kBF16, view};
      const double forward = seconds_of(*gpu_, [&] { cuda::attention_cudnn(cudnn, *gpu_); });
      const double backward = seconds_of(
          *gpu_, [&] { cuda::attention_cudnn_backward(cudnn, p.gradients, cuda::SumOrder::kAny, *gpu_); });
      std::printf("; cudnn up to %d: forward %.3f ms %.0f TFLOP/s, backward %.3f ms %.0f TFLOP/s", longest,
                  forward * 1e3, teraflops / forward, backward * 1e3, 2.5 * teraflops / backward);
    }
    std::printf(", scratch %.2f GiB\n", static_cast<double>(gpu_->scratch().high_water_bytes()) / 0x1p30);
    std::fflush(stdout);
  }
}

// What a call costs the host while the device has other work.
TEST_F(CudaAttentionSpeed, HostTimeOfACall) {
  constexpr int kCalls = 200;
  const Problem p({1, 128, 128, 4, 4, 64, 64}, DType::kBF16, *gpu_);
  const cuda::CudnnAttention cudnn{DType::kBF16, p.view};
  const auto report = [&](const char* name, const auto& work) {
    work();
    gpu_->synchronize();
    const auto start = std::chrono::steady_clock::now();
    for (int call = 0; call < kCalls; ++call) work();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    gpu_->synchronize();
    std::printf("host time of a call: %s %.1f us\n", name, time.count() / kCalls * 1e6);
  };
  cuda::attention_cudnn(cudnn, *gpu_);
  report("cudnn forward", [&] { cuda::attention_cudnn(cudnn, *gpu_); });
  report("cudnn backward",
         [&] { cuda::attention_cudnn_backward(cudnn, p.gradients, cuda::SumOrder::kAny, *gpu_); });
  report("tiled forward",
         [&] { cuda::launch_attention_tiled(p.view, cuda::ElementKind::kBF16, gpu_->cuda().stream()); });
}

TEST_F(CudaAttentionSpeed, Tiled) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const auto kind = dtype == DType::kF32 ? cuda::ElementKind::kF32 : cuda::ElementKind::kBF16;
    for (const Case& c : {Case{2, 2048, 2048, 16, 8, 64, 64}, Case{2, 2048, 2048, 16, 8, 128, 128}}) {
      const Problem p(c, dtype, *gpu_);
      cudaStream_t stream = gpu_->cuda().stream();
      const double forward = seconds_of(*gpu_, [&] { cuda::launch_attention_tiled(p.view, kind, stream); });
      const double backward = seconds_of(
          *gpu_, [&] { cuda::launch_attention_tiled_backward(p.view, p.gradients, kind, stream); });
      std::printf(
          "tiled %s B %d S %d H %d/%d D %d: forward %.3f ms %.1f TFLOP/s, backward %.3f ms %.1f TFLOP/s\n",
          name_of(dtype), c.batch, c.queries, c.heads, c.kv_heads, c.head_dim, forward * 1e3,
          c.teraflops() / forward, backward * 1e3, 2.5 * c.teraflops() / backward);
    }
  }
}

TEST_F(CudaAttentionSpeed, Decode) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const auto kind = dtype == DType::kF32 ? cuda::ElementKind::kF32 : cuda::ElementKind::kBF16;
    for (const Case& c : {Case{1, 1, 4096, 16, 8, 128, 128}, Case{1, 1, 32768, 32, 8, 128, 128},
                          Case{32, 1, 8192, 32, 8, 128, 128}, Case{32, 1, 8192, 16, 16, 128, 128},
                          Case{16, 8, 8192, 32, 8, 128, 128}, Case{64, 1, 4096, 32, 8, 64, 64}}) {
      const Problem p(c, dtype, *gpu_);
      const cuda::DecodeSplit split = cuda::split_decode(p.view, gpu_->cuda().limits().sm_count);
      const Tensor partials = gpu_->empty({split.floats(p.view)}, DType::kF32);
      const double seconds = seconds_of(*gpu_, [&] {
        cuda::launch_attention_decode(p.view, split, partials.data<float>(), kind, gpu_->cuda().stream());
      });
      const double bytes =
          2.0 * c.batch * c.keys * c.kv_heads * c.head_dim * static_cast<double>(size_of(dtype));
      std::printf("decode %s B %d S %d of %d H %d/%d D %d: %d splits, %.1f us, %.0f GB/s\n", name_of(dtype),
                  c.batch, c.queries, c.keys, c.heads, c.kv_heads, c.head_dim, split.splits, seconds * 1e6,
                  bytes * 1e-9 / seconds);
    }
  }
}

}  // namespace
}  // namespace megalith
