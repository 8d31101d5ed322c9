#include "megalith/core/isa.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Isa, TheEnvironmentAsksForANarrowerOne) {
  ::setenv("MEGALITH_ISA", "baseline", 1);
  EXPECT_EQ(best_isa(), Isa::kBaseline);
  ::setenv("MEGALITH_ISA", "avx9000", 1);
  EXPECT_THAT(
      [] { best_isa(); },
      ThrowsMessage<Error>(HasSubstr("MEGALITH_ISA=avx9000: unknown; allowed: baseline, avx2, avx512")));
  ::unsetenv("MEGALITH_ISA");
}

}  // namespace
}  // namespace megalith
