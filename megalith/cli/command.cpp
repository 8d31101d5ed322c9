#include "megalith/cli/command.h"

#include <algorithm>
#include <cstdio>

#include "megalith/base/log.h"
#include "megalith/base/terminal.h"
#include "megalith/config/flags.h"
#include "megalith/config/help.h"

namespace megalith {

void declare_fields(GeneralOptions& c, FieldList& f) {
  f.add("help", c.help, {.help = "show this help; -h for short"});
  f.add("help_all", c.help_all, {.help = "show every option"});
  f.add("help_markdown", c.help_markdown, {.help = "show every option as Markdown tables"});
  f.add("quiet", c.quiet, {.help = "errors only: no progress, no messages"});
  f.add("log_level", c.log_level,
        {.help = "what is told on stderr", .allowed = {"debug", "info", "warn", "error", "quiet"}});
}

CommandLine::CommandLine(const Command& command, std::vector<std::string> arguments)
    : command_(command), arguments_(std::move(arguments)) {}

bool CommandLine::asks_for(std::string_view flag) const {
  const auto end = std::find(arguments_.begin(), arguments_.end(), "--");
  return std::find(arguments_.begin(), end, flag) != end;
}

bool CommandLine::parse() {
  options_.add({.name = "general", .title = "General", .use = SectionUse::kCommandLine}, general_);
  if (asks_for("--help-markdown")) {
    std::fputs(markdown_table(options_).c_str(), stdout);
    return false;
  }
  if (asks_for("--help") || asks_for("-h") || asks_for("--help-all")) {
    const HelpText text{.command = "megalith " + command_.name,
                        .summary = command_.summary,
                        .examples = command_.examples,
                        .width = std::clamp(terminal_width(), 80, 110)};
    const HelpScope scope = asks_for("--help-all") ? HelpScope::kAll : HelpScope::kMain;
    std::fputs(help_text(options_, text, scope).c_str(), stdout);
    return false;
  }
  load_options(options_, arguments_);
  set_log_level(general_.quiet ? LogLevel::kError : parse_log_level(general_.log_level));
  return true;
}

}  // namespace megalith
