#pragma once
// defines: LogLevel, parse_log_level, set_log_level, log_enabled, log_info, log_warn, log_error, log_debug

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace megalith {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kQuiet };

/// "debug", "info", "warn", "error" or "quiet"; throws UsageError for anything else.
LogLevel parse_log_level(std::string_view name);

/// For the whole process. Messages go to stderr; stdout is for results.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);

void log_message(LogLevel level, const std::string& message);

template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kDebug))
    log_message(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kInfo))
    log_message(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kWarn))
    log_message(LogLevel::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kError))
    log_message(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace megalith
