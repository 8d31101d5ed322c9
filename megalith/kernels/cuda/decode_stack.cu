#include <algorithm>

#include "megalith/kernels/cuda/decode_stack.h"
#include "megalith/kernels/cuda/device/activation_functions.cuh"
#include "megalith/kernels/cuda/device/grid_barrier.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/device/stack_attention.cuh"
#include "megalith/kernels/cuda/device/weight_stream.cuh"

namespace megalith::cuda {
namespace {

constexpr int kWarps = 16;
constexpr int kThreads = kWarps * kWarp;
constexpr int kNormVectors = 2;  // of 8 elements, of one thread: the widest hidden state is 8192
constexpr int kMaxPlaces = 3;    // of a warp, for pieces of weights

// The products of a token in their order: four a layer, then the head.
struct StackProducts {
  const DecodeStackArgs& args;
  __device__ int count() const { return 4 * args.num_layers + 1; }
  __device__ WeightRows at(int product) const {
    constexpr int kItem = sizeof(Bf16);
    const int hidden = args.hidden * kItem, heads = args.num_heads * args.head_dim;
    if (product == 4 * args.num_layers) return rows(args.head, args.num_logits, hidden);
    const DecodeLayerPlaces& layer = args.layers[product / 4];
    switch (product % 4) {
      case 0:
        return rows(layer.qkv, heads + 2 * args.num_groups * args.head_dim, hidden);
      case 1:
        return rows(layer.proj, args.hidden, heads * kItem);
      case 2:
        return {static_cast<const char*>(layer.fc1), args.ffn, hidden, 2};
      default:
        return rows(layer.fc2, args.hidden, args.ffn * kItem);
    }
  }
  __device__ static WeightRows rows(const void* weight, int count, int bytes) {
    return {static_cast<const char*>(weight), count, bytes, 1};
  }
};
using Stream = WeightStream<StackProducts>;

// Where things lie in shared memory and in `work`, in bytes.
struct SharedPlaces {
  int x, sum, q, sums, barriers, bytes;  // the pieces of weights come first
  SharedPlaces(const DecodeStackArgs& args, int places, int merged_floats, int rows) {
    const int widest = std::max({args.hidden, args.num_heads * args.head_dim, args.ffn});
    x = kWarps * places * kPieceBytes;  // or the merged parts of attention
    sum = x + round_up<int>(std::max(2 * widest, 4 * merged_floats), 16);
    q = sum + round_up<int>(2 * args.hidden, 16);
    sums = q + 4 * rows * args.head_dim;
    barriers = sums + 4 * kWarp;
    bytes = barriers + 8 * kWarps * places;
  }
};
struct WorkPlaces {
  int64_t qkv, delta, inner, parts, bytes;  // the counter of the barrier comes first
  WorkPlaces(const DecodeStackArgs& args, int blocks) {
    const auto after = [](int64_t place, int64_t size) { return round_up<int64_t>(place + size, 256); };
    const int64_t head_dim = args.head_dim;
    qkv = 256;
    delta = after(qkv, 2 * (args.num_heads + 2 * args.num_groups) * head_dim);
    inner = after(delta, 2 * int64_t{args.hidden});
    parts = after(inner, 2 * int64_t{args.ffn});
    bytes = parts + 4 * args.num_heads * int64_t{blocks / args.num_groups} * (head_dim + 4);
  }
};

struct Memory {
  SharedPlaces shared;
  WorkPlaces work;
  int places;
};

__device__ inline void add_products(uint32_t w, uint32_t x, float& sum) {
  sum += __uint_as_float(w << 16) * __uint_as_float(x << 16);
  sum += __uint_as_float(w & 0xffff0000u) * __uint_as_float(x & 0xffff0000u);
}

__device__ inline void add_products(const uint4& w, const uint4& x, float (&sums)[4]) {
  add_products(w.x, x.x, sums[0]);
  add_products(w.y, x.y, sums[1]);
  add_products(w.z, x.z, sums[2]);
  add_products(w.w, x.w, sums[3]);
}

// Of one piece and what of x belongs to it.
__device__ inline void multiply_piece(const uint4* w, const uint4* x, int vectors, float (&sums)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (vectors == kPieceBytes / 16) {
#pragma unroll
    for (int i = 0; i < kPieceBytes / 16 / kWarp; ++i)
      add_products(w[lane + i * kWarp], x[lane + i * kWarp], sums);
  } else {
    for (int i = lane; i < vectors; i += kWarp) add_products(w[i], x[i], sums);
  }
}

// This warp's rows of weight x; write(unit, sums of its halves) is called by one lane.
template <int kHalves, class Write>
__device__ void multiply(Stream& stream, const WeightRows& weight, const uint4* x, const Write& write) {
  for (int unit = stream.first(); unit < weight.rows; unit += stream.step()) {
    float totals[kHalves];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float sums[4] = {};
      for (int done = 0; done < weight.row_bytes; done += kPieceBytes) {
        const int bytes = min(kPieceBytes, weight.row_bytes - done);
        multiply_piece(stream.get(), x + done / 16, bytes / 16, sums);
        stream.release();
      }
      totals[half] = warp_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    if (threadIdx.x % kWarp == 0) write(unit, totals);
  }
}

// A vector that other blocks wrote, into shared memory.
__device__ void fetch(const Bf16* from, int count, uint4* to) {
  for (int i = threadIdx.x; i < count / 8; i += kThreads)
    to[i] = __ldcg(reinterpret_cast<const uint4*>(from) + i);
  __syncthreads();
}

// The hidden state of the token, which every block holds for itself.
class Hidden {
 public:
  __device__ Hidden(const DecodeStackArgs& args, Bf16* sum, float* shared)
      : args_(args), sum_(sum), shared_(shared) {}

  __device__ void embed() {
    const int id = __ldg(args_.id);
    const bool is_known = id >= 0 && id < args_.num_ids;
    const Bf16* row = static_cast<const Bf16*>(args_.embedding) + int64_t{is_known ? id : 0} * args_.hidden;
    for (int i = threadIdx.x; i < args_.hidden; i += kThreads)
      sum_[i] = is_known ? row[i] : from_acc<Bf16>(NAN);
    __syncthreads();
  }

  /// Asks for the weight of the norm that comes, before a wait.
  __device__ void expect(const void* norm) {
#pragma unroll
    for (int v = 0; v < kNormVectors; ++v)
      if (begin(v) < args_.hidden)
        weight_[v] = __ldg(reinterpret_cast<const uint4*>(static_cast<const Bf16*>(norm) + begin(v)));
  }
  /// Adds what a product has given, rounds, and writes the norm of the sum.
  __device__ void add_and_norm(const Bf16* delta, Bf16* y) {
    float value[kNormVectors][8], square = 0;
#pragma unroll
    for (int v = 0; v < kNormVectors; ++v) {
      if (begin(v) >= args_.hidden) continue;
      load_acc(sum_ + begin(v), value[v]);
      if (delta != nullptr) {
        const uint4 words = __ldcg(reinterpret_cast<const uint4*>(delta + begin(v)));
        float more[8];
        to_acc(*reinterpret_cast<const Vector<Bf16, 8>*>(&words), more);
#pragma unroll
        for (int e = 0; e < 8; ++e) value[v][e] = to_acc(from_acc<Bf16>(value[v][e] + more[e]));
        store_acc(sum_ + begin(v), value[v]);
      }
#pragma unroll
      for (int e = 0; e < 8; ++e) square += value[v][e] * value[v][e];
    }
    square = block_sum(square, shared_);
    const float rstd = 1 / sqrt(square / static_cast<float>(args_.hidden) + args_.eps);
#pragma unroll
    for (int v = 0; v < kNormVectors; ++v) {
      if (begin(v) >= args_.hidden) continue;
      float weight[8];
      to_acc(*reinterpret_cast<const Vector<Bf16, 8>*>(&weight_[v]), weight);
#pragma unroll
      for (int e = 0; e < 8; ++e) value[v][e] = value[v][e] * rstd * weight[e];
      store_acc(y + begin(v), value[v]);
    }
    __syncthreads();
  }

 private:
  __device__ static int begin(int vector) {
    return (vector * kThreads + static_cast<int>(threadIdx.x)) * 8;
  }

  const DecodeStackArgs& args_;
  Bf16* sum_;
  float* shared_;
  uint4 weight_[kNormVectors] = {};
};

// A block a multiprocessor. Weights flow into shared memory without a stop; what makes them wait is only that
// every product needs the whole result of the last.
template <int kDim, int kRows>
__global__ __launch_bounds__(kThreads,
                             1) void decode_stack_kernel(const __grid_constant__ DecodeStackArgs args,
                                                         const __grid_constant__ Memory memory) {
  extern __shared__ __align__(128) char shared[];
  char* work = static_cast<char*>(args.work);
  const auto work_vector = [&](int64_t place) { return reinterpret_cast<Bf16*>(work + place); };
  Bf16* const x = reinterpret_cast<Bf16*>(shared + memory.shared.x);
  const auto* x_vectors = reinterpret_cast<const uint4*>(x);
  Bf16* const qkv = work_vector(memory.work.qkv);
  Bf16* const delta = work_vector(memory.work.delta);
  Bf16* const inner = work_vector(memory.work.inner);

  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const StackProducts products{args};
  Stream stream(products, shared + warp * memory.places * kPieceBytes,
                reinterpret_cast<uint64_t*>(shared + memory.shared.barriers) + warp * memory.places,
                memory.places, static_cast<int>(blockIdx.x) + warp * static_cast<int>(gridDim.x),
                kWarps * static_cast<int>(gridDim.x));
  GridBarrier all_blocks(reinterpret_cast<uint32_t*>(work));
  Hidden hidden(args, reinterpret_cast<Bf16*>(shared + memory.shared.sum),
                reinterpret_cast<float*>(shared + memory.shared.sums));
  StackAttention<kDim, kRows> attention(args, reinterpret_cast<float*>(shared + memory.shared.q),
                                        reinterpret_cast<float*>(x),
                                        reinterpret_cast<float*>(work + memory.work.parts));
  const auto into = [](Bf16* out) {
    return [out](int row, const float(&sum)[1]) { out[row] = from_acc<Bf16>(sum[0]); };
  };

  hidden.expect(args.layers[0].input_norm);
  hidden.embed();
  for (int i = 0; i < args.num_layers; ++i) {
    const DecodeLayerPlaces& layer = args.layers[i];
    hidden.add_and_norm(i == 0 ? nullptr : delta, x);
    multiply<1>(stream, products.at(4 * i), x_vectors, into(qkv));
    attention.prefetch(layer);
    all_blocks.wait();
    attention.attend(layer, qkv);
    all_blocks.wait();
    attention.join(layer, x);
    __syncthreads();
    multiply<1>(stream, products.at(4 * i + 1), x_vectors, into(delta));
    hidden.expect(layer.pre_mlp_norm);
    all_blocks.wait();
    hidden.add_and_norm(delta, x);
    multiply<2>(stream, products.at(4 * i + 2), x_vectors, [inner](int row, const float(&pre)[2]) {
      const float gate = to_acc(from_acc<Bf16>(pre[0])), linear = to_acc(from_acc<Bf16>(pre[1]));
      inner[row] = from_acc<Bf16>(evaluate<Bf16, cpu::Activation::kSilu>(gate).value * linear);
    });
    all_blocks.wait();
    fetch(inner, args.ffn, reinterpret_cast<uint4*>(x));
    multiply<1>(stream, products.at(4 * i + 3), x_vectors, into(delta));
    hidden.expect(i + 1 < args.num_layers ? args.layers[i + 1].input_norm : args.final_norm);
    all_blocks.wait();
  }
  hidden.add_and_norm(delta, x);
  multiply<1>(stream, products.at(4 * args.num_layers), x_vectors, into(static_cast<Bf16*>(args.logits)));
}

template <int kDim, int kRows>
Memory memory_of(const DecodeStackArgs& args, Exec& exec, int places) {
  return {.shared = SharedPlaces(args, places, StackAttention<kDim, kRows>::kMergedFloats, kRows),
          .work = WorkPlaces(args, exec.cuda().limits().sm_count),
          .places = places};
}

// With as many places for pieces as there is room for; 0 when not even two fit.
template <int kDim, int kRows>
Memory largest_memory(const DecodeStackArgs& args, Exec& exec) {
  for (int places = kMaxPlaces; places >= 2; --places) {
    const Memory memory = memory_of<kDim, kRows>(args, exec, places);
    if (memory.shared.bytes <= exec.cuda().limits().shared_bytes_per_block) return memory;
  }
  return memory_of<kDim, kRows>(args, exec, 0);
}

// Calls work.operator()<kDim, kRows>().
template <class Work>
auto dispatch_heads(const DecodeStackArgs& args, const Work& work) {
  const int rows = args.num_heads / args.num_groups;
  if (args.head_dim == 64) {
    if (rows == 1) return work.template operator()<64, 1>();
    if (rows == 2) return work.template operator()<64, 2>();
    return work.template operator()<64, 4>();
  }
  if (rows == 1) return work.template operator()<128, 1>();
  if (rows == 2) return work.template operator()<128, 2>();
  return work.template operator()<128, 4>();
}

bool are_aligned(const DecodeStackArgs& a) {
  const auto fits = [](std::initializer_list<const void*> places) {
    return vectors_fit(8, 2, 8, {}, places);
  };
  bool all = fits({a.embedding, a.final_norm, a.head, a.work});
  for (int i = 0; i < a.num_layers; ++i) {
    const DecodeLayerPlaces& l = a.layers[i];
    all = all && fits({l.input_norm, l.qkv, l.proj, l.pre_mlp_norm, l.fc1, l.fc2, l.keys, l.values});
  }
  return all;
}

}  // namespace

bool takes_decode_stack(const DecodeStackArgs& a, Exec& exec) {
  const CudaLimits& limits = exec.cuda().limits();
  const bool has_heads = (a.head_dim == 64 || a.head_dim == 128) && a.num_groups > 0 &&
                         a.num_groups <= limits.sm_count && a.num_heads % a.num_groups == 0 &&
                         a.num_heads / a.num_groups <= 4;
  if (limits.arch < 90 || !has_heads || a.num_layers < 1 || a.num_layers > kMaxDecodeLayers) return false;
  if (a.hidden % 8 != 0 || a.ffn % 8 != 0 || a.hidden > kNormVectors * kThreads * 8) return false;
  return are_aligned(a) && dispatch_heads(a, [&]<int kDim, int kRows>() {
           return largest_memory<kDim, kRows>(a, exec).places > 0;
         });
}

int64_t decode_stack_work_bytes(const DecodeStackArgs& args, Exec& exec) {
  return WorkPlaces(args, exec.cuda().limits().sm_count).bytes;
}

void decode_stack(const DecodeStackArgs& args, Exec& exec) {
  exec.cuda().clear(args.work, sizeof(uint32_t));
  dispatch_heads(args, [&]<int kDim, int kRows>() {
    const Memory memory = largest_memory<kDim, kRows>(args, exec);
    auto* kernel = decode_stack_kernel<kDim, kRows>;
    MG_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory.shared.bytes));
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = static_cast<unsigned>(exec.cuda().limits().sm_count);
    config.blockDim = kThreads;
    config.dynamicSmemBytes = static_cast<size_t>(memory.shared.bytes);
    config.stream = exec.cuda().stream();
    config.attrs = &attribute;
    config.numAttrs = 1;
    MG_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, args, memory));
  });
}

}  // namespace megalith::cuda
