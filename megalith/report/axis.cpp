#include "megalith/report/axis.h"

#include <algorithm>
#include <cmath>

#include "megalith/base/error.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

// The smallest of 1, 2, 5, 10 times a power of ten that is not below `step`.
double nice_step(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (step <= factor * power * (1 + 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::vector<double> linear_ticks(double low, double high, int num_ticks) {
  const double step = nice_step((high - low) / std::max(1, num_ticks));
  std::vector<double> ticks;
  const double slack = 1e-9 * (high - low);
  for (double k = std::ceil((low - slack) / step); k * step <= high + slack; ++k) ticks.push_back(k * step);
  return ticks;
}

std::vector<double> log_ticks(double low, double high, int num_ticks) {
  const double decades = std::log10(high / low);
  // Every digit within a decade, 1 2 5 over a few, powers of ten alone over many.
  std::vector<double> factors = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  if (decades > 1.2) factors = {1, 2, 5};
  if (decades > num_ticks / 2.0) factors = {1};
  std::vector<double> ticks;
  for (int power = static_cast<int>(std::floor(std::log10(low))); power <= std::ceil(std::log10(high));
       ++power) {
    for (const double factor : factors) {
      const double tick = factor * std::pow(10.0, power);
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
    }
  }
  return ticks;
}

// Digits behind the point that tell neighbouring ticks apart.
std::string tick_label(double tick, double step) {
  const double magnitude = std::max(std::abs(tick), step);
  if (tick == 0) return "0";
  if (magnitude < 1e-3) {
    const int power = static_cast<int>(std::floor(std::log10(std::abs(tick)) + 1e-9));
    return fmt::format("{:.3g}e{}", tick / std::pow(10.0, power), power);
  }
  if (magnitude >= 10000) {
    const double unit = magnitude >= 1e9 ? 1e9 : magnitude >= 1e6 ? 1e6 : 1e3;
    return fmt::format("{:g}{}", std::round(tick / unit * 1e4) / 1e4,
                       unit == 1e9   ? "B"
                       : unit == 1e6 ? "M"
                                     : "K");
  }
  const int digits = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6);
  return fmt::format("{:.{}f}", tick, digits);
}

}  // namespace

double Axis::position(double value) const {
  if (scale == AxisScale::kLog) return std::log(value / low) / std::log(high / low);
  return (value - low) / (high - low);
}

Axis make_axis(double low, double high, AxisScale scale, int num_ticks) {
  if (high < low) std::swap(low, high);
  if (scale == AxisScale::kLog) {
    MG_CHECK(low > 0, "a logarithmic axis takes values > 0, not {:g}", low);
    if (high <= low * (1 + 1e-9)) {
      low /= 1.1;
      high *= 1.1;
    }
  } else if (high - low <= 1e-12 * std::max(std::abs(low), std::abs(high)) || high == low) {
    const double margin = low == 0 ? 1 : 0.05 * std::abs(low);
    low -= margin;
    high += margin;
  }
  Axis axis{.scale = scale, .low = low, .high = high};
  if (scale == AxisScale::kLog) axis.ticks = log_ticks(low, high, num_ticks);
  const bool has_log_ticks = axis.ticks.size() >= 3;
  if (!has_log_ticks) axis.ticks = linear_ticks(low, high, num_ticks);
  const double step = axis.ticks.size() > 1 ? axis.ticks[1] - axis.ticks[0] : high - low;
  for (const double tick : axis.ticks) axis.labels.push_back(tick_label(tick, has_log_ticks ? tick : step));
  return axis;
}

Curve smooth(const Curve& curve, double factor) {
  Curve out = curve;
  std::vector<double> weights(curve.size());
  double sum = 0;
  double weight = 0;
  for (size_t i = 0; i < curve.size(); ++i) {
    sum = factor * sum + curve[i].second;
    weight = factor * weight + 1;
    out[i].second = sum;
    weights[i] = weight;
  }
  sum = 0;
  weight = 0;
  for (size_t i = curve.size(); i-- > 0;) {
    out[i].second = (out[i].second + factor * sum) / (weights[i] + factor * weight);
    sum = factor * sum + curve[i].second;
    weight = factor * weight + 1;
  }
  return out;
}

Curve thin_out(const Curve& curve, int num_buckets) {
  const auto buckets = static_cast<size_t>(num_buckets);
  if (curve.size() <= 2 * buckets) return curve;
  Curve out;
  for (size_t b = 0; b < buckets; ++b) {
    const auto begin = curve.begin() + static_cast<std::ptrdiff_t>(b * curve.size() / buckets);
    const auto end = curve.begin() + static_cast<std::ptrdiff_t>((b + 1) * curve.size() / buckets);
    auto [low, high] =
        std::minmax_element(begin, end, [](const auto& a, const auto& c) { return a.second < c.second; });
    if (high < low) std::swap(low, high);
    out.push_back(*low);
    if (high != low) out.push_back(*high);
  }
  return out;
}

}  // namespace megalith
