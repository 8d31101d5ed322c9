#include "megalith/train/phase_clock.h"

#include <numeric>

#include <fmt/format.h>

#include "megalith/core/cuda/cuda_timeline.h"
#include "megalith/core/has_cuda.h"

namespace megalith {

const char* name_of(Phase phase) {
  constexpr const char* kNames[kNumPhases] = {"data",         "forward", "backward", "transfer",
                                              "gradient sum", "norm",    "optimizer"};
  return kNames[static_cast<int>(phase)];
}

PhaseClock::PhaseClock(Times times, Exec& exec) {
  if (times == Times::kHost) return;
  if constexpr (kHasCuda) {
    if (!exec.device().is_cuda()) return;
    timeline_ = std::make_shared<CudaTimeline>(exec.cuda());
    timeline_->mark(0);
  }
}

void PhaseClock::stop(Phase phase) {
  const auto now = std::chrono::steady_clock::now();
  host_[phase] += std::chrono::duration<double, std::milli>(now - last_).count();
  last_ = now;
  if constexpr (kHasCuda) {
    if (timeline_ != nullptr) timeline_->mark(static_cast<int>(phase));
  }
}

PhaseTimes PhaseClock::device() {
  if (timeline_ == nullptr) return host_;
  PhaseTimes times;
  if constexpr (kHasCuda) timeline_->add_to(times.ms);
  return times;
}

PhaseRange::PhaseRange(Phase phase, const Exec& exec) : is_shown_(exec.device().is_cuda()) {
  if constexpr (kHasCuda) {
    if (is_shown_) push_profile_range(name_of(phase));
  }
}

PhaseRange::~PhaseRange() {
  if constexpr (kHasCuda) {
    if (is_shown_) pop_profile_range();
  }
}

std::string phase_table(const PhaseTimes& host, const PhaseTimes& device, int64_t num_steps) {
  const auto steps = static_cast<double>(num_steps);
  const double host_ms = std::accumulate(host.ms.begin(), host.ms.end(), 0.0) / steps;
  const double device_ms = std::accumulate(device.ms.begin(), device.ms.end(), 0.0) / steps;
  std::string text = fmt::format("{:<14}{:>12}{:>12}{:>10}\n", "ms a step", "host", "device", "share");
  for (int i = 0; i < kNumPhases; ++i) {
    const auto phase = static_cast<Phase>(i);
    text += fmt::format("{:<14}{:>12.3f}{:>12.3f}{:>8.1f} %\n", name_of(phase), host[phase] / steps,
                        device[phase] / steps, device_ms > 0 ? 100 * device[phase] / steps / device_ms : 0);
  }
  return text + fmt::format("{:<14}{:>12.3f}{:>12.3f}", "sum", host_ms, device_ms);
}

}  // namespace megalith
