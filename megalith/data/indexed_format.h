#pragma once
// defines: kIndexMagic, kIndexVersion, offsets of the .idx header
//
// The constants that reader and writer of a Megatron index share.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace megalith {

inline constexpr std::string_view kIndexMagic{"MMIDIDX\0\0", 9};
inline constexpr uint64_t kIndexVersion = 1;
inline constexpr size_t kIndexVersionOffset = 9;
inline constexpr size_t kIndexTypeOffset = 17;
inline constexpr size_t kIndexCountsOffset = 18;
inline constexpr size_t kIndexHeaderBytes = 34;

}  // namespace megalith
