#include "megalith/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/math.h"

namespace megalith {
namespace {

using testing::ElementsAre;

TEST(Nearest, FindsWhatWasMeant) {
  const std::vector<std::string> names{"hidden_size", "ffn_hidden_size", "num_layers", "lr", "min_lr"};
  EXPECT_EQ(nearest("hiden_size", names), "hidden_size");
  EXPECT_EQ(nearest("num_layesr", names), "num_layers");  // neighbours swapped
  EXPECT_EQ(nearest("lr", names), "lr");
  EXPECT_EQ(nearest("minlr", names), "min_lr");
  EXPECT_EQ(nearest("tokenizer_model", names), "");
  EXPECT_EQ(nearest("x", {}), "");
}

TEST(Human, PrintsThreeDigits) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1234567), "1.23M");
  EXPECT_EQ(human_count(12345), "12.3K");
  EXPECT_EQ(human_count(999600), "1.00M");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(3.0 * (1 << 30)), "3.00 GiB");
  EXPECT_EQ(human_duration(0.25), "250ms");
  EXPECT_EQ(human_duration(2.34), "2.3s");
  EXPECT_EQ(human_duration(75), "1m15s");
  EXPECT_EQ(human_duration(3661), "1h01m");
  EXPECT_EQ(human_duration(90000), "1d01h");
  EXPECT_EQ(human_duration(-1), "?");
}

TEST(Split, KeepsEmptyPartsAndJoinsBack) {
  EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(split("", ','), ElementsAre(""));
  const std::vector<std::string> parts{"x", "", "yz"};
  EXPECT_EQ(join(parts, ", "), "x, , yz");
  EXPECT_EQ(split(join(parts, ";"), ';'), parts);
}

TEST(Trim, TakesWhiteSpaceOffBothEnds) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim(""), "");
}

TEST(Math, RoundsAndNarrows) {
  EXPECT_EQ(ceil_div(7, 3), 3);
  EXPECT_EQ(ceil_div(6, 3), 2);
  EXPECT_EQ(round_up(5, 8), 8);
  EXPECT_EQ(round_up(0, 8), 0);
  EXPECT_EQ(narrow<int8_t>(int64_t{-128}), -128);
  EXPECT_THROW(narrow<int8_t>(int64_t{128}), Error);
  EXPECT_THROW(narrow<uint32_t>(-1), Error);
}

}  // namespace
}  // namespace megalith
