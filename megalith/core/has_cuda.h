#pragma once
// defines: kHasCuda

namespace megalith {

/// This build has the CUDA kernels. Ops branch on it at compile time, `if constexpr (kHasCuda)`, so that a
/// build without them refers to no CUDA symbol.
inline constexpr bool kHasCuda = MG_HAS_CUDA;

}  // namespace megalith
