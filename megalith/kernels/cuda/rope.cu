#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/rope.h"

namespace megalith::cuda {
namespace {

// A vector of angles is read once and turned through for kHeads heads.
constexpr int64_t kHeads = 4;

// The grid's rows are (token, group of heads), its columns vectors of pairs.
template <class T, int kCount>
struct TurnPairs {
  cpu::RopeArgs args;
  int64_t num_positions;
  int64_t head_groups;
  __device__ void operator()(int64_t row, int64_t vector) const {
    using A = acc_t<T>;
    const int64_t token = row / head_groups;
    const int64_t first_head = row % head_groups * kHeads;
    const int64_t last_head = min(first_head + kHeads, args.heads);
    const int64_t pair = vector * kCount;
    const int64_t position = args.positions[token];
    const bool is_known = position >= 0 && position < num_positions;
    const int64_t place = (is_known ? position : 0) * args.pairs + pair;
    A cosine[kCount], sine[kCount];
    load_acc(static_cast<const A*>(args.cos) + place, cosine);
    load_acc(static_cast<const A*>(args.sin) + place, sine);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (args.inverse) sine[i] = -sine[i];
      if (!is_known) cosine[i] = sine[i] = static_cast<A>(NAN);
    }
    T* first = static_cast<T*>(args.x) + token * args.token_stride + first_head * args.head_stride + pair;
#pragma unroll
    for (int64_t head = 0; head < kHeads; ++head) {
      if (first_head + head >= last_head) break;
      A a[kCount], b[kCount], turned[kCount];
      load_acc(first, a);
      load_acc(first + args.pairs, b);
#pragma unroll
      for (int i = 0; i < kCount; ++i) turned[i] = a[i] * cosine[i] - b[i] * sine[i];
      store_acc(first, turned);
#pragma unroll
      for (int i = 0; i < kCount; ++i) turned[i] = b[i] * cosine[i] + a[i] * sine[i];
      store_acc(first + args.pairs, turned);
      first += args.head_stride;
    }
  }
};

template <class T, int kCount>
void launch(const cpu::RopeArgs& args, int64_t num_positions, Exec& exec) {
  const int64_t head_groups = ceil_div(args.heads, kHeads);
  launch_rows(TurnPairs<T, kCount>{args, num_positions, head_groups}, args.tokens * head_groups,
              args.pairs / kCount, exec);
}

}  // namespace

void rope(const cpu::RopeArgs& args, int64_t num_positions, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits =
        vectors_fit(kCount, sizeof(T), args.pairs, {args.token_stride, args.head_stride}, {args.x}) &&
        vectors_fit(kCount, sizeof(acc_t<T>), args.pairs, {}, {args.cos, args.sin});
    if (fits) return launch<T, kCount>(args, num_positions, exec);
    launch<T, 1>(args, num_positions, exec);
  });
}

}  // namespace megalith::cuda
