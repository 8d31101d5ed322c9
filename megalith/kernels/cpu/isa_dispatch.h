#pragma once
// defines: MG_DECLARE_PER_ISA, MG_ISA_FUNCTION

#include "megalith/core/isa.h"

/// Declares a kernel entry once in each instruction set's namespace; the definition stands in a *.simd.cpp
/// file inside `namespace megalith::cpu::MG_ISA`.
#define MG_DECLARE_PER_ISA(declaration) \
  namespace isa_baseline {              \
  declaration;                          \
  }                                     \
  namespace isa_avx2 {                  \
  declaration;                          \
  }                                     \
  namespace isa_avx512 {                \
  declaration;                          \
  }

/// The entry that fits an Isa value.
#define MG_ISA_FUNCTION(isa, function)                       \
  ((isa) == ::megalith::Isa::kAvx512 ? &isa_avx512::function \
   : (isa) == ::megalith::Isa::kAvx2 ? &isa_avx2::function   \
                                     : &isa_baseline::function)
