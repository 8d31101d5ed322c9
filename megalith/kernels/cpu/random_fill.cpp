#include "megalith/kernels/cpu/random_fill.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {
namespace {

template <class T>
void fill_blocks(const FillNormalArgs& args, [[maybe_unused]] int num_threads) {
  const int64_t end = args.first_element + args.count;
  T* x = static_cast<T*>(args.x);
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int64_t block = args.first_element / 4; block < ceil_div<int64_t>(end, 4); ++block) {
    const auto normals = normal_from_block(args.rng.block(static_cast<uint64_t>(block)));
    for (int64_t lane = 0; lane < 4; ++lane) {
      const int64_t element = 4 * block + lane;
      if (element < args.first_element || element >= end) continue;
      const double value = args.mean + args.std * static_cast<double>(normals[static_cast<size_t>(lane)]);
      x[element - args.first_element] = T(static_cast<accumulate_t<T>>(value));
    }
  }
}

}  // namespace

void fill_normal(const FillNormalArgs& args, Exec& exec) {
  // A deviate costs some fifty times what an element of a plain pass costs.
  const int num_threads = threads_for(50 * args.count, exec.num_threads());
  dispatch_dtype<double, float, bf16, f16>(args.dtype, "fill_normal",
                                           [&]<class T>() { fill_blocks<T>(args, num_threads); });
}

}  // namespace megalith::cpu
