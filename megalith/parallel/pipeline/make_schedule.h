#pragma once
// defines: ScheduleKind, schedule_names, parse_schedule_kind, name_of, pairs_passes, ScheduleOptions,
//          make_schedule

#include <string>
#include <string_view>
#include <vector>

#include "megalith/parallel/pipeline/schedule.h"

namespace megalith {

/// p ranks, m microbatches, v chunks a rank; F, I, W the times of forward, input and weight gradients of all
/// layers of a rank; peaks count chunks whose activations are held.
enum class ScheduleKind {
  /// All forwards, then all backwards (Huang et al. 2019). Bubble (p-1)/(m+p-1), peak m.
  kGPipe,
  /// One forward, one backward (PipeDream-flush; Megatron). Bubble (p-1)/(m+p-1), peak min(m, p-r) on rank r.
  k1F1B,
  /// Megatron's virtual pipeline (Narayanan et al. 2021). Bubble (p-1)/(v m+p-1) where p divides m, peak
  /// 2(p-r-1) + (v-1) G + 1 chunks.
  kInterleaved,
  /// Zero bubble H1 (Qi et al. 2023): weight gradients fill the end of 1F1B. Idle (p-1)(F+I-W), peak p.
  kZbH1,
  /// Zero bubble V (Qi et al. 2023, section 6; Qi et al. 2024): two chunks a rank placed as a V; each rank
  /// idles only until its first and after its last action where F = I = W. Peak 2p chunks.
  kZbV,
  /// The V-shaped half of DualPipe (DeepSeek 2025; Sea AI Lab). Forward and backward of different
  /// microbatches stand side by side, so that the communication of one hides under the other. Peak 2p+1
  /// chunks.
  kDualPipeV,
};

/// "gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "dualpipev"
std::vector<std::string> schedule_names();
/// Throws UsageError naming the known ones.
ScheduleKind parse_schedule_kind(std::string_view name);
std::string name_of(ScheduleKind kind);
/// Whether the schedule can run a forward together with a backward that does not depend on it.
bool pairs_passes(ScheduleKind kind);

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::k1F1B;
  int num_ranks = 1;
  int num_microbatches = 1;
  /// Model chunks of a rank; 0 takes what the kind needs. Above 1 for interleaved, 2 for zb-v and dualpipev,
  /// else 1.
  int num_chunks = 0;
  /// Interleaved: how many microbatches go through one chunk before the next; 0: num_ranks. Megatron's
  /// microbatch_group_size_per_virtual_pipeline_stage, in [num_ranks, num_microbatches].
  int microbatch_group_size = 0;
  /// Forwards and backwards that follow each other become pairs (Action::is_paired). A pair ends as a whole,
  /// so that what 1F1B and the interleaved schedule pass on arrives one pair later: rank r begins with
  /// 2(p-r-1) + (v-1) G + 1 forwards and holds as many chunks, for 1F1B (v = 1) 2(p-r) - 1.
  bool makes_pairs = false;
};

/// Throws UsageError where the numbers do not fit the kind.
Schedule make_schedule(const ScheduleOptions& options);

}  // namespace megalith
