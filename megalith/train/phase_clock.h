#pragma once
// defines: Phase, kNumPhases, name_of, PhaseTimes, PhaseClock, PhaseRange, phase_table

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "megalith/core/exec.h"

namespace megalith {

class CudaTimeline;

/// What a training step consists of.
enum class Phase { kData, kForward, kBackward, kTransfer, kGradientSum, kNorm, kOptimizer };
constexpr int kNumPhases = 7;
const char* name_of(Phase phase);

struct PhaseTimes {
  std::array<double, kNumPhases> ms{};
  double& operator[](Phase phase) { return ms[static_cast<size_t>(phase)]; }
  double operator[](Phase phase) const { return ms[static_cast<size_t>(phase)]; }
  void operator+=(const PhaseTimes& other) {
    for (size_t i = 0; i < ms.size(); ++i) ms[i] += other.ms[i];
  }
};

/// Adds the time since the last call to one phase after another: the host's, which on a GPU asks for the work
/// and does not wait for it, and on request that of the device.
class PhaseClock {
 public:
  enum class Times { kHost, kHostAndDevice };
  PhaseClock(Times times, Exec& exec);

  void stop(Phase phase);
  const PhaseTimes& host() const { return host_; }
  /// Between events on the rank's stream; on a CPU the host's. Waits for the device.
  PhaseTimes device();

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  PhaseTimes host_;
  std::shared_ptr<CudaTimeline> timeline_;  // of a GPU whose times are wanted
};

/// While it lives, profilers show this stretch of the host's work under the name of the phase.
class PhaseRange {
 public:
  PhaseRange(Phase phase, const Exec& exec);
  ~PhaseRange();
  PhaseRange(const PhaseRange&) = delete;
  PhaseRange& operator=(const PhaseRange&) = delete;

 private:
  bool is_shown_;
};

/// Milliseconds a step, by phase.
std::string phase_table(const PhaseTimes& host, const PhaseTimes& device, int64_t num_steps);

}  // namespace megalith
