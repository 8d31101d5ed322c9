#pragma once
// defines: choose_device

#include <string_view>

#include "megalith/core/device.h"

namespace megalith {

/// "cpu", "cuda" (the first GPU), "cuda:N", or "auto": a GPU where this build has CUDA and the machine has
/// one, else the CPU. Throws UsageError for any other name.
Device choose_device(std::string_view name);

}  // namespace megalith
