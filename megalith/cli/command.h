#pragma once
// defines: Command, GeneralOptions, CommandLine

#include <string>
#include <utility>
#include <vector>

#include "megalith/config/options.h"

namespace megalith {

class CommandLine;

/// One subcommand. `run` declares its options, reads them and does the job:
///
///     void run_plot(CommandLine& line) {
///       PlotOptions plot;
///       line.add("plot", "Plot", plot);
///       if (!line.parse()) return;
///       ...
///     }
///
/// Results go to stdout, messages and progress to stderr. Errors are thrown: Error ends the program with
/// status 1, UsageError with 2.
struct Command {
  std::string name;     ///< "train", "data inspect"
  std::string summary;  ///< one line
  std::vector<std::string> examples;
  void (*run)(CommandLine& line) = nullptr;
};

/// --help, --log-level and the like, which every subcommand has.
struct GeneralOptions {
  bool help = false;
  bool help_all = false;
  bool help_markdown = false;
  bool quiet = false;
  std::string log_level = "info";
};
void declare_fields(GeneralOptions& c, FieldList& f);

/// The arguments of one call of a subcommand and the options that read them.
class CommandLine {
 public:
  CommandLine(const Command& command, std::vector<std::string> arguments);
  CommandLine(const CommandLine&) = delete;

  /// Flags and positional arguments of this command. The struct must outlive the command line.
  template <class Config>
  void add(std::string name, std::string title, Config& config) {
    options_.add({.name = std::move(name), .title = std::move(title), .use = SectionUse::kCommandLine},
                 config);
  }
  /// A section of the recipe that the text field `recipe` names.
  template <class Config>
  void add_recipe(std::string name, std::string title, Config& config) {
    options_.add({.name = std::move(name), .title = std::move(title), .use = SectionUse::kRecipe}, config);
  }

  /// Reads the recipe and the arguments, checks them and sets the log level. False when help was asked for:
  /// it was printed and there is nothing to do.
  bool parse();

  Options& options() { return options_; }

 private:
  bool asks_for(std::string_view flag) const;

  const Command& command_;
  std::vector<std::string> arguments_;
  GeneralOptions general_;
  Options options_;
};

}  // namespace megalith
