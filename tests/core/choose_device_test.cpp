#include "megalith/core/choose_device.h"

#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/core/exec.h"
#include "megalith/core/has_cuda.h"

namespace megalith {
namespace {

TEST(ChooseDevice, NamesAndWhatIsNone) {
  EXPECT_EQ(choose_device("cpu"), Device{});
  EXPECT_EQ(choose_device("cuda"), (Device{DeviceKind::kCuda, 0}));
  EXPECT_EQ(choose_device("cuda:3"), (Device{DeviceKind::kCuda, 3}));
  for (const char* wrong : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cudas"})
    EXPECT_THROW(choose_device(wrong), UsageError) << wrong;
}

TEST(ChooseDevice, ABuildWithoutCudaSaysSo) {
  if (kHasCuda) GTEST_SKIP() << "this build has CUDA";
  EXPECT_EQ(choose_device("auto"), Device{});
  try {
    Exec exec({.device = {DeviceKind::kCuda, 0}});
    FAIL() << "an Exec of a GPU was made";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cuda:0: this build has no CUDA"), std::string::npos);
  }
}

}  // namespace
}  // namespace megalith
