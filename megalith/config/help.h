#pragma once
// defines: HelpText, help_text, HelpScope, markdown_table

#include <string>
#include <vector>

#include "megalith/config/options.h"

namespace megalith {

enum class HelpScope {
  kMain,  ///< positional arguments and the fields marked `main`, and how many more there are
  kAll,
};

/// What --help says besides the options.
struct HelpText {
  std::string command;  ///< "megalith train"
  std::string summary;
  std::vector<std::string> examples;
  int width = 100;  ///< columns
};

/// Usage line, summary, options by section with their defaults, examples.
std::string help_text(const Options& options, const HelpText& text, HelpScope scope);

/// One Markdown table per section: option, type, default, meaning.
std::string markdown_table(const Options& options);

}  // namespace megalith
