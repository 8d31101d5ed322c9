#include "megalith/core/isa.h"

#include <cstdlib>

#include "megalith/base/error.h"

namespace megalith {
namespace {

bool supports(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("fma");
  }
  return false;
}

}  // namespace

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "?";
}

Isa best_isa() {
  if (const char* asked = std::getenv("MEGALITH_ISA")) {
    for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
      if (std::string_view(asked) != name_of(isa)) continue;
      MG_CHECK(supports(isa), "MEGALITH_ISA={}: this processor does not have it", asked);
      return isa;
    }
    fail("MEGALITH_ISA={}: unknown; allowed: baseline, avx2, avx512", asked);
  }
  for (const Isa isa : {Isa::kAvx512, Isa::kAvx2}) {
    if (supports(isa)) return isa;
  }
  return Isa::kBaseline;
}

}  // namespace megalith
