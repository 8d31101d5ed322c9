#include "megalith/ops/peer_maps.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "megalith/base/math.h"
#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/peer_maps.h"
#include "megalith/ops/check.h"
#include "megalith/ops/expert_order.h"

namespace megalith {
namespace {

constexpr const char* kOp = "maps_from_peers";
static_assert(cuda::kUnusedRow == RowMap::kUnused);

int64_t with_room(int64_t rows) {
  const auto step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(rows) / 16));
  return round_up(rows, std::max<int64_t>(step, 1));
}

PeerRowMap empty_map(const Shape& shape, Exec& exec) {
  return {.peer = exec.empty(shape, DType::kI32), .place = exec.empty(shape, DType::kI32)};
}

void put_places(PeerMapsArgs::ByRank places, const int32_t** of_rank) {
  for (size_t rank = 0; rank < places.size(); ++rank)
    of_rank[rank] = reinterpret_cast<const int32_t*>(places[rank]);
}

PeerMaps find_on_gpu(const PeerMapsArgs& args, Exec& exec) {
  const auto num_ranks = static_cast<int64_t>(args.offsets.size());
  const int64_t held = args.num_experts / num_ranks, tokens = args.experts.dim(0), topk = args.experts.dim(1);
  PeerMaps maps{.offsets = exec.empty({held + 1}, DType::kI32),
                .places = exec.empty({tokens, num_ranks}, DType::kI32),
                .rows_of_choices = empty_map({tokens, topk}, exec)};
  const auto ints = [&](const Shape& shape) { return exec.empty(shape, DType::kI32); };
  const Tensor begins = ints({held, num_ranks}), firsts_here = ints({num_ranks + 1}),
               firsts_there = ints({num_ranks}), shifts = ints({args.num_experts}), sizes = ints({2});
  const bool is_bounded = args.max_rows > 0;
  constexpr int64_t kAll = std::numeric_limits<int32_t>::max();
  cuda::PeerMapArgs call{
      .num_ranks = num_ranks,
      .own_rank = args.own_rank,
      .num_experts = args.num_experts,
      .experts_of_rank = held,
      .num_tokens = tokens,
      .topk = topk,
      .rows = is_bounded ? args.max_rows : kAll,
      .copies = is_bounded ? args.max_copies : kAll,
      .experts = args.experts.data<int32_t>(),
      .way = args.rows.data<int32_t>(),
      .of = {},
      .numbers = {.offsets = maps.offsets.data<int32_t>(),
                  .begins = begins.data<int32_t>(),
                  .firsts_here = firsts_here.data<int32_t>(),
                  .firsts_there = firsts_there.data<int32_t>(),
                  .shifts = shifts.data<int32_t>(),
                  .sizes = sizes.data<int32_t>(),
                  .dropped = args.dropped.defined() ? args.dropped.data<double>() : nullptr}};
  put_places(args.offsets, call.of.offsets);
  put_places(args.counts, call.of.counts);
  put_places(args.choices, call.of.choices);
  put_places(args.tokens, call.of.tokens);
  put_places(args.places, call.of.places);
  call.places = maps.places.data<int32_t>();
  call.back_peer = maps.rows_of_choices.peer.data<int32_t>();
  call.back_place = maps.rows_of_choices.place.data<int32_t>();
  cuda::count_from_peers(call, exec);
  cuda::find_way_back(call, exec);
  if (!is_bounded) {
    const std::vector<int64_t> numbers = numbers_on_host(sizes, exec);
    call.rows = with_room(numbers[0]);
    call.copies = with_room(numbers[1]);
  }
  maps.copies = {.sources = empty_map({call.copies, 1}, exec),
                 .rows = {.from = ints({call.rows}), .to = ints({call.copies, topk})}};
  maps.choices = empty_map({call.rows, 1}, exec);
  call.source_peer = maps.copies.sources.peer.data<int32_t>();
  call.source_place = maps.copies.sources.place.data<int32_t>();
  call.choice_peer = maps.choices.peer.data<int32_t>();
  call.choice_place = maps.choices.place.data<int32_t>();
  call.from = maps.copies.rows.from.data<int32_t>();
  call.to = maps.copies.rows.to.data<int32_t>();
  cuda::find_copies_and_rows(call, exec);
  return maps;
}

}  // namespace

PeerMaps maps_from_peers(const PeerMapsArgs& args, Exec& exec) {
  MG_CHECK(exec.device().is_cuda(), "{}: the memory of peers is read by GPUs alone", kOp);
  const size_t num_ranks = args.offsets.size();
  MG_CHECK(num_ranks > 0 && num_ranks <= cuda::kMaxPeers, "{}: {} ranks; 1 to {} read each other's memory",
           kOp, num_ranks, cuda::kMaxPeers);
  for (const PeerMapsArgs::ByRank list : {args.choices, args.tokens, args.places, args.counts})
    MG_CHECK(list.size() == num_ranks, "{}: a list of {} ranks, another of {}", kOp, num_ranks, list.size());
  MG_CHECK(args.num_experts % static_cast<int64_t>(num_ranks) == 0, "{}: {} experts on {} ranks", kOp,
           args.num_experts, num_ranks);
  MG_CHECK((args.max_rows > 0) == (args.max_copies > 0), "{}: room for {} rows and {} copies", kOp,
           args.max_rows, args.max_copies);
  MG_CHECK(args.experts.defined() && args.experts.rank() == 2, "{}: experts must be [T, k]", kOp);
  check_tensor(kOp, "experts", args.experts, DType::kI32, args.experts.shape(), exec);
  check_tensor(kOp, "rows", args.rows, DType::kI32, args.experts.shape(), exec);
  check_contiguous(kOp, "experts", args.experts);
  check_contiguous(kOp, "rows", args.rows);
  if (args.dropped.defined()) check_tensor(kOp, "dropped", args.dropped, DType::kF64, {1}, exec);
  if constexpr (kHasCuda) return find_on_gpu(args, exec);
  return {};
}

}  // namespace megalith
