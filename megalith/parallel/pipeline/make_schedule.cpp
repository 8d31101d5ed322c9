#include "megalith/parallel/pipeline/make_schedule.h"

#include <algorithm>
#include <array>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/parallel/pipeline/add_transfers.h"
#include "megalith/parallel/pipeline/rank_order.h"

namespace megalith {
namespace {

struct KindInfo {
  ScheduleKind kind;
  const char* name;
  int min_chunks;
  int max_chunks;
  Placement placement;
  std::vector<Action> (*order)(const RankPlace& place);
  bool pairs_passes = false;
};

constexpr int kManyChunks = 1 << 16;
constexpr std::array<KindInfo, 6> kKinds = {{
    {ScheduleKind::kGPipe, "gpipe", 1, 1, Placement::kLoop, gpipe_order},
    {ScheduleKind::k1F1B, "1f1b", 1, 1, Placement::kLoop, one_f_one_b_order, true},
    {ScheduleKind::kInterleaved, "interleaved", 2, kManyChunks, Placement::kLoop, interleaved_order, true},
    {ScheduleKind::kZbH1, "zb-h1", 1, 1, Placement::kLoop, zb_h1_order},
    {ScheduleKind::kZbV, "zb-v", 2, 2, Placement::kVee, zb_v_order},
    {ScheduleKind::kDualPipeV, "dualpipev", 2, 2, Placement::kVee, dualpipe_v_order, true},
}};

const KindInfo& info_of(ScheduleKind kind) {
  return *std::find_if(kKinds.begin(), kKinds.end(), [&](const KindInfo& info) { return info.kind == kind; });
}

void check_group_size(int group_size, const ScheduleOptions& options) {
  const int m = options.num_microbatches;
  const int p = options.num_ranks;
  if (group_size < p || group_size > m)
    throw UsageError(fmt::format(
        "the interleaved schedule takes at least as many microbatches as pipeline ranks, in groups "
        "of as many or more: {} microbatches, {} ranks, groups of {}",
        m, p, group_size));
  if (m % group_size != 0 && m % group_size < p)
    throw UsageError(fmt::format(
        "the interleaved schedule cannot divide {} microbatches into groups of {}: the last group of {} is "
        "smaller than the {} pipeline ranks",
        m, group_size, m % group_size, p));
}

}  // namespace

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const KindInfo& info : kKinds) names.push_back(info.name);
  return names;
}

ScheduleKind parse_schedule_kind(std::string_view name) {
  for (const KindInfo& info : kKinds)
    if (name == info.name) return info.kind;
  throw UsageError(
      fmt::format("there is no pipeline schedule '{}'; there are: {}", name, join(schedule_names(), ", ")));
}

std::string name_of(ScheduleKind kind) {
  return info_of(kind).name;
}

bool pairs_passes(ScheduleKind kind) {
  return info_of(kind).pairs_passes;
}

Schedule make_schedule(const ScheduleOptions& options) {
  const KindInfo& info = info_of(options.kind);
  if (options.num_ranks < 1 || options.num_microbatches < 1)
    throw UsageError(
        fmt::format("a pipeline schedule takes at least one rank and one microbatch, not {} and {}",
                    options.num_ranks, options.num_microbatches));
  const int num_chunks = options.num_chunks == 0 ? info.min_chunks : options.num_chunks;
  if (num_chunks < info.min_chunks || num_chunks > info.max_chunks)
    throw UsageError(fmt::format(
        "the schedule {} takes {} model chunks a rank, not {}", info.name,
        info.min_chunks == info.max_chunks ? fmt::format("{}", info.min_chunks) : "2 or more", num_chunks));
  const int group_size =
      options.microbatch_group_size == 0 ? options.num_ranks : options.microbatch_group_size;
  if (options.kind == ScheduleKind::kInterleaved)
    check_group_size(group_size, options);
  else if (options.microbatch_group_size != 0)
    throw UsageError(
        fmt::format("microbatch groups belong to the interleaved schedule, not to {}", info.name));
  if (options.makes_pairs && !info.pairs_passes)
    throw UsageError(fmt::format("the schedule {} has no pairs of a forward and a backward", info.name));

  Schedule schedule{.num_ranks = options.num_ranks,
                    .num_chunks = num_chunks,
                    .num_microbatches = options.num_microbatches,
                    .placement = info.placement,
                    .ranks = {}};
  for (int rank = 0; rank < options.num_ranks; ++rank)
    schedule.ranks.push_back(info.order({.rank = rank,
                                         .num_ranks = options.num_ranks,
                                         .num_microbatches = options.num_microbatches,
                                         .num_chunks = num_chunks,
                                         .group_size = group_size,
                                         .makes_pairs = options.makes_pairs}));
  add_transfers(schedule);
  return schedule;
}

}  // namespace megalith
