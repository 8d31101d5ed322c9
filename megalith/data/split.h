#pragma once
// defines: SplitName, kNumSplits, split_name, SplitRange, parse_split, split_sequences, pairwise_sum

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace megalith {

enum class SplitName { kTrain, kValid, kTest };
inline constexpr int kNumSplits = 3;
/// "train", "valid" or "test".
const char* split_name(SplitName split);
/// The other way; throws UsageError for anything else.
SplitName parse_split_name(const std::string& name);

/// A part of [0, 1], or of the sequences of a data set: begin included, end not.
template <class T>
struct SplitRange {
  T begin{};
  T end{};
};

/// Megatron's `--split`: up to three numbers >= 0 ("969, 30, 1"), missing ones 0, normalised by their sum.
/// A split without a share is nullopt. Throws UsageError with the text and the rule.
std::array<std::optional<SplitRange<double>>, kNumSplits> parse_split(const std::string& text);

/// The sequences of a share: [round(begin * count), round(end * count)), halves to even.
SplitRange<int64_t> split_sequences(SplitRange<double> share, int64_t count);

/// numpy.sum of float64, with its order of additions: weights and shares are normalised by it.
double pairwise_sum(std::span<const double> values);

}  // namespace megalith
