#pragma once
// defines: host_map, host_unmap

#include <cstddef>
#include <cstdint>

namespace megalith {

/// Fresh memory of the process, 64-byte aligned, on huge pages where it is large enough for them; throws
/// Error when refused.
std::byte* host_map(int64_t bytes);
void host_unmap(std::byte* data, int64_t bytes);

}  // namespace megalith
