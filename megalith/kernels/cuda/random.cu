#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/random.h"

namespace megalith::cuda {
namespace {

// kCount is 1, or a multiple of 4 where every vector begins a block of four words.
template <class T, int kCount>
struct DropRows {
  cpu::DropoutArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    using A = acc_t<T>;
    const RngKey rng{args.rng.seed, args.rng.stream};
    const int64_t col = vector * kCount;
    const auto element = static_cast<uint64_t>(row * args.cols + col);
    A x[kCount];
    load_acc(static_cast<const T*>(args.x) + row * args.x_stride + col, x);
    const A scale = static_cast<A>(args.scale);
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const auto words = rng.block((element + static_cast<uint64_t>(i)) / 4);
      if constexpr (kCount == 1) {
        uint32_t word = words[0];
#pragma unroll
        for (uint32_t lane = 1; lane < 4; ++lane) word = element % 4 == lane ? words[lane] : word;
        x[0] = word >> 9 >= args.threshold ? x[0] * scale : A(0);
      } else {
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
          x[i + lane] = words[static_cast<size_t>(lane)] >> 9 >= args.threshold ? x[i + lane] * scale : A(0);
        }
      }
    }
    store_acc(static_cast<T*>(args.y) + row * args.y_stride + col, x);
  }
};

// One block of four deviates each; those outside [first_element, first_element + count) are not stored.
template <class T>
struct FillBlocks {
  cpu::FillNormalArgs args;
  int64_t first_block;
  __device__ void operator()(int64_t, int64_t index) const {
    const int64_t block = first_block + index;
    const auto words = args.rng.block(static_cast<uint64_t>(block));
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      constexpr double kPi = 3.14159265358979323846;
      const double u = (words[static_cast<size_t>(2 * pair)] + 0.5) * 0x1p-32;
      const double angle = 2 * kPi * (words[static_cast<size_t>(2 * pair + 1)] + 0.5) * 0x1p-32;
      const double radius = sqrt(-2 * log(u));
      const float normals[2] = {static_cast<float>(radius * cos(angle)),
                                static_cast<float>(radius * sin(angle))};
#pragma unroll
      for (int lane = 0; lane < 2; ++lane) {
        const int64_t place = 4 * block + 2 * pair + lane - args.first_element;
        if (place < 0 || place >= args.count) continue;
        const double value = args.mean + args.std * static_cast<double>(normals[lane]);
        static_cast<T*>(args.x)[place] = from_acc<T>(static_cast<acc_t<T>>(value));
      }
    }
  }
};

}  // namespace

void dropout(const cpu::DropoutArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = sizeof(T) == 2 ? 8 : 4;
    const bool is_flat = args.rows == 1;
    const bool fits =
        vectors_fit(kCount, sizeof(T), args.cols, {is_flat ? 0 : args.x_stride, is_flat ? 0 : args.y_stride},
                    {args.x, args.y});
    if (fits) return launch_rows(DropRows<T, kCount>{args}, args.rows, args.cols / kCount, exec);
    launch_rows(DropRows<T, 1>{args}, args.rows, args.cols, exec);
  });
}

void fill_normal(const cpu::FillNormalArgs& args, Exec& exec) {
  if (args.count == 0) return;
  const int64_t first_block = args.first_element / 4;
  const int64_t blocks = ceil_div<int64_t>(args.first_element + args.count, 4) - first_block;
  dispatch_device_float(args.dtype, [&]<class T>() {
    launch_rows(FillBlocks<T>{args, first_block}, 1, blocks, exec);
  });
}

}  // namespace megalith::cuda
