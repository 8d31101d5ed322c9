#include "megalith/report/metrics_log.h"

#include <cerrno>
#include <cmath>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"

namespace megalith {
namespace {

struct Line {
  int64_t step;
  nlohmann::json values;
  std::string_view text;
};

// Calls visit(line) for every line of the text but a torn last one.
template <class Visit>
void for_each_line(const std::filesystem::path& path, std::string_view text, const Visit& visit) {
  int64_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = text.find('\n');
    const bool is_complete = end != std::string_view::npos;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(is_complete ? end + 1 : text.size());
    if (line.empty()) continue;
    nlohmann::json values = nlohmann::json::parse(line, nullptr, false);
    const bool is_good = values.is_object() && values.contains("step") && values["step"].is_number_integer();
    if (!is_good && !is_complete) return;
    MG_CHECK(is_good, "{}:{}: not a line of metrics; it takes a JSON object with an integer \"step\"",
             path.string(), number);
    const auto step = values["step"].get<int64_t>();
    visit(Line{step, std::move(values), line});
  }
}

// The file without the steps that will be run again.
std::string kept_lines(const std::filesystem::path& path, int64_t resume_step) {
  std::string kept;
  if (resume_step <= 0 || !std::filesystem::exists(path)) return kept;
  const std::string text = read_text_file(path);
  for_each_line(path, text, [&](const Line& line) {
    if (line.step > resume_step) return;
    kept += line.text;
    kept += '\n';
  });
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path path, int64_t resume_step) : path_(std::move(path)) {
  write_text_file(path_, kept_lines(path_, resume_step));
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  MG_CHECK(descriptor_ >= 0, "{}: cannot be opened for writing: {}", path_.string(), system_message(errno));
}

MetricsLog::~MetricsLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MetricsLog::write(int64_t step, const std::vector<Metric>& metrics) {
  std::string line = fmt::format("{{\"step\": {}", step);
  for (const Metric& metric : metrics) {
    line += fmt::format(", \"{}\": ", metric.name);
    line += std::isfinite(metric.value) ? fmt::format("{}", metric.value) : "null";
  }
  line += "}\n";
  // One write call per line: other readers of the file see whole lines.
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t count = ::write(descriptor_, line.data() + done, line.size() - done);
    if (count < 0 && errno == EINTR) continue;
    MG_CHECK(count > 0, "{}: cannot be written: {}", path_.string(), system_message(errno));
    done += static_cast<size_t>(count);
  }
}

std::map<std::string, MetricSeries> read_metrics(const std::filesystem::path& path) {
  std::map<std::string, std::map<int64_t, double>> sorted;
  const std::string text = read_text_file(path);
  for_each_line(path, text, [&](const Line& line) {
    for (const auto& [name, value] : line.values.items()) {
      if (name != "step" && value.is_number()) sorted[name][line.step] = value.template get<double>();
    }
  });
  std::map<std::string, MetricSeries> series;
  for (const auto& [name, values] : sorted) series[name] = {values.begin(), values.end()};
  return series;
}

}  // namespace megalith
