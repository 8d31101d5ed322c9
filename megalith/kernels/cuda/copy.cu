#include <cstring>
#include <type_traits>

#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/elementwise.h"

namespace megalith::cuda {
namespace {

// Between f64 and f32 directly, all others by way of float; same types as they are.
template <class To, class From>
__device__ inline To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else {
    using Between =
        std::conditional_t<std::is_same_v<From, double> && std::is_same_v<To, float>, double, float>;
    Between between;
    if constexpr (std::is_same_v<From, Bf16>) {
      between = __bfloat162float(value);
    } else if constexpr (std::is_same_v<From, __half>) {
      between = __half2float(value);
    } else {
      between = static_cast<Between>(value);
    }
    if constexpr (std::is_same_v<To, Bf16>) {
      return __float2bfloat16_rn(between);
    } else if constexpr (std::is_same_v<To, __half>) {
      return __float2half_rn(between);
    } else {
      return static_cast<To>(between);
    }
  }
}

// Where the row of the outer dimensions begins, on both sides.
struct Places {
  int64_t from, to;
};
__device__ inline Places places_of(const cpu::CopyArgs& args, int64_t row) {
  Places places{0, 0};
  for (int i = args.rank - 2; i >= 0; --i) {
    const int64_t place = row % args.dims[i];
    row /= args.dims[i];
    places.from += place * args.from_strides[i];
    places.to += place * args.to_strides[i];
  }
  return places;
}

template <class From, class To, int kCount>
struct CopyVectors {
  cpu::CopyArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    const Places places = places_of(args, row);
    const auto from = *reinterpret_cast<const Vector<From, kCount>*>(static_cast<const From*>(args.from) +
                                                                     places.from + vector * kCount);
    Vector<To, kCount> to;
#pragma unroll
    for (int i = 0; i < kCount; ++i) to.element[i] = convert<To>(from.element[i]);
    *reinterpret_cast<Vector<To, kCount>*>(static_cast<To*>(args.to) + places.to + vector * kCount) = to;
  }
};

template <class From, class To>
struct CopyElements {
  cpu::CopyArgs args;
  __device__ void operator()(int64_t row, int64_t col) const {
    const Places places = places_of(args, row);
    const int last = args.rank - 1;
    static_cast<To*>(args.to)[places.to + col * args.to_strides[last]] =
        convert<To>(static_cast<const From*>(args.from)[places.from + col * args.from_strides[last]]);
  }
};

template <class T>
struct FillElements {
  cpu::CopyArgs args;
  T value;
  __device__ void operator()(int64_t row, int64_t col) const {
    static_cast<T*>(args.to)[places_of(args, row).to + col * args.to_strides[args.rank - 1]] = value;
  }
};

int64_t outer_rows(const cpu::CopyArgs& args) {
  int64_t rows = 1;
  for (int i = 0; i + 1 < args.rank; ++i) rows *= args.dims[i];
  return rows;
}

bool can_use_vectors(const cpu::CopyArgs& args, int count, int64_t from_bytes, int64_t to_bytes) {
  const int last = args.rank - 1;
  if (args.from_strides[last] != 1 || args.to_strides[last] != 1) return false;
  if (!vectors_fit(count, from_bytes, args.dims[last], {}, {args.from})) return false;
  if (!vectors_fit(count, to_bytes, args.dims[last], {}, {args.to})) return false;
  for (int i = 0; i < last; ++i) {
    if (args.from_strides[i] % count != 0 || args.to_strides[i] % count != 0) return false;
  }
  return true;
}

template <class From, class To>
void copy_as(const cpu::CopyArgs& args, Exec& exec) {
  constexpr int kCount = kVectorBytes / std::max(sizeof(From), sizeof(To));
  const int64_t cols = args.dims[args.rank - 1];
  if (can_use_vectors(args, kCount, sizeof(From), sizeof(To))) {
    return launch_rows(CopyVectors<From, To, kCount>{args}, outer_rows(args), cols / kCount, exec);
  }
  launch_rows(CopyElements<From, To>{args}, outer_rows(args), cols, exec);
}

template <class From>
void copy_from(const cpu::CopyArgs& args, Exec& exec) {
  switch (args.to_dtype) {
    case DType::kF64:
      return copy_as<From, double>(args, exec);
    case DType::kBF16:
      return copy_as<From, Bf16>(args, exec);
    case DType::kF16:
      return copy_as<From, __half>(args, exec);
    default:
      return copy_as<From, float>(args, exec);
  }
}

// Calls work with an unsigned type of the dtype's size.
template <class Work>
void dispatch_bits(DType dtype, Work&& work) {
  switch (size_of(dtype)) {
    case 8:
      return work.template operator()<uint64_t>();
    case 4:
      return work.template operator()<uint32_t>();
    case 2:
      return work.template operator()<uint16_t>();
    default:
      return work.template operator()<uint8_t>();
  }
}

bool has_elements(const cpu::CopyArgs& args) {
  for (int i = 0; i < args.rank; ++i) {
    if (args.dims[i] == 0) return false;
  }
  return true;
}

}  // namespace

void copy(cpu::CopyArgs args, Exec& exec) {
  if (!has_elements(args)) return;
  cpu::fold_dims(args);
  if (args.from_dtype == args.to_dtype) {
    if (args.rank == 1 && args.from_strides[0] == 1 && args.to_strides[0] == 1) {
      MG_CUDA_CHECK(cudaMemcpyAsync(args.to, args.from,
                                    static_cast<size_t>(args.dims[0]) * size_of(args.to_dtype),
                                    cudaMemcpyDefault, exec.cuda().stream()));
      return;
    }
    return dispatch_bits(args.to_dtype, [&]<class T>() { copy_as<T, T>(args, exec); });
  }
  switch (args.from_dtype) {
    case DType::kF64:
      return copy_from<double>(args, exec);
    case DType::kBF16:
      return copy_from<Bf16>(args, exec);
    case DType::kF16:
      return copy_from<__half>(args, exec);
    default:
      return copy_from<float>(args, exec);
  }
}

void fill(cpu::CopyArgs args, Exec& exec) {
  if (!has_elements(args)) return;
  for (int i = 0; i < args.rank; ++i) args.from_strides[i] = 0;
  const void* value = args.from;
  // Dimensions fold by the strides of the target alone once those of the source are 0.
  cpu::fold_dims(args);
  dispatch_bits(args.to_dtype, [&]<class T>() {
    T bits;
    std::memcpy(&bits, value, sizeof bits);
    const int64_t cols = args.dims[args.rank - 1];
    if (bits == 0 && args.rank == 1 && args.to_strides[0] == 1) {
      return exec.cuda().clear(args.to, cols * static_cast<int64_t>(sizeof(T)));
    }
    launch_rows(FillElements<T>{args, bits}, outer_rows(args), cols, exec);
  });
}

}  // namespace megalith::cuda
