#include "megalith/data/split.h"

#include <charconv>
#include <cmath>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/base/text.h"

namespace megalith {

const char* split_name(SplitName split) {
  constexpr std::array<const char*, kNumSplits> kNames{"train", "valid", "test"};
  return kNames[static_cast<size_t>(split)];
}

SplitName parse_split_name(const std::string& name) {
  for (const SplitName split : {SplitName::kTrain, SplitName::kValid, SplitName::kTest}) {
    if (name == split_name(split)) return split;
  }
  throw UsageError(fmt::format("\"{}\" is not a split: allowed are train, valid, test", name));
}

std::array<std::optional<SplitRange<double>>, kNumSplits> parse_split(const std::string& text) {
  const auto wrong = [&](const std::string& why) -> UsageError {
    return UsageError(
        fmt::format("split \"{}\": {}; allowed are up to three numbers >= 0, as in \"969,30,1\"", text, why));
  };
  std::array<double, kNumSplits> shares{};
  const std::vector<std::string> parts = megalith::split(text, ',');
  if (parts.size() > kNumSplits) throw wrong(fmt::format("{} numbers", parts.size()));
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string_view part = trim(parts[i]);
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), shares[i]);
    if (error != std::errc() || end != part.data() + part.size() || !std::isfinite(shares[i]) ||
        shares[i] < 0) {
      throw wrong(fmt::format("\"{}\" is not one", part));
    }
  }
  const double sum = pairwise_sum(shares);
  if (sum <= 0) throw wrong("nothing is left for any split");

  std::array<std::optional<SplitRange<double>>, kNumSplits> ranges;
  double begin = 0;
  for (int i = 0; i < kNumSplits; ++i) {
    const double end = begin + shares[i] / sum;
    if (end > begin) ranges[i] = SplitRange<double>{begin, end};
    begin = end;
  }
  return ranges;
}

SplitRange<int64_t> split_sequences(SplitRange<double> share, int64_t count) {
  // nearbyint rounds halves to even, as Python's round() does
  const auto boundary = [&](double part) {
    return static_cast<int64_t>(std::nearbyint(part * static_cast<double>(count)));
  };
  return {boundary(share.begin), boundary(share.end)};
}

double pairwise_sum(std::span<const double> values) {
  constexpr size_t kLanes = 8;
  constexpr size_t kBlock = 128;
  if (values.size() < kLanes) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum;
  }
  if (values.size() <= kBlock) {
    std::array<double, kLanes> lane;
    for (size_t i = 0; i < kLanes; ++i) lane[i] = values[i];
    const size_t whole = values.size() - values.size() % kLanes;
    for (size_t i = kLanes; i < whole; ++i) lane[i % kLanes] += values[i];
    double sum = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    for (size_t i = whole; i < values.size(); ++i) sum += values[i];
    return sum;
  }
  size_t half = values.size() / 2;
  half -= half % kLanes;
  return pairwise_sum(values.first(half)) + pairwise_sum(values.subspan(half));
}

}  // namespace megalith
