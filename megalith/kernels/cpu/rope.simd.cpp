#include "megalith/kernels/cpu/rope.h"

#include "megalith/kernels/cpu/float_types.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class T>
void turn_tokens(const RopeArgs& args) {
  using Acc = accumulate_t<T>;
  const int64_t pairs = args.pairs;
  const Acc direction = args.inverse ? -1 : 1;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t token = 0; token < args.tokens; ++token) {
    const Acc* cos = static_cast<const Acc*>(args.cos) + args.positions[token] * pairs;
    const Acc* sin = static_cast<const Acc*>(args.sin) + args.positions[token] * pairs;
    for (int64_t head = 0; head < args.heads; ++head) {
      T* first = static_cast<T*>(args.x) + token * args.token_stride + head * args.head_stride;
      T* second = first + pairs;
#pragma omp simd
      for (int64_t i = 0; i < pairs; ++i) {
        const Acc a = load(first[i]);
        const Acc b = load(second[i]);
        const Acc s = direction * sin[i];
        store(first[i], a * cos[i] - b * s);
        store(second[i], b * cos[i] + a * s);
      }
    }
  }
}

}  // namespace

void rope(const RopeArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() { turn_tokens<T>(args); });
}

}  // namespace megalith::cpu::MG_ISA
