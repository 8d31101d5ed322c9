#include <bit>

#include <cub/device/device_radix_sort.cuh>

#include "megalith/kernels/cuda/device/gradient_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/embedding.h"

namespace megalith::cuda {
namespace {

template <class T, int kCount>
struct GatherRows {
  cpu::EmbeddingArgs args;
  EmbeddingLimits limits;
  __device__ void operator()(int64_t token, int64_t vector) const {
    using A = acc_t<T>;
    const int64_t col = vector * kCount;
    const int64_t row_of_id = args.ids[token] - args.first_id;
    const bool is_held = row_of_id >= 0 && row_of_id < args.num_rows;
    bool is_known = args.ids[token] >= 0 && args.ids[token] < limits.num_ids;
    A row[kCount] = {};
    if (is_held) load_acc(static_cast<const T*>(args.table) + row_of_id * args.table_stride + col, row);
    if (args.positions != nullptr) {
      const int64_t position = args.positions[token];
      const bool has_place = position >= 0 && position < limits.position_rows;
      is_known = is_known && has_place;
      A place[kCount];
      load_acc(static_cast<const T*>(args.positions_table) +
                   (has_place ? position : 0) * args.positions_stride + col,
               place);
#pragma unroll
      for (int i = 0; i < kCount; ++i) row[i] += place[i];
    }
    if (!is_known) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) row[i] = static_cast<A>(NAN);
    }
    store_acc(static_cast<T*>(args.out) + token * args.out_stride + col, row);
  }
};

// What the gradient sorts by: the row of a token's id, and behind all rows what has none here.
struct NumberTokens {
  cpu::EmbeddingBackwardArgs args;
  int32_t* rows;
  int32_t* tokens;
  __device__ void operator()(int64_t, int64_t token) const {
    const int64_t row = args.ids[token] - args.first_id;
    rows[token] = static_cast<int32_t>(row >= 0 && row < args.num_rows ? row : args.num_rows);
    tokens[token] = static_cast<int32_t>(token);
  }
};

// A row of the grid is a place in the sorted rows; the first place of each row adds all of its tokens'
// gradients in their order, a few of them on their way at a time.
template <class T, class Gradient, int kCount>
struct AddRuns {
  cpu::EmbeddingBackwardArgs args;
  const int32_t* sorted_rows;
  const int32_t* sorted_tokens;
  __device__ void operator()(int64_t place, int64_t vector) const {
    using A = acc_t<T>;
    constexpr int kAhead = 4;
    const int32_t row = sorted_rows[place];
    if (row == args.num_rows || (place > 0 && sorted_rows[place - 1] == row)) return;
    const int64_t col = vector * kCount;
    Gradient* d_row = static_cast<Gradient*>(args.d_table) + row * args.d_table_stride + col;
    A sum[kCount];
    load_acc(d_row, sum);
    for (int64_t next = place; next < args.tokens; next += kAhead) {
      Vector<T, kCount> d_out[kAhead];
      bool is_of_row[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        is_of_row[i] = next + i < args.tokens && sorted_rows[next + i] == row;
        if (is_of_row[i]) {
          d_out[i] = load_vector<kCount>(static_cast<const T*>(args.d_out) +
                                         sorted_tokens[next + i] * args.d_out_stride + col);
        }
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (!is_of_row[i]) break;
#pragma unroll
        for (int e = 0; e < kCount; ++e) sum[e] += to_acc(d_out[i].element[e]);
      }
      if (!is_of_row[kAhead - 1]) break;
    }
    store_acc(d_row, sum);
  }
};

}  // namespace

void embedding(const cpu::EmbeddingArgs& args, const EmbeddingLimits& limits, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits =
        vectors_fit(kCount, sizeof(T), args.cols, {args.table_stride, args.positions_stride, args.out_stride},
                    {args.table, args.positions_table, args.out});
    if (fits) {
      return launch_rows(GatherRows<T, kCount>{args, limits}, args.tokens, args.cols / kCount, exec);
    }
    launch_rows(GatherRows<T, 1>{args, limits}, args.tokens, args.cols, exec);
  });
}

void embedding_backward(const cpu::EmbeddingBackwardArgs& args, Exec& exec) {
  if (args.tokens == 0) return;
  const int tokens = narrow<int>(args.tokens);
  const int row_bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(args.num_rows)));
  const cudaStream_t stream = exec.cuda().stream();
  ScratchFrame frame(exec.scratch());
  int32_t* rows = frame.take<int32_t>(tokens, "embedding rows");
  int32_t* numbers = frame.take<int32_t>(tokens, "embedding tokens");
  int32_t* sorted_tokens = frame.take<int32_t>(tokens, "embedding sorted tokens");
  int32_t* sorted_rows = frame.take<int32_t>(tokens, "embedding sorted rows");
  launch_rows(NumberTokens{args, rows, numbers}, 1, tokens, exec);
  size_t bytes = 0;
  MG_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(nullptr, bytes, rows, sorted_rows, numbers, sorted_tokens,
                                                tokens, 0, row_bits, stream));
  std::byte* workspace = frame.take<std::byte>(static_cast<int64_t>(bytes), "embedding sort");
  MG_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(workspace, bytes, rows, sorted_rows, numbers, sorted_tokens,
                                                tokens, 0, row_bits, stream));
  dispatch_device_float(args.dtype, [&]<class T>() {
    dispatch_gradient<T>(args.table_dtype, [&]<class Gradient>() {
      constexpr int kCount = kVectorBytes / sizeof(T);
      const bool fits =
          vectors_fit(kCount, sizeof(T), args.cols, {args.d_out_stride}, {args.d_out}) &&
          vectors_fit(kCount, sizeof(Gradient), args.cols, {args.d_table_stride}, {args.d_table});
      if (fits) {
        return launch_rows(AddRuns<T, Gradient, kCount>{args, sorted_rows, sorted_tokens}, args.tokens,
                           args.cols / kCount, exec);
      }
      launch_rows(AddRuns<T, Gradient, 1>{args, sorted_rows, sorted_tokens}, args.tokens, args.cols, exec);
    });
  });
}

}  // namespace megalith::cuda
