#include "megalith/ops/rank_copies.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/rank_copies.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

void check_experts(const char* op, const Tensor& experts, Exec& exec) {
  MG_CHECK(experts.defined() && experts.rank() == 2, "{}: experts must be [T, k]", op);
  check_tensor(op, "experts", experts, DType::kI32, experts.shape(), exec);
  check_contiguous(op, "experts", experts);
}

}  // namespace

RankCopies copies_for_ranks(const RankCopiesArgs& args, Exec& exec) {
  constexpr const char* kOp = "copies_for_ranks";
  check_experts(kOp, args.experts, exec);
  const int64_t tokens = args.experts.dim(0), topk = args.experts.dim(1), ranks = args.num_ranks;
  const RankCopies copies{.tokens = exec.empty({ranks, tokens}, DType::kI32),
                          .places = exec.empty({tokens, ranks}, DType::kI32),
                          .counts = exec.empty({ranks}, DType::kI32)};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      cuda::place_copies({.num_tokens = tokens,
                          .topk = topk,
                          .num_ranks = ranks,
                          .experts_of_rank = args.experts_of_rank,
                          .experts = args.experts.data<int32_t>(),
                          .tokens = copies.tokens.data<int32_t>(),
                          .places = copies.places.data<int32_t>(),
                          .counts = copies.counts.data<int32_t>()},
                         exec);
      return copies;
    }
  }
  const int32_t* expert = args.experts.data<int32_t>();
  int32_t *places = copies.places.data<int32_t>(), *counts = copies.counts.data<int32_t>();
  std::fill_n(counts, ranks, 0);
  std::fill_n(places, tokens * ranks, -1);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 0; j < topk; ++j, ++expert) {
      if (*expert < 0) continue;
      const int64_t rank = *expert / args.experts_of_rank;
      MG_CHECK(rank < ranks, "{}: expert {} of {}", kOp, *expert, ranks * args.experts_of_rank);
      int32_t& place = places[t * ranks + rank];
      if (place >= 0) continue;
      place = counts[rank]++;
      copies.tokens.data<int32_t>()[rank * tokens + place] = narrow<int32_t>(t);
    }
  }
  return copies;
}

SentCopies sent_copies(const RankCopies& copies, const Tensor& experts, int64_t num_copies, Exec& exec) {
  check_experts("sent_copies", experts, exec);
  const int64_t tokens = copies.places.dim(0), ranks = copies.places.dim(1), topk = experts.dim(1);
  const SentCopies sent{.tokens = {.from = exec.empty({num_copies}, DType::kI32),
                                   .to = exec.empty({tokens, ranks}, DType::kI32)},
                        .experts = exec.empty({num_copies, topk}, DType::kI32)};
  const int32_t *places = copies.places.data<int32_t>(), *counts = copies.counts.data<int32_t>();
  int32_t *from = sent.tokens.from.data<int32_t>(), *to = sent.tokens.to.data<int32_t>();
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      cuda::list_copies({.num_tokens = tokens,
                         .num_ranks = ranks,
                         .num_copies = num_copies,
                         .topk = topk,
                         .places = places,
                         .counts = counts,
                         .experts = experts.data<int32_t>(),
                         .from = from,
                         .to = to,
                         .experts_of_copies = sent.experts.data<int32_t>()},
                        exec);
      return sent;
    }
  }
  int32_t first = 0;
  for (int64_t r = 0; r < ranks; ++r) {
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t i = t * ranks + r;
      to[i] = places[i] < 0 ? -1 : first + places[i];
      if (places[i] < 0) continue;
      MG_CHECK(to[i] < num_copies, "sent_copies: more copies than {}", num_copies);
      from[to[i]] = narrow<int32_t>(t);
      std::copy_n(experts.data<int32_t>() + t * topk, topk, sent.experts.data<int32_t>() + to[i] * topk);
    }
    first += counts[r];
  }
  MG_CHECK(first == num_copies, "sent_copies: {} copies, told {}", first, num_copies);
  return sent;
}

}  // namespace megalith
