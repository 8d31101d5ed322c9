#include <cub/device/device_radix_sort.cuh>

#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/expert_order.h"
#include "megalith/kernels/cuda/sort_small_keys.h"

namespace megalith::cuda {
namespace {

// The first place whose key is not below `key`.
__device__ inline int64_t lower_bound(const int32_t* keys, int64_t count, int32_t key) {
  int64_t begin = 0, end = count;
  while (begin < end) {
    const int64_t middle = (begin + end) / 2;
    if (keys[middle] < key) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

struct NumberChoices {
  int32_t* choices;
  __device__ void operator()(int64_t, int64_t i) const { choices[i] = static_cast<int32_t>(i); }
};

// keys[i]: the expert of choice order[i] (i itself where `order` is null) counted from the first one, and
// num_experts for all that is not one of them.
struct FindKeys {
  const int32_t* experts;
  const int32_t* order;
  int64_t first_expert, num_experts;
  int32_t* keys;
  __device__ void operator()(int64_t, int64_t i) const {
    const int64_t choice = order == nullptr ? i : order[i];
    const int64_t expert = experts[choice] - first_expert;
    const bool is_held = experts[choice] >= 0 && expert >= 0 && expert < num_experts;
    keys[i] = static_cast<int32_t>(is_held ? expert : num_experts);
  }
};

struct FindOffsets {
  SortChoicesArgs args;
  __device__ void operator()(int64_t, int64_t e) const {
    args.offsets[e] = static_cast<int32_t>(
        args.rows_per_expert > 0
            ? e * args.rows_per_expert
            : min(args.max_rows, lower_bound(args.keys, args.num_choices, static_cast<int32_t>(e))));
  }
};

struct PlaceChoices {
  PlaceChoicesArgs args;
  __device__ void operator()(int64_t, int64_t i) const {
    const int32_t key = args.keys[i], choice = args.choices[i];
    int64_t row = i;
    if (key == args.num_experts) {
      row = -1;
    } else if (args.rows_per_expert > 0) {
      const int64_t place = i - lower_bound(args.keys, args.num_choices, key);
      row = place < args.rows_per_expert ? key * args.rows_per_expert + place : -1;
    } else if (row >= args.max_rows || choice / args.topk >= args.max_tokens) {
      if (args.dropped != nullptr) atomicAdd(args.dropped, 1.0);
      if (row < args.max_rows) args.token_of_row[row] = args.choice_of_row[row] = -1;
      row = -1;
    }
    args.row_of_choice[choice] = static_cast<int32_t>(row);
    if (row < 0) return;
    args.token_of_row[row] = static_cast<int32_t>(choice / args.topk);
    args.choice_of_row[row] = choice;
  }
};

struct KeepChoices {
  DropChoicesArgs args;
  const int32_t* keys;
  const int32_t* choices;
  __device__ void operator()(int64_t, int64_t i) const {
    const int32_t key = keys[i];
    const bool is_kept =
        key < args.num_experts && i - lower_bound(keys, args.num_choices, key) < args.capacity;
    args.kept[choices[i]] = is_kept ? key : -1;
  }
};

template <class Key>
struct Sort {
  const Key* keys;
  Key* sorted_keys;
  const int32_t* values;
  int32_t* sorted_values;
  int count;
};

// Stable.
template <class Key>
void sort_down(const Sort<Key>& s, Exec& exec) {
  size_t bytes = 0;
  constexpr int kBits = static_cast<int>(sizeof(Key)) * 8;
  const cudaStream_t stream = exec.cuda().stream();
  MG_CUDA_CHECK(cub::DeviceRadixSort::SortPairsDescending(nullptr, bytes, s.keys, s.sorted_keys, s.values,
                                                          s.sorted_values, s.count, 0, kBits, stream));
  ScratchFrame frame(exec.scratch());
  std::byte* workspace = frame.take<std::byte>(static_cast<int64_t>(bytes), "weight sort");
  MG_CUDA_CHECK(cub::DeviceRadixSort::SortPairsDescending(workspace, bytes, s.keys, s.sorted_keys, s.values,
                                                          s.sorted_values, s.count, 0, kBits, stream));
}

}  // namespace

void sort_choices(const SortChoicesArgs& args, Exec& exec) {
  const int count = narrow<int>(args.num_choices);
  if (count > 0) {
    ScratchFrame frame(exec.scratch());
    int32_t* keys = frame.take<int32_t>(count, "expert keys");
    launch_rows(FindKeys{args.experts, nullptr, args.first_expert, args.num_experts, keys}, 1, count, exec);
    sort_small_keys({.count = count,
                     .num_keys = args.num_experts + 1,
                     .keys = keys,
                     .sorted_keys = args.keys,
                     .sorted_values = args.choices},
                    exec);
  }
  launch_rows(FindOffsets{args}, 1, args.num_experts + 1, exec);
}

void place_choices(const PlaceChoicesArgs& args, Exec& exec) {
  launch_rows(PlaceChoices{args}, 1, args.num_choices, exec);
}

void drop_choices(const DropChoicesArgs& args, Exec& exec) {
  const int count = narrow<int>(args.num_choices);
  if (count == 0) return;
  ScratchFrame frame(exec.scratch());
  int32_t* keys = frame.take<int32_t>(count, "expert keys");
  int32_t* sorted_keys = frame.take<int32_t>(count, "sorted expert keys");
  int32_t* numbers = frame.take<int32_t>(count, "expert choices");
  int32_t* order = frame.take<int32_t>(count, "choices by weight");
  int32_t* sorted = frame.take<int32_t>(count, "choices by expert");
  launch_rows(NumberChoices{numbers}, 1, count, exec);
  const auto by_weight = [&]<class T>(const T* probs) {
    T* unused = frame.take<T>(count, "sorted weights");
    sort_down<T>({probs, unused, numbers, order, count}, exec);
  };
  if (args.probs == nullptr) {
    order = numbers;
  } else if (args.dtype == DType::kF64) {
    by_weight(static_cast<const double*>(args.probs));
  } else {
    by_weight(static_cast<const float*>(args.probs));
  }
  launch_rows(FindKeys{args.experts, order, 0, args.num_experts, keys}, 1, count, exec);
  sort_small_keys({.count = count,
                   .num_keys = args.num_experts + 1,
                   .keys = keys,
                   .values = order,
                   .sorted_keys = sorted_keys,
                   .sorted_values = sorted},
                  exec);
  launch_rows(KeepChoices{args, sorted_keys, sorted}, 1, count, exec);
}

}  // namespace megalith::cuda
