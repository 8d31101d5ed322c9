#include "megalith/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "megalith/base/error.h"
#include "megalith/base/terminal.h"

namespace megalith {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kQuiet:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

// spdlog owns the process-wide logger; ours is registered by name on first use.
std::shared_ptr<spdlog::logger> logger() {
  if (auto existing = spdlog::get("megalith")) return existing;
  auto mode = stderr_has_colour() ? spdlog::color_mode::always : spdlog::color_mode::never;
  try {
    auto created = spdlog::stderr_color_mt("megalith", mode);
    created->set_pattern("%^%v%$");
    return created;
  } catch (const spdlog::spdlog_ex&) {
    return spdlog::get("megalith");
  }
}

}  // namespace

LogLevel parse_log_level(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  if (name == "quiet") return LogLevel::kQuiet;
  throw UsageError(fmt::format("log level '{}' is unknown; allowed: debug, info, warn, error, quiet", name));
}

void set_log_level(LogLevel level) {
  logger()->set_level(to_spdlog(level));
}

bool log_enabled(LogLevel level) {
  return logger()->should_log(to_spdlog(level));
}

void log_message(LogLevel level, const std::string& message) {
  const char* prefix = level == LogLevel::kWarn ? "warning: " : level == LogLevel::kError ? "error: " : "";
  logger()->log(to_spdlog(level), prefix + message);
}

}  // namespace megalith
