#pragma once
// defines: PackedVector, PackedHalves, load_packed, store_packed

#include <type_traits>

#include "megalith/kernels/cuda/device/float_types.cuh"

namespace megalith::cuda {

/// What load_vector() reads, as it lies in memory until an element is asked for. As the type of its halves,
/// the compiler takes a word apart as soon as it is loaded: it waits for it there, and needs twice the
/// registers.
template <class T, int kCount>
struct PackedVector {
  Vector<T, kCount> vector;
  __device__ acc_t<T> operator[](int i) const { return to_acc(vector.element[i]); }
  __device__ void repack() {}
};

template <class T>
struct alignas(16) PackedHalves {
  uint32_t words[4];
  __device__ float operator[](int i) const {
    const uint32_t word = words[i / 2];
    if constexpr (std::is_same_v<T, Bf16>)
      return __uint_as_float(i % 2 == 0 ? word << 16 : word & 0xffff0000u);
    const auto half = static_cast<unsigned short>(i % 2 == 0 ? word : word >> 16);
    return __half2float(__ushort_as_half(half));
  }
  /// Elements asked for before are not kept in registers of their own for those who ask again.
  __device__ void repack() {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(words[i]));
  }
};
template <>
struct PackedVector<Bf16, 8> : PackedHalves<Bf16> {};
template <>
struct PackedVector<__half, 8> : PackedHalves<__half> {};

template <int kCount, class T>
__device__ inline PackedVector<T, kCount> load_packed(const T* place) {
  return *reinterpret_cast<const PackedVector<T, kCount>*>(place);
}

template <class T, int kCount>
__device__ inline void store_packed(T* place, const PackedVector<T, kCount>& vector) {
  *reinterpret_cast<PackedVector<T, kCount>*>(place) = vector;
}

}  // namespace megalith::cuda
