#include "megalith/core/choose_device.h"

#include <charconv>

#include "megalith/base/error.h"
#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/has_cuda.h"

namespace megalith {
namespace {

bool has_gpu() {
  if constexpr (kHasCuda) return cuda_device_count() > 0;
  return false;
}

}  // namespace

Device choose_device(std::string_view name) {
  constexpr std::string_view kIndexed = "cuda:";
  if (name == "cpu") return {};
  if (name == "auto") return {has_gpu() ? DeviceKind::kCuda : DeviceKind::kCpu, 0};
  if (name == "cuda") return {DeviceKind::kCuda, 0};
  int index = -1;
  const std::string_view digits = name.starts_with(kIndexed) ? name.substr(kIndexed.size()) : "";
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || index < 0)
    throw UsageError(fmt::format("device '{}'; allowed: auto, cpu, cuda, cuda:N", name));
  return {DeviceKind::kCuda, index};
}

}  // namespace megalith
