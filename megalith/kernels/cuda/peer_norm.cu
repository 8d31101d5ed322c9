#include "megalith/kernels/cuda/device/norm_row.cuh"
#include "megalith/kernels/cuda/peer_norm.h"

namespace megalith::cuda {
namespace {

template <int64_t kBytes>
struct WordOf;
template <>
struct WordOf<2> {
  using Type = unsigned short;
};
template <>
struct WordOf<4> {
  using Type = unsigned int;
};
template <>
struct WordOf<8> {
  using Type = unsigned long long;
};
template <>
struct WordOf<16> {
  using Type = uint4;
};
template <int64_t kBytes>
using Word = typename WordOf<kBytes>::Type;

template <class T>
struct PeerPlaces {
  PeerNormArgs args;
  __device__ const T* x_row(int64_t) const { return nullptr; }  // what is read again is the sum
  __device__ int64_t place(int64_t row, int64_t col) const {
    return (args.first_row + row) * args.norm.cols + col;
  }
  template <int kCount>
  __device__ void load(int64_t row, int64_t col, acc_t<T> (&x)[kCount]) const {
    const int64_t at = place(row, col);
    load_acc(static_cast<const T*>(args.terms[0]) + at, x);
#pragma unroll 4
    for (int rank = 1; rank < args.num_ranks; ++rank) {
      acc_t<T> term[kCount];
      load_acc(static_cast<const T*>(args.terms[rank]) + at, term);
#pragma unroll
      for (int i = 0; i < kCount; ++i) x[i] += term[i];
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = to_acc(from_acc<T>(x[i]));
  }
  template <int kCount>
  __device__ void store(int64_t row, int64_t col, const acc_t<T> (&y)[kCount]) const {
    Vector<T, kCount> vector;
#pragma unroll
    for (int i = 0; i < kCount; ++i) vector.element[i] = from_acc<T>(y[i]);
    // By an instruction for a word: left to itself the compiler stores the elements one by one in the loop,
    // and a link carries each by itself.
    const auto word = __builtin_bit_cast(Word<kCount * sizeof(T)>, vector);
    const auto put = [&](void* out, int64_t at) {
      __stcg(reinterpret_cast<Word<kCount * sizeof(T)>*>(static_cast<T*>(out) + at), word);
    };
    put(args.norm.y, row * args.norm.y_stride + col);
    for (int rank = 0; rank < args.num_ranks; ++rank) put(args.wholes[rank], place(row, col));
  }
};

template <class T, int kCount>
void launch(const PeerNormArgs& args, Exec& exec) {
  const int64_t vectors = args.norm.cols / kCount;
  const int threads = threads_for_row(vectors);
  auto* kernel = vectors <= threads ? norm_row<T, kCount, true, PeerPlaces<T>>
                                    : norm_row<T, kCount, false, PeerPlaces<T>>;
  kernel<<<narrow<unsigned>(args.norm.rows), static_cast<unsigned>(threads), 0, exec.cuda().stream()>>>(
      args.norm, PeerPlaces<T>{args});
  MG_CUDA_LAUNCHED();
}

}  // namespace

void peer_norm(const PeerNormArgs& args, Exec& exec) {
  if (args.norm.rows == 0) return;
  dispatch_device_float(args.norm.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const cpu::NormArgs& norm = args.norm;
    bool fits =
        vectors_fit(kCount, sizeof(T), norm.cols, {norm.residual_stride, norm.sum_stride, norm.y_stride},
                    {norm.residual, norm.sum, norm.y, norm.weight, norm.bias});
    for (int rank = 0; rank < args.num_ranks; ++rank)
      fits = fits && vectors_fit(kCount, sizeof(T), norm.cols, {}, {args.terms[rank], args.wholes[rank]});
    if (fits) return launch<T, kCount>(args, exec);
    launch<T, 1>(args, exec);
  });
}

}  // namespace megalith::cuda
