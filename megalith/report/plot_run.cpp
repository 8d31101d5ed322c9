#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/report/metrics_log.h"
#include "megalith/report/plot.h"

namespace megalith {
namespace {

using Metrics = std::map<std::string, MetricSeries>;

// The x of a step is the value of the metric `x` at that step or the last one before it.
Curve curve_of(const Metrics& metrics, const std::string& name, const std::string& x) {
  Curve curve;
  const auto found = metrics.find(name);
  if (found == metrics.end()) return curve;
  if (x == "step") {
    for (const auto& [step, value] : found->second) curve.emplace_back(static_cast<double>(step), value);
    return curve;
  }
  const MetricSeries& positions = metrics.at(x);
  auto position = positions.begin();
  for (const auto& [step, value] : found->second) {
    while (std::next(position) != positions.end() && std::next(position)->first <= step) ++position;
    if (position->first <= step) curve.emplace_back(position->second, value);
  }
  return curve;
}

}  // namespace

PlotRun load_plot_run(const std::filesystem::path& path, const std::string& metric, const std::string& x) {
  const std::filesystem::path file = std::filesystem::is_directory(path) ? path / "metrics.jsonl" : path;
  const Metrics metrics = read_metrics(file);
  std::vector<std::string> names;
  for (const auto& [name, series] : metrics) names.push_back(name);
  const std::string held_out = "eval_" + metric;
  MG_CHECK(metrics.contains(metric) || metrics.contains(held_out), "{}: has no metric '{}'; it has: {}",
           file.string(), metric, names.empty() ? "none" : join(names, ", "));
  MG_CHECK(x == "step" || metrics.contains(x), "{}: has no metric '{}' for the x axis; it has: step, {}",
           file.string(), x, join(names, ", "));

  const std::filesystem::path absolute = std::filesystem::absolute(file).lexically_normal();
  const bool is_usual = absolute.filename() == "metrics.jsonl" && absolute.has_parent_path();
  return {.label = is_usual ? absolute.parent_path().filename().string() : absolute.stem().string(),
          .train = curve_of(metrics, metric, x),
          .held_out = curve_of(metrics, held_out, x),
          .lr = curve_of(metrics, "lr", x)};
}

}  // namespace megalith
