#include <algorithm>
#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"

namespace megalith {
namespace {

struct OptionsOptions {
  std::vector<std::string> command;
};

void declare_fields(OptionsOptions& c, FieldList& f) {
  f.add("command", c.command, {.help = "the command, all when left out", .positional = true});
}

void print_tables(const Command& command) {
  std::printf("## megalith %s\n\n%s\n\n", command.name.c_str(), command.summary.c_str());
  if (!command.examples.empty()) std::printf("```\n%s\n```\n\n", join(command.examples, "\n").c_str());
  CommandLine line(command, {"--help-markdown"});
  command.run(line);
  std::printf("\n");
}

void run_options(CommandLine& line) {
  OptionsOptions options;
  line.add("options", "Options", options);
  if (!line.parse()) return;
  const std::string wanted = join(options.command, " ");
  bool found = false;
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    names.push_back(command.name);
    if (!wanted.empty() && command.name != wanted) continue;
    found = true;
    print_tables(command);
  }
  if (!found) {
    throw UsageError(fmt::format("there is no command '{}'; allowed: {}", wanted, join(names, ", ")));
  }
}

}  // namespace

Command options_command() {
  return {.name = "options",
          .summary = "Print the options of the commands as Markdown: flags and recipe keys.",
          .examples = {"megalith options train > options.md"},
          .run = run_options};
}

}  // namespace megalith
