#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/sample_tokens.h"

namespace megalith::cuda {
namespace {

// The tokens of a row lie in a line, the largest logit first. A token is found by what stands before it,
// their number or their mass: digit by digit of the logit's bits, from histograms of the tokens that have the
// digits so far. Masses are integers, so no sum depends on an order.
constexpr int kThreads = 1024, kWarps = kThreads / kWarp;
constexpr int kFirstBits = 11, kBits = 7, kDigits = 4;  // 11 + 3 * 7 = 32
constexpr int kFirstBins = 1 << kFirstBits, kBins = 1 << kBits;
constexpr float kOne = 0x1p40F;
static_assert(kFirstBins == 2 * kThreads);

using Mass = unsigned long long;

// Larger for a larger logit, the same for both zeros.
__device__ inline uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0F);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float logit_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}
constexpr __device__ int shift_of(int digit) {
  return kBits * (kDigits - 1 - digit);
}

struct Amount {
  uint32_t count;
  Mass mass;
};

// Equal logits, of which one is meant: the one behind `rank` others of a lower index.
struct Place {
  uint32_t key = 0;
  uint32_t rank = 0;
  Amount before = {};  // in front of the first of them
};

enum class By { kCount, kMass };

struct Shared {
  uint32_t first_counts[kFirstBins], counts[kBins];
  Mass first_masses[kFirstBins], masses[kBins];
  Amount warps[kWarps];
  uint32_t warp_counts[kWarps];
  Mass warp_masses[kWarps];
  uint32_t found;  // a digit
  Amount before;   // it
};

template <class T>
class Row {
 public:
  __device__ Row(const SampleProblem& p, Shared& shared)
      : logits_(static_cast<const T*>(p.logits) + int64_t{blockIdx.x} * p.stride),
        columns_(static_cast<int32_t>(p.columns)),
        inverse_temperature_(static_cast<float>(fmin(1 / p.options.temperature, 1e38))),
        shared_(shared) {}

  /// False where a logit is not a number or +inf, or all are -inf.
  __device__ bool begin() {
    float largest = -INFINITY;
    bool is_bad = false;
    each([&](int32_t, float x) {
      is_bad |= isnan(x);
      largest = fmaxf(largest, x);
    });
    for (int offset = kWarp / 2; offset > 0; offset /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, offset));
    auto* const warps = reinterpret_cast<float*>(shared_.warp_counts);
    if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = largest;
    is_bad = __syncthreads_or(is_bad) != 0;
    largest = warps[threadIdx.x % kWarp];
    for (int offset = kWarp / 2; offset > 0; offset /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, offset));
    largest_ = largest;
    if (is_bad || isinf(largest)) return false;
    count_first_digits();
    return true;
  }

  __device__ Mass mass_of(uint32_t key) const {
    return static_cast<Mass>(expf((logit_of(key) - largest_) * inverse_temperature_) * kOne);
  }

  /// All of the line.
  __device__ Mass total() {
    const Mass* masses = shared_.first_masses;
    return block_sum(masses[threadIdx.x] + masses[threadIdx.x + kThreads], shared_.warp_masses);
  }

  /// The token in front of which stands as much as `target`, or all but a part of it.
  template <By kBy>
  __device__ Place find(Mass target) {
    Place place;
    find_digit<kBy>(shared_.first_counts, shared_.first_masses, kFirstBins, target, 0, place);
    for (int digit = 1; digit < kDigits; ++digit) {
      count_digits(digit, place.key);
      find_digit<kBy>(shared_.counts, shared_.masses, kBins, target, digit, place);
    }
    const Mass rest = target - (kBy == By::kCount ? Mass{place.before.count} : place.before.mass);
    place.rank = static_cast<uint32_t>(kBy == By::kCount ? rest : rest / mass_of(place.key));
    return place;
  }
  /// What stands before the token's end.
  __device__ Mass mass_to(const Place& place) const {
    return place.before.mass + (place.rank + Mass{1}) * mass_of(place.key);
  }

  __device__ void write_index(const Place& place, int32_t* out) {
    uint32_t seen = 0;
    for (int32_t tile = 0; tile < columns_; tile += kThreads) {
      const int32_t column = tile + static_cast<int32_t>(threadIdx.x);
      const bool is_one = column < columns_ && key_of(to_float(logits_[column])) == place.key;
      const auto ones = static_cast<uint32_t>(__syncthreads_count(is_one));
      if (seen + ones <= place.rank) {
        seen += ones;
        continue;
      }
      const uint32_t mates = __ballot_sync(~0u, is_one);
      if (threadIdx.x % kWarp == 0) shared_.warp_counts[threadIdx.x / kWarp] = __popc(mates);
      __syncthreads();
      for (uint32_t warp = 0; warp < threadIdx.x / kWarp; ++warp) seen += shared_.warp_counts[warp];
      seen += __popc(mates & ((1u << (threadIdx.x % kWarp)) - 1));
      if (is_one && seen == place.rank) *out = column;
      return;
    }
  }

 private:
  __device__ static float to_float(T x) { return static_cast<float>(to_acc(x)); }
  template <class Body>
  __device__ void each(const Body& body) const {
    for (int32_t column = static_cast<int32_t>(threadIdx.x); column < columns_; column += kThreads)
      body(column, to_float(logits_[column]));
  }

  __device__ void count_first_digits() {
    for (int bin = static_cast<int>(threadIdx.x); bin < kFirstBins; bin += kThreads)
      shared_.first_counts[bin] = 0, shared_.first_masses[bin] = 0;
    __syncthreads();
    each([&](int32_t, float x) {
      const uint32_t key = key_of(x);
      atomicAdd(&shared_.first_counts[key >> shift_of(0)], 1u);
      if (const Mass mass = mass_of(key)) atomicAdd(&shared_.first_masses[key >> shift_of(0)], mass);
    });
    __syncthreads();
  }

  // Of the keys that begin as `prefix` does.
  __device__ void count_digits(int digit, uint32_t prefix) {
    if (threadIdx.x < kBins) shared_.counts[threadIdx.x] = 0, shared_.masses[threadIdx.x] = 0;
    __syncthreads();
    const int shift = shift_of(digit);
    each([&](int32_t, float x) {
      const uint32_t key = key_of(x);
      if (key >> (shift + kBits) != prefix >> (shift + kBits)) return;
      atomicAdd(&shared_.counts[key >> shift & (kBins - 1)], 1u);
      if (const Mass mass = mass_of(key)) atomicAdd(&shared_.masses[key >> shift & (kBins - 1)], mass);
    });
    __syncthreads();
  }

  // A thread has two bins, the largest digits first; one of the threads finds the digit in its own.
  template <By kBy>
  __device__ void find_digit(const uint32_t* counts, const Mass* masses, int bins, Mass target, int digit,
                             Place& place) {
    const int first = bins - 1 - 2 * static_cast<int>(threadIdx.x), second = first - 1;
    const bool has_bins = second >= 0;
    Amount own[2] = {};
    if (has_bins) own[0] = {counts[first], masses[first]}, own[1] = {counts[second], masses[second]};
    Amount sum{own[0].count + own[1].count, own[0].mass + own[1].mass};
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const Amount both = sum;
    sum = scanned(sum, lane);
    if (lane == kWarp - 1) shared_.warps[warp] = sum;
    __syncthreads();
    if (warp == 0) {
      const Amount total = shared_.warps[lane], to_here = scanned(total, lane);
      shared_.warps[lane] = {to_here.count - total.count, to_here.mass - total.mass};
    }
    __syncthreads();
    Amount before{place.before.count + shared_.warps[warp].count + sum.count - both.count,
                  place.before.mass + shared_.warps[warp].mass + sum.mass - both.mass};
    for (int i = 0; i < 2 && has_bins; ++i) {
      const Mass begin = kBy == By::kCount ? Mass{before.count} : before.mass;
      const Mass length = kBy == By::kCount ? Mass{own[i].count} : own[i].mass;
      if (begin <= target && target < begin + length)
        shared_.found = static_cast<uint32_t>(i == 0 ? first : second), shared_.before = before;
      before.count += own[i].count, before.mass += own[i].mass;
    }
    __syncthreads();
    place.key |= shared_.found << shift_of(digit);
    place.before = shared_.before;
    __syncthreads();
  }
  __device__ static Amount scanned(Amount sum, uint32_t lane) {
    for (uint32_t offset = 1; offset < kWarp; offset *= 2) {
      const uint32_t count = __shfl_up_sync(~0u, sum.count, offset);
      const Mass mass = __shfl_up_sync(~0u, sum.mass, offset);
      if (lane >= offset) sum.count += count, sum.mass += mass;
    }
    return sum;
  }

  const T* logits_;
  int32_t columns_;
  float inverse_temperature_, largest_ = 0;
  Shared& shared_;
};

template <class T>
__global__ __launch_bounds__(kThreads) void sample_row(SampleProblem p) {
  __shared__ Shared shared;
  let_next_begin();
  wait_for_last();
  Row<T> row(p, shared);
  int32_t* const out = p.out + blockIdx.x;
  if (!row.begin()) {
    if (threadIdx.x == 0) *out = -1;
    return;
  }
  Mass kept = p.options.top_k > 0 && p.options.top_k < p.columns
                  ? row.mass_to(row.template find<By::kCount>(static_cast<Mass>(p.options.top_k - 1)))
                  : row.total();
  if (p.options.top_p > 0 && p.options.top_p < 1) {
    const auto needed = static_cast<Mass>(ceil(p.options.top_p * static_cast<double>(kept)));
    kept = row.mass_to(row.template find<By::kMass>(needed - 1));
  }
  const double place = (static_cast<uint32_t>(p.words[blockIdx.x]) + 0.5) * 0x1p-32;
  const auto target = static_cast<Mass>(place * static_cast<double>(kept));
  row.write_index(row.template find<By::kMass>(min(target, kept - 1)), out);
}

}  // namespace

void sample_tokens(const SampleProblem& p, Exec& exec) {
  if (p.rows == 0) return;
  dispatch_device_float(p.dtype, [&]<class T>() {
    MG_CUDA_CHECK(
        launch_early(sample_row<T>, narrow<unsigned>(p.rows), kThreads, 0, exec.cuda().stream(), p));
  });
}

}  // namespace megalith::cuda
