#pragma once
// defines: SortChoicesArgs, sort_choices, PlaceChoicesArgs, place_choices, DropChoicesArgs, drop_choices

#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// The choices of experts [first_expert, first_expert + num_experts) by expert, those of one expert by place;
/// all others, with key num_experts, behind them.
struct SortChoicesArgs {
  const int32_t* experts = nullptr;  // [num_choices]
  int64_t num_choices = 0, first_expert = 0, num_experts = 0;
  int64_t rows_per_expert = 0;  ///< as in ops/expert_order.h
  int64_t max_rows = 0;
  int32_t* keys = nullptr;     // [num_choices], out: expert - first_expert
  int32_t* choices = nullptr;  // [num_choices], out: places in experts
  int32_t* offsets = nullptr;  // [num_experts + 1], out: of rows
};
void sort_choices(const SortChoicesArgs& args, Exec& exec);

/// The maps between choices and rows. What no choice could go to is not written, and choices that find no
/// room get no row: in their expert, with rows_per_expert, among max_rows, or as one of the first max_tokens.
struct PlaceChoicesArgs {
  const int32_t* keys = nullptr;
  const int32_t* choices = nullptr;
  int64_t num_choices = 0, num_experts = 0, topk = 0, rows_per_expert = 0;
  int64_t max_rows = 0, max_tokens = 0;
  double* dropped = nullptr;  ///< or null: grows by those that the last two drop
  int32_t* token_of_row = nullptr;
  int32_t* choice_of_row = nullptr;
  int32_t* row_of_choice = nullptr;  // [num_choices]; -1: none
};
void place_choices(const PlaceChoicesArgs& args, Exec& exec);

/// kept[i] = experts[i], or -1 where its expert has `capacity` choices before it: of larger weight, or where
/// `probs` is null at an earlier place. Ties by place.
struct DropChoicesArgs {
  const int32_t* experts = nullptr;
  DType dtype = DType::kF32;  ///< of probs: f32, f64
  const void* probs = nullptr;
  int64_t num_choices = 0, num_experts = 0, capacity = 0;
  int32_t* kept = nullptr;
};
void drop_choices(const DropChoicesArgs& args, Exec& exec);

}  // namespace megalith::cuda
