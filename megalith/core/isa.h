#pragma once
// defines: Isa, best_isa, name_of

#include <string_view>

namespace megalith {

/// Instruction sets that CPU kernels are compiled for; the last is the widest.
enum class Isa { kBaseline, kAvx2, kAvx512 };

/// The widest set this processor has; the environment variable MEGALITH_ISA (baseline, avx2, avx512) asks for
/// a narrower one.
Isa best_isa();
const char* name_of(Isa isa);

}  // namespace megalith
