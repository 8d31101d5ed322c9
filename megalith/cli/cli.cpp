#include "megalith/cli/cli.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"
#include "megalith/base/wrapped_text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/version.h"

namespace megalith {
namespace {

std::string command_list(const std::vector<Command>& all, const std::string& prefix) {
  std::string out;
  for (const Command& command : all) {
    if (command.name.substr(0, prefix.size()) == prefix) {
      out += fmt::format("  {:<16}  {}\n", command.name, wrapped_text(command.summary, {.indent = 20}));
    }
  }
  return out;
}

std::string overview(const std::vector<Command>& all) {
  return fmt::format(
      "megalith {}: train and run language models, from one program.\n\n"
      "Start here:\n"
      "  make demo                   in the source folder: trains a model in minutes\n"
      "  megalith COMMAND --help     what a command does, its options and an example\n\n"
      "Commands:\n{}\n"
      "Every command takes --help, --help-all, --quiet and --log-level NAME.\n",
      kVersion, command_list(all, ""));
}

// How many arguments spell the command's name; 0 when they do not.
size_t words_matched(const Command& command, const std::vector<std::string>& arguments) {
  const std::vector<std::string> words = split(command.name, ' ');
  if (words.size() > arguments.size()) return 0;
  return std::equal(words.begin(), words.end(), arguments.begin()) ? words.size() : 0;
}

[[noreturn]] void fail_unknown(const std::vector<Command>& all, const std::vector<std::string>& arguments) {
  std::vector<std::string> names;
  std::vector<std::string> first_words;
  for (const Command& command : all) {
    names.push_back(command.name);
    first_words.push_back(split(command.name, ' ')[0]);
  }
  std::string typed = arguments[0];
  if (arguments.size() > 1 && arguments[1][0] != '-') {
    const std::string both = typed + " " + arguments[1];
    const bool is_group = std::find(first_words.begin(), first_words.end(), typed) != first_words.end();
    if (is_group || nearest(both, names).find(' ') != std::string::npos) typed = both;
  }
  std::string guess = nearest(typed, names);
  if (guess.empty()) guess = nearest(typed, first_words);
  if (typed[0] == '-')
    throw UsageError(
        fmt::format("'{}' comes before the command; options follow it: `megalith COMMAND {}`", typed, typed));
  throw UsageError(fmt::format("unknown command '{}'; {}", typed,
                               guess.empty() ? "`megalith` alone lists the commands"
                                             : fmt::format("did you mean `megalith {}`?", guess)));
}

void dispatch(const std::vector<std::string>& arguments) {
  const std::vector<Command> all = commands();
  if (arguments.size() > 1 && arguments[0] == "help") {
    std::vector<std::string> asked(arguments.begin() + 1, arguments.end());
    asked.push_back("--help");
    return dispatch(asked);
  }
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    std::fputs(overview(all).c_str(), stdout);
    return;
  }
  if (arguments[0] == "--version") {
    std::printf("megalith %s\n", kVersion);
    return;
  }
  const Command* best = nullptr;
  size_t best_words = 0;
  for (const Command& command : all) {
    const size_t words = words_matched(command, arguments);
    if (words > best_words) {
      best = &command;
      best_words = words;
    }
  }
  if (best == nullptr) {
    const std::string group = command_list(all, arguments[0] + " ");
    const bool asks = arguments.size() == 1 || arguments[1] == "--help" || arguments[1] == "-h";
    if (group.empty() || !asks) fail_unknown(all, arguments);
    std::printf("usage: megalith %s COMMAND [OPTIONS]\n\n%s", arguments[0].c_str(), group.c_str());
    return;
  }
  CommandLine line(*best, {arguments.begin() + static_cast<std::ptrdiff_t>(best_words), arguments.end()});
  best->run(line);
}

int report(const char* message, int status) {
  std::fflush(stdout);
  std::fprintf(stderr, "error: %s\n", message);
  return status;
}

}  // namespace

int run_cli(const std::vector<std::string>& arguments) {
  try {
    dispatch(arguments);
    // A result that did not reach the disk is a failure, not a success with less output.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      fail("stdout cannot be written: {}", system_message(errno));
    }
    return 0;
  } catch (const UsageError& error) {
    return report(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return report("out of memory", 1);
  } catch (const std::exception& error) {
    return report(error.what(), 1);
  }
}

}  // namespace megalith
